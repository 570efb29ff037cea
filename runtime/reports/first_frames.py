"""A source that ends early, so that all who are compared do the same work to its end."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from arseg_edge.runtime.source.base import Source
from arseg_edge.runtime.source.decoded_frame import DecodedFrame


class FirstFrames(Source):
    """The first frames of another source, which it closes. None is left out, even where the source is live."""

    def __init__(self, source: Source, count: int) -> None:
        self._source, self._count = source, count
        self.name, self.codec = source.name, source.codec
        self.files, self.at_hand = source.files, source.at_hand
        self.width, self.height = source.width, source.height
        self.frame_rate, self.time_base = source.frame_rate, source.time_base
        self.references = source.references

    def frames(self) -> Iterator[DecodedFrame]:  # noqa: D102 - as in the base class
        yield from itertools.islice(self._source.frames(), self._count)

    def interrupt(self) -> None:  # noqa: D102 - as in the base class
        self._source.interrupt()

    def close(self) -> None:  # noqa: D102 - as in the base class
        self._source.close()

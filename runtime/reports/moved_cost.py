"""What a frame costs that no network sees, beside decoding it, which everybody must: processor time, not the clock's.

Motion and moved labels use a processor that the networks want, so that their time counts even where it is hidden
behind them.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from time import process_time, thread_time

import av
import numpy as np
import numpy.typing as npt

from arseg_edge.bundle import Bundle
from arseg_edge.runtime.adaptive import labels_along
from arseg_edge.runtime.labels.seen import Labels, Seen
from arseg_edge.runtime.reports.first_frames import FirstFrames
from arseg_edge.runtime.reports.ways import Way
from arseg_edge.runtime.segmenter import scheduled_groups
from arseg_edge.runtime.source.open_source import open_source
from arseg_edge.runtime.source.track import video_track
from arseg_edge.runtime.source.video import VideoSource


@dataclass(frozen=True, eq=False)
class Looked:
    """What the networks said of a way's frames."""

    labels: dict[int, Labels]
    """By the frame's index, of those that a network saw."""
    logits: npt.NDArray[np.float32] | None
    """Of one of them: how long moving takes hangs on their shape, not on their values."""


@dataclass(frozen=True)
class MovedCost:
    """Milliseconds of processor time for a frame whose labels are moved, medians over the rounds.

    Decoding and following are means over all frames of a round, moving over those that were moved.
    """

    decoding: float | None
    """Plain, without the codec's vectors; None where the source is no video file."""
    decoding_with_vectors: float
    """As this runtime decodes."""
    following: float
    """Finding the motion from frame to frame and to the anchors, and the schedule."""
    moving: float
    """Of the labels."""

    @property
    def beyond_decoding(self) -> float:
        """Everything beyond plain decoding, or beyond decoding with vectors where plain is not known."""
        vectors = 0.0 if self.decoding is None else self.decoding_with_vectors - self.decoding
        return vectors + self.following + self.moving

    @property
    def ratio(self) -> float | None:
        """Of everything beyond plain decoding to plain decoding."""
        return self.beyond_decoding / self.decoding if self.decoding else None

    @property
    def ratio_with_vectors(self) -> float | None:
        """Of following and moving to decoding with vectors."""
        with_vectors = self.decoding_with_vectors
        return (self.following + self.moving) / with_vectors if with_vectors else None

    def facts(self) -> dict[str, float | None]:
        """Return all of it, for JSON."""
        return {
            **asdict(self),
            "beyond_decoding": self.beyond_decoding,
            "ratio": self.ratio,
            "ratio_with_vectors": self.ratio_with_vectors,
        }


class MovedClock:
    """Measures such frames of one video, once a round."""

    def __init__(self, video: str, count: int, way: Way, bundle: Bundle, looked: Looked) -> None:
        self._video, self._count, self._settings = video, count, way.settings
        self._classes, self._rule = len(bundle.manifest.classes), bundle.manifest.label_rule
        self._seen = {index: Seen(labels, looked.logits) for index, labels in looked.labels.items()}
        self._rounds: list[tuple[float | None, float, float, float | None]] = []

    def measure(self) -> None:
        """Measure one round."""
        plain = _plain_decoding(self._video, self._count)
        with FirstFrames(open_source(self._video), self._count) as source:
            decoding = _mean_cpu(source.frames())
        with FirstFrames(open_source(self._video), self._count) as source:
            following = _mean_cpu(frame for group in scheduled_groups(source, self._settings) for frame in group)
        moving = []
        with FirstFrames(open_source(self._video), self._count) as source:
            for group in scheduled_groups(source, self._settings):
                for frame in group:
                    if frame.branch == "moved":
                        start = thread_time()
                        labels_along(frame, self._seen, self._classes, self._rule)
                        moving.append((thread_time() - start) * 1e3)
        self._rounds.append((plain, decoding, following - decoding, statistics.fmean(moving) if moving else None))

    def cost(self) -> MovedCost | None:
        """Return the medians over the rounds; None where no frame is moved."""
        plain, decoding, following, moving = zip(*self._rounds, strict=True)
        if None in moving:
            return None
        return MovedCost(
            decoding=None if None in plain else statistics.median(plain),
            decoding_with_vectors=statistics.median(decoding),
            following=statistics.median(following),
            moving=statistics.median(moving),
        )


def _mean_cpu(frames: Iterator[object]) -> float:
    """Return milliseconds of this process's processor time for each of ``frames`` but the first.

    Where that is decoded differs: a source looks at it when it is opened.
    """
    next(frames, None)
    start, count = process_time(), 0
    for _ in frames:
        count += 1
    return (process_time() - start) * 1e3 / max(1, count)


def _plain_decoding(video: str, count: int) -> float | None:
    """Return the same of decoding a file and no more, set up as this runtime does but for the vectors."""
    with open_source(video) as source:
        if not isinstance(source, VideoSource):
            return None
        (path,) = source.files
    with av.open(f"file:{path}", metadata_errors="replace") as container:
        track = video_track(container, str(path))
        track.decoder.options = {"flags": "+output_corrupt"}
        return _mean_cpu(itertools.islice(container.decode(track.stream), count))

"""One picture as it came out of a source, with all that its motion can be judged by."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property

import av
import numpy as np
import numpy.typing as npt

from arseg_edge.results import Colour
from arseg_edge.runtime.motion.vectors import VectorRecords
from arseg_edge.runtime.source.colour import to_rgb
from arseg_edge.runtime.source.resizing import resized_picture


@dataclass(frozen=True, eq=False)
class DecodedFrame:
    """A frame in display order."""

    index: int
    """0, 1, 2, ... in the order given."""
    pts: int
    """The steady time, in units of ``time_base``; rises from frame to frame (``source/clock.py``)."""
    time_base: Fraction
    picture: av.VideoFrame | npt.NDArray[np.uint8] = field(repr=False)
    """As decoded (YUV, as a rule), or RGB uint8 [H, W, 3] where the source gives arrays."""
    picture_type: str = "?"
    """``I``, ``P``, ``B``, ... as the codec says; ``?`` where there is no codec."""
    vectors: VectorRecords | None = field(default=None, repr=False)
    """The codec's motion vectors (``motion/vectors.py``); None where it gave none or they cannot be used."""
    reordered: bool = False
    """Frames of this stream are decoded in another order than displayed, or predicted from later ones."""
    reference: int | None = None
    """How many frames back the one lies that its vectors surely point to: 1 is the frame before; None where that is
    not sure (``reference_order.py``)."""
    references: int | None = None
    """How many frames at most it can be predicted from; None where that does not show."""
    droppable: bool = False
    """No other frame is predicted from it."""
    discontinuity: bool = False
    """Something between this frame and the one before was lost, could not be decoded, or is not shown."""
    dropped: int = 0
    """Frames of a live source left out right before this one, since reading fell behind (``backlog.py``); they are
    counted in ``index``."""
    lost_reference: bool = False
    """The frame that it was predicted from was lost, or is not shown."""
    corrupt: bool = False
    """The decoder had to conceal parts of it."""
    arrived: float | None = None
    """``time.monotonic()`` when its data came in, from a live source; None from any other."""
    source_name: str | None = None
    """The file that it is, below the folder of the source; None where frames have no files of their own."""
    stream_pts: int | None = None
    """The stream's own time in units of ``time_base``, as wrong as it may be; None where it has none."""
    sample_aspect_ratio: Fraction | None = None
    """A pixel's width over its height, of the picture as it is given; None where the source does not say."""
    colour: Colour | None = None
    """What the picture's numbers mean, as the decoder says; None where the source gives arrays."""

    @property
    def time(self) -> float:
        """The steady time in seconds."""
        return float(self.pts * self.time_base)

    @property
    def stream_time(self) -> float | None:
        """The stream's own, in seconds."""
        return None if self.stream_pts is None else float(self.stream_pts * self.time_base)

    @property
    def height(self) -> int:
        """Of the picture, in pixels."""
        return self.picture.height if isinstance(self.picture, av.VideoFrame) else self.picture.shape[0]

    @property
    def width(self) -> int:
        """Of the picture, in pixels."""
        return self.picture.width if isinstance(self.picture, av.VideoFrame) else self.picture.shape[1]

    @cached_property
    def rgb(self) -> npt.NDArray[np.uint8]:
        """uint8 [H, W, 3], converted when first asked for; PQ and HLG as ``source/hdr.py`` tone-maps them."""
        return to_rgb(self.picture, self.colour) if isinstance(self.picture, av.VideoFrame) else self.picture

    def rgb_at(self, size: tuple[int, int]) -> npt.NDArray[np.uint8]:
        """uint8 [*size, 3], resized to ``size`` (H, W) straight from the decoded picture (``resizing.py``)."""
        if isinstance(self.picture, av.VideoFrame):
            return to_rgb(self.picture, self.colour, size)
        return resized_picture(self.picture, size)

"""What a stream is made of, and how well it suits a bundle, seen from its first seconds."""

from __future__ import annotations

import contextlib
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from arseg_edge.errors import UsageError
from arseg_edge.manifest import Macs, Manifest
from arseg_edge.operators import Chaining
from arseg_edge.results import ratio_text
from arseg_edge.runtime.frames_in_step import frames_in_step
from arseg_edge.runtime.motion.agreement import look_up, pixel_grid
from arseg_edge.runtime.read_motion import MotionFrame
from arseg_edge.runtime.reports.coding import Coding, CodingReader
from arseg_edge.runtime.reports.encoder_advice import EncoderAdvice, encoder_advice
from arseg_edge.runtime.reports.schedule_advice import Unshown, unshown_advice, unshown_by_distance
from arseg_edge.runtime.schedule.adaptive import TiedFrame
from arseg_edge.runtime.schedule.keyframes import INTERVAL
from arseg_edge.runtime.source.open_source import SourceLike, open_source

_CHAINING: Final[Chaining] = "subpixel"

_LONGEST: Final = 2
"""Bundle's intervals up to which it is looked at what an anchor no longer shows."""

_HIGHEST_PSNR: Final = 60.0
"""dB, for pictures that are equal, too; rounding to whole grey levels alone leaves 58.9."""


@dataclass(frozen=True)
class WarpQuality:
    """The keyframe picture, warped (bilinear) by the motion, against the frame: PSNR over RGB in dB, mean."""

    psnr: float
    still: float
    """The same of the keyframe as it is."""
    gain: float
    """Of the motion over none."""


@dataclass(frozen=True)
class Saving:
    """HR on every frame over HR, LR and CReFF, in multiply-accumulates; seconds are for ``bench`` to measure."""

    speedup: float
    """With as many keyframes as the stream made of the frames that were read."""
    bound: float
    """With keyframes by the interval alone, on an endless stream."""


@dataclass(frozen=True)
class ProbeReport:
    """All that ``arseg-edge probe`` finds."""

    video: str
    codec: str | None
    """The decoder; None where no video codec is at work."""
    size: tuple[int, int]
    """(height, width) of the first frame, upright."""
    sample_aspect_ratio: str | None
    """A pixel's width to its height in the first frame ("4:3"); None where the source does not say."""
    frame_rate: float | None
    """Frames a second, as the stream says."""
    frames: int
    """Read."""
    seconds: float
    """From the first of them to the last."""
    interval: int
    """The bundle's keyframe interval."""
    incidents: dict[str, int]
    """What was not as it should be in what was read (``source/incidents.py``)."""
    coding: Coding
    motion_sources: dict[str, int]
    """Frames by where their motion comes from (``motion/follow.py``)."""
    keyframes: dict[str, int]
    """By reason (``schedule/keyframes.py``)."""
    warp: WarpQuality | None
    """None where every frame is a keyframe."""
    savings: dict[str, Saving] | None
    """By LR scale; None without a bundle."""
    advice: EncoderAdvice
    unshown: Unshown | None
    """What is shown by no earlier frame, and the schedule that calls for; None where no frame can be followed."""


def probe(video: SourceLike, seconds: float = 4.0, manifest: Manifest | None = None) -> ProbeReport:
    """Read the first seconds of a stream as a run does, with the interval and the chaining of a bundle.

    Args:
        video: as for ``read_motion``.
        seconds: by the stream's own clock; at least one frame is read.
        manifest: the bundle's; without one, the interval is 12 and no saving is told.

    Raises:
        UsageError: seconds that are not more than 0.
        SourceError: the source cannot be opened or read, or holds no frame.
        CodecError: nothing here decodes it.
    """
    if not seconds > 0:
        raise UsageError(f"seconds {seconds!r}: must be more than 0")
    interval, chaining = (manifest.interval, manifest.chaining) if manifest else (INTERVAL, _CHAINING)
    with open_source(video) as source:
        reading = _Reading()
        shares: dict[int, list[float]] = defaultdict(list)
        with contextlib.closing(frames_in_step(source, interval, chaining)) as frames:
            for distance, share in unshown_by_distance(_tied(frames, reading, seconds), _LONGEST * interval):
                shares[distance].append(share)
    coding = reading.coding.coding()
    return ProbeReport(
        video=source.name,
        codec=source.codec,
        size=reading.size,
        sample_aspect_ratio=ratio_text(reading.sample_aspect_ratio),
        frame_rate=None if source.frame_rate is None else float(source.frame_rate),
        frames=reading.count,
        seconds=reading.end - reading.start,
        interval=interval,
        incidents={str(kind): count for kind, count in source.incidents.counts().items()},
        coding=coding,
        motion_sources=dict(reading.sources),
        keyframes=dict(reading.keyframes),
        warp=reading.warp(),
        savings=None if manifest is None else _savings(manifest, reading.count, reading.keyframes.total()),
        advice=encoder_advice(
            source.codec, coding, interval, frames=reading.count, early_keyframes=reading.keyframes["intra"]
        ),
        unshown=unshown_advice(shares, manifest),
    )


def _tied(frames: Iterator[tuple[MotionFrame, TiedFrame]], reading: _Reading, seconds: float) -> Iterator[TiedFrame]:
    """Let ``reading`` take the frames of so many seconds, and hand on how each is tied to the one before."""
    for frame, tied in frames:
        if reading.count and frame.time - reading.start >= seconds:
            return
        reading.add(frame)
        yield tied


class _Reading:
    """Takes one frame after the other and keeps what is to be told of them."""

    def __init__(self) -> None:
        self.count = 0
        self.start = self.end = 0.0
        self.size = (0, 0)
        self.sample_aspect_ratio: Fraction | None = None
        self.coding = CodingReader()
        self.sources: Counter[str] = Counter()
        self.keyframes: Counter[str] = Counter()
        self._psnr: list[tuple[float, float]] = []
        self._keyframe = np.empty((0, 0, 3), np.uint8)
        self._grid = pixel_grid(0, 0)

    def add(self, frame: MotionFrame) -> None:
        """Take one more."""
        height, width = frame.decoded.height, frame.decoded.width
        if not self.count:
            self.start, self.size = frame.time, (height, width)
            self.sample_aspect_ratio = frame.sample_aspect_ratio
        self.end = frame.time
        self.count += 1
        self.coding.add(frame.decoded)
        if frame.motion_source is not None:
            self.sources[frame.motion_source] += 1
        if frame.keyframe_reason is not None:
            self.keyframes[frame.keyframe_reason] += 1
        if frame.motion is None:
            self._keyframe, self._grid = frame.rgb, pixel_grid(height, width)
            return
        warped = np.asarray(look_up(self._keyframe, self._grid + frame.motion, cv2.INTER_LINEAR), np.uint8)
        self._psnr.append((_psnr(warped, frame.rgb), _psnr(self._keyframe, frame.rgb)))

    def warp(self) -> WarpQuality | None:
        """How well the motion explains the frames so far."""
        if not self._psnr:
            return None
        psnr, still = (statistics.fmean(values) for values in zip(*self._psnr, strict=True))
        return WarpQuality(psnr, still, psnr - still)


def _psnr(shown: npt.NDArray[np.uint8], frame: npt.NDArray[np.uint8]) -> float:
    return min(float(cv2.PSNR(shown, frame)), _HIGHEST_PSNR)


def _savings(manifest: Manifest, frames: int, keyframes: int) -> dict[str, Saving]:
    return {
        scale: Saving(
            speedup=_speedup(manifest.macs, scale, frames, keyframes),
            bound=_speedup(manifest.macs, scale, manifest.interval, 1),
        )
        for scale in (f"{branch.scale:g}" for branch in manifest.scales)
    }


def _speedup(macs: Macs, scale: str, frames: int, keyframes: int) -> float:
    """F / (K + (F - K) (LR + CReFF) / HR)."""
    return frames / (keyframes + (frames - keyframes) * macs.lr_frame(float(scale)) / macs.hr)

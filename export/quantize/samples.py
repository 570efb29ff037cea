"""Frames, and pairs of a frame and its keyframe, out of the sources that a user names for calibration."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from arseg_edge.errors import SourceError
from arseg_edge.manifest import Manifest
from arseg_edge.runtime.inference.network_size import NetworkSize
from arseg_edge.runtime.motion.agreement import fitting, resized
from arseg_edge.runtime.motion.chain import Motion
from arseg_edge.runtime.motion.step import blocks_of
from arseg_edge.runtime.read_motion import MotionFrame, read_motion
from arseg_edge.runtime.source.location import shown
from arseg_edge.runtime.source.resizing import resized_picture

FEWEST: Final = 10
"""Frames, and pairs where there is LR, without which nothing is calibrated."""

HELD_BACK: Final = 5
"""Every so many samples one is held back from calibration, to measure the agreement on."""

_LARGEST_BYTES: Final = 1 << 30
"""Of all pictures that are kept."""

_SMALLEST_CONTRAST: Final = 2.0
"""Grey levels of standard deviation; pictures with less show nothing."""

Frame = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Sample:
    """A frame uint8 [H, W, 3] as the networks see it and, where it follows one, its keyframe and the motion to it."""

    frame: Frame
    keyframe: Frame | None
    motion: Motion | None
    """float32 [a, b, 2], in cells of the grid of blocks."""

    @property
    def is_pair(self) -> bool:
        """Whether the LR network could see it."""
        return self.keyframe is not None


@dataclass(frozen=True)
class Samples:
    """What is calibrated on, and what the agreement is measured on."""

    calibration: tuple[Sample, ...]
    held_back: tuple[Sample, ...]
    sources: tuple[str, ...]


def read_samples(
    sources: Sequence[str],
    manifest: Manifest,
    size: NetworkSize,
    *,
    frames: int,
    seconds: float,
    progress: Callable[[int], None],
) -> Samples:
    """Return ``frames`` samples to calibrate on, spread evenly over the sources, and a fifth as many held back.

    Of every source the first ``seconds`` are read. ``progress`` is told how many frames were read.

    Raises:
        SourceError: a source cannot be read, is too short, shows nothing, or never has a frame after a keyframe though
            the bundle has LR.
        SizeError: frames that the bundle does not take.
    """
    wanted = frames + -(-frames // (HELD_BACK - 1))
    found: list[Sample] = []
    read = 0
    for source in sources:
        taken = _Spread(-(-wanted // len(sources)))
        stream = read_motion(source, manifest.interval, manifest.chaining)
        keyframe: MotionFrame | None = None
        try:
            for frame in stream:
                if frame.time >= seconds:
                    break
                if frame.is_keyframe:
                    keyframe = frame
                if taken.wants(frame.index):
                    taken.add(_sample(frame, keyframe, manifest, size))
                read += 1
                progress(read)
        finally:
            stream.close()
        found += taken.samples()
    _check(found, manifest, ", ".join(shown(source) for source in sources), read)
    held_back = found[HELD_BACK // 2 :: HELD_BACK]
    chosen = {id(each) for each in held_back}
    return Samples(
        tuple(each for each in found if id(each) not in chosen),
        tuple(held_back),
        tuple(shown(source).replace("\\", "/").rstrip("/").rpartition("/")[2] or "source" for source in sources),
    )


class _Spread:
    """``most`` samples, evenly spread over a stream whose length nobody knows.

    Twice as many are kept at most; then every second one is let go, and only every second frame taken from there on.
    """

    def __init__(self, most: int) -> None:
        self._most = max(most, 2)
        self._step = 1
        self._samples: list[Sample] = []

    def wants(self, index: int) -> bool:
        """Return whether to take the frame that has this number in the source."""
        return index % self._step == 0

    def add(self, sample: Sample) -> None:
        self._samples.append(sample)
        size = sample.frame.nbytes * (2 if sample.is_pair else 1)
        if len(self._samples) >= 2 * self._most or len(self._samples) * size > _LARGEST_BYTES:
            self._samples = self._samples[::2]
            self._step *= 2

    def samples(self) -> list[Sample]:
        count = len(self._samples)
        chosen = np.linspace(0, count - 1, min(self._most, count)).round().astype(int)
        return [self._samples[index] for index in chosen]


def _sample(frame: MotionFrame, keyframe: MotionFrame | None, manifest: Manifest, size: NetworkSize) -> Sample:
    seen = size.of(frame.decoded.height, frame.decoded.width)
    picture = np.ascontiguousarray(resized_picture(frame.rgb, seen))
    if frame.motion is None or keyframe is None or manifest.motion is None:
        return Sample(picture, None, None)
    cells = fitting(resized(frame.motion, *blocks_of(*seen)), seen, manifest.motion.sampling)
    return Sample(picture, np.ascontiguousarray(resized_picture(keyframe.rgb, seen)), np.ascontiguousarray(cells))


def _check(samples: Sequence[Sample], manifest: Manifest, sources: str, read: int) -> None:
    if len(samples) < FEWEST:
        raise SourceError(
            f"{sources}: {read} frames are too few to calibrate on: give a longer video, at least {FEWEST} frames"
        )
    contrast = max(float(each.frame[::4, ::4].std()) for each in samples)
    if contrast < _SMALLEST_CONTRAST:
        raise SourceError(f"{sources}: all pictures are of one colour and show nothing: calibrate on what will be seen")
    pairs = sum(each.is_pair for each in samples)
    if manifest.has_lr and pairs < FEWEST:
        raise SourceError(
            f"{sources}: {pairs} frames follow a keyframe, too few to calibrate LR and its fusion on (at least "
            f"{FEWEST}): give a video whose frames follow each other, not single pictures"
        )

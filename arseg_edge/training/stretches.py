"""Pairs out of videos as they are: a keyframe, a frame after it, and the motion that a device finds between them.

A *stretch* is a keyframe and the frames up to the next one. The video is read once, and several alignments of the
keyframes follow it side by side, each as ``read_motion`` does, so that a frame is met at several distances. Where there
are more stretches than wanted, each is as likely to be kept, however long the video is.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from arseg_edge import at_stop
from arseg_edge.datasets import IGNORED
from arseg_edge.errors import DatasetError, OutputError
from arseg_edge.operators import Chaining
from arseg_edge.runtime.motion.chain import Motion
from arseg_edge.runtime.motion.follow import Follower
from arseg_edge.runtime.read_motion import GUARDS
from arseg_edge.runtime.schedule.keyframes import INTERVAL
from arseg_edge.runtime.source.decoded_frame import DecodedFrame
from arseg_edge.runtime.source.open_source import open_source
from arseg_edge.training.cache import PairCache, pair_path, write_pair
from arseg_edge.training.pairs import Pair
from arseg_edge.training.processes import spread
from arseg_edge.whole_files import replace_text

_ALIGNMENTS: Final = 4
"""Of keyframes, evenly shifted against one another."""
_INDEX: Final = "stretches.json"
_HELD: Final = 10
"""One stretch in so many of a video alone is held back, its last ones."""


@dataclass(frozen=True)
class StretchSettings:
    """What is taken of a video."""

    interval: int = INTERVAL
    chaining: Chaining = "subpixel"
    stretches: int = 100
    """At most so many."""
    variants: int = 6
    """Pairs of each stretch, of different frames where it has as many."""
    distance: int | None = None
    """Frames to the keyframe; None draws them, each frame of the stretch as likely."""
    seed: int = 0


@dataclass(frozen=True)
class VideoPairs:
    """The pairs of a video."""

    video: Path
    frames: int
    """Of the video."""
    folder: Path
    variants: int
    stretches: tuple[tuple[int, int], ...]
    """Of each the indices of the keyframe and of its last frame, in the order of the keyframes."""

    @property
    def all(self) -> PairCache:
        """Every stretch."""
        return PairCache(self.folder, len(self.stretches), self.variants)

    def part_off(self) -> tuple[PairCache, PairCache]:
        """Return the stretches to train on and, held back, the last tenth; no frame is in both.

        Raises:
            DatasetError: the video is too short for that.
        """
        count = max(1, round(len(self.stretches) / _HELD))
        first = len(self.stretches) - count
        before = sum(last < self.stretches[first][0] for _, last in self.stretches)
        if not before:
            raise DatasetError(
                f"{self.video}: it is too short, with {self.frames} frames, to hold some back: give a longer video, "
                "several, or --validation"
            )
        return replace(self.all, items=before), replace(self.all, items=count, first=first)


def make_stretches(
    videos: Sequence[Path],
    settings: StretchSettings,
    directory: Path,
    processes: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> list[VideoPairs]:
    """Make the pairs of each video under ``directory``, where they are not there already.

    Raises:
        SourceError: a video that cannot be read, or (CodecError) that nothing here decodes.
        DatasetError: a video without a pair of keyframe and frame.
        OutputError: ``directory`` cannot be written.
    """
    made = []
    with contextlib.closing(spread(partial(_make, settings, directory), videos, processes)) as each:
        for pairs in each:
            made.append(pairs)
            if progress is not None:
                progress(len(made), len(videos))
    return made


def _make(settings: StretchSettings, directory: Path, video: Path) -> VideoPairs:
    folder = directory / f"{video.stem}-{_digest(video, settings)}".replace(" ", "-")
    index = folder / _INDEX
    if not index.exists():
        _clear(folder)
        unfinished = folder.with_name(f"{folder.name}.{os.getpid()}")
        remove = partial(shutil.rmtree, unfinished, ignore_errors=True)
        try:
            unfinished.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{unfinished}: cannot be made ({error.strerror}): choose another --cache") from None
        with at_stop.during(remove):
            try:
                frames, stretches = _read(video, settings, unfinished)
                replace_text(unfinished / _INDEX, json.dumps({"frames": frames, "stretches": stretches}))
                with contextlib.suppress(OSError):  # another run was faster
                    unfinished.replace(folder)
            finally:
                remove()
    read = json.loads(index.read_text(encoding="utf-8"))
    return VideoPairs(
        video, read["frames"], folder, settings.variants, tuple((first, last) for first, last in read["stretches"])
    )


def _clear(folder: Path) -> None:
    """Remove what runs that were killed have left: which stretches are kept shows only at a video's end."""
    for left in folder.parent.glob(f"{glob.escape(folder.name)}.*"):
        if left.suffix[1:].isdecimal() and not _is_running(int(left.suffix[1:])):
            shutil.rmtree(left, ignore_errors=True)


def _is_running(process: int) -> bool:
    if os.name == "nt":  # where signal 0 would end it
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is another user's
        return True
    return True


@dataclass(eq=False)
class _Stretch:
    """A stretch that is being read."""

    keyframe: DecodedFrame
    length: int = 0
    """Frames after the keyframe."""
    kept: list[tuple[DecodedFrame, npt.NDArray[np.float16], int]] = field(default_factory=list)
    """Some of them: frame, motion, distance."""

    def add(self, frame: DecodedFrame, motion: Motion, settings: StretchSettings, rng: np.random.Generator) -> None:
        """Take the next frame, and keep it or not."""
        self.length += 1
        place = len(self.kept)
        if settings.distance is not None:
            place = 0 if self.length <= settings.distance else settings.variants
        elif place == settings.variants:
            place = int(rng.integers(self.length))
        if place < settings.variants:
            self.kept[place : place + 1] = [(frame, motion.astype(np.float16), self.length)]

    def pair(self, number: int) -> Pair:
        """Return a pair of the keyframe and one of the frames that are kept."""
        frame, motion, distance = self.kept[number % len(self.kept)]
        return Pair(frame.rgb, np.full(frame.rgb.shape[:2], IGNORED, np.uint8), self.keyframe.rgb, motion, distance)


@dataclass(eq=False)
class _Alignment:
    """One of several rows of keyframes through the same video."""

    shift: int
    """Frames by which its keyframes come later than those of the first one, which are the device's."""
    idle: int
    """Frames to leave out before it begins."""
    follower: Follower | None = None
    stretch: _Stretch | None = None


class _Reading:
    """Takes the frames of a video one after the other, and writes the pairs of the stretches that are kept."""

    def __init__(self, settings: StretchSettings, folder: Path) -> None:
        self._settings, self._folder = settings, folder
        shifts = sorted({each * settings.interval // _ALIGNMENTS for each in range(_ALIGNMENTS)})
        self._alignments = [_Alignment(shift, shift) for shift in shifts]
        self._rng = np.random.default_rng(settings.seed)
        self._met = 0
        self._kept: list[tuple[int, int]] = []
        """Of each stretch, the indices of the keyframe and of the last frame."""
        self.frames = 0

    def add(self, frame: DecodedFrame) -> None:
        """Take the next frame."""
        self.frames += 1
        begun = False
        for each in self._alignments:
            if each.idle:
                each.idle -= 1
                continue
            if each.follower is None:
                each.follower = Follower(self._settings.interval, self._settings.chaining, "auto", GUARDS)
            motion = each.follower.follow(frame).motion
            if motion is not None:
                assert each.stretch is not None, "a follower's first frame is a keyframe"
                each.stretch.add(frame, motion, self._settings, self._rng)
                continue
            self._end(each)
            each.stretch = _Stretch(frame)
            if begun:
                # An I-frame, a cut: it would go on as the other alignment does. Let it begin later.
                each.stretch, each.follower, each.idle = None, None, each.shift - 1
            begun = True

    def end(self) -> list[tuple[int, int]]:
        """Return where the stretches are, in the order of their keyframes, after the last frame."""
        for each in self._alignments:
            self._end(each)
        return _in_order(self._kept, self._settings.variants, self._folder)

    def _end(self, alignment: _Alignment) -> None:
        stretch, alignment.stretch = alignment.stretch, None
        # A device has short stretches too, but not all those that a shift makes before an I-frame.
        if stretch is None or stretch.length < (self._settings.interval - 1 if alignment.shift else 1):
            return
        # Each that is met is as likely to be kept in the end (reservoir sampling; Vitter 1985, algorithm R).
        self._met += 1
        slot = len(self._kept)
        if slot == self._settings.stretches:
            slot = int(self._rng.integers(self._met))
        if slot < self._settings.stretches:
            first = stretch.keyframe.index
            self._kept[slot : slot + 1] = [(first, first + stretch.length)]
            for variant in range(self._settings.variants):
                write_pair(pair_path(self._folder, slot, variant), stretch.pair(variant))


def _read(video: Path, settings: StretchSettings, folder: Path) -> tuple[int, list[tuple[int, int]]]:
    """Write the pairs of a video into ``folder``; return its number of frames and where the stretches are."""
    cv2.setNumThreads(1)
    reading = _Reading(settings, folder)
    with open_source(video) as source:
        for frame in source.frames():
            reading.add(frame)
    stretches = reading.end()
    if not stretches:
        raise DatasetError(
            f"{video}: too short, with {reading.frames} frame, for a keyframe and one after it: leave it out"
            if reading.frames < 2
            else f"{video}: each of its {reading.frames} frames is a keyframe, without motion to learn: leave it out"
        )
    return reading.frames, stretches


def _in_order(kept: list[tuple[int, int]], variants: int, folder: Path) -> list[tuple[int, int]]:
    """Number the stretches by their keyframes; return them in that order."""
    order = sorted(range(len(kept)), key=lambda slot: kept[slot])
    new = {slot: item for item, slot in enumerate(order)}
    moves = [
        (pair_path(folder, slot, variant), pair_path(folder, new[slot], variant))
        for slot in order
        for variant in range(variants)
    ]
    for path, target in moves:
        path.replace(target.with_suffix(".ordered"))
    for _, target in moves:
        target.with_suffix(".ordered").replace(target)
    return [kept[slot] for slot in order]


def _digest(video: Path, settings: StretchSettings) -> str:
    """Of everything that the pairs follow from, the video by its name, size and time of change."""
    state = video.stat()
    described = [str(video.resolve()), state.st_size, state.st_mtime_ns, asdict(settings), _ALIGNMENTS]
    return hashlib.sha256(json.dumps(described).encode()).hexdigest()[:16]

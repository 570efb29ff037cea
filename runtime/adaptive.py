"""Groups of frames to labels: networks run on anchors, and the labels of all others are moved along."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import monotonic, perf_counter
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from arseg_edge.manifest import LabelRule
from arseg_edge.results import Result, Speed
from arseg_edge.runtime.inference.networks import Size
from arseg_edge.runtime.labels.moved import LogitsPlace, Moved, logits_place, moved_labels
from arseg_edge.runtime.labels.seen import Seen
from arseg_edge.runtime.motion.anchors import UNSHOWN, Reach
from arseg_edge.runtime.motion.chain import Motion
from arseg_edge.runtime.schedule.adaptive import Draw, Group, ScheduledFrame

LR_WEIGHT: Final = 0.02
"""Of what the LR network itself says where the frames that it draws on show exactly what its frame shows. Where they
show nothing of it, LR's weight is 1 more, and theirs are 0; one that fits and is one frame away has 1."""

_FIT: Final = 8.0
"""Grey levels of difference that divide a weight by e."""

_KEPT: Final = 3
"""Anchors that a later frame may draw on."""

_FITS: Final = np.exp(-np.arange(256, dtype=np.float32) / np.float32(_FIT))

_SHOWN: Final = np.clip(1 - (np.arange(256, dtype=np.float32) / np.float32(UNSHOWN + 1)) ** 2, 0, 1)
"""How well a block is shown by an anchor that differs by so many grey levels, for the confidence: 0 where it is not.

Up to 4 grey levels that is nearly the share of moved labels that HR on the frame itself gives, too: at 1 it was 0.98 to
0.99 of them, at 4 it was 0.91 to 0.96, on the sample video and on a motorway.
"""

Convert = Callable[[ScheduledFrame], npt.NDArray[np.uint8]]


@dataclass(frozen=True, eq=False)
class ReadyGroup:
    """A group, and the pictures that the networks take."""

    frames: Group
    images: dict[int, npt.NDArray[np.uint8]]
    """By the frame's index: uint8 [h, w, 3], of the frames that a network sees."""
    convert_ms: dict[int, float]


def ready_group(group: Group, convert: Convert) -> ReadyGroup:
    """Return a group with its pictures."""
    images, milliseconds = {}, {}
    for frame in group:
        if frame.branch != "moved":
            start = perf_counter()
            images[frame.index] = convert(frame)
            milliseconds[frame.index] = (perf_counter() - start) * 1e3
    return ReadyGroup(group, images, milliseconds)


def is_needed(group: Group) -> bool:
    """Whether later frames draw on it, and have nothing else to draw on."""
    return any(frame.branch == "hr" for frame in group)


class Looking(Protocol):
    """Says what networks make of frames: ``KeyframeState``, whose methods these are, or who stands in for it."""

    def forget(self) -> None:
        """Let go of the keyframe."""

    def run_keyframe(self, frame: npt.NDArray[np.uint8], labels_size: Size) -> Seen:
        """Return what HR says."""

    def run_nonkeyframe(self, frame: npt.NDArray[np.uint8], motion: Motion, labels_size: Size) -> Seen:
        """Return what LR says, with the keyframe."""


class GroupRunner:
    """Runs the groups of one stream."""

    def __init__(
        self, state: Looking, classes: int, rule: LabelRule | None, *, provider: str, native: bool, threads: int
    ) -> None:
        """``rule``: how the bundle makes labels of logits; None where it gives none."""
        self._state, self._classes, self._rule = state, classes, rule
        self._provider, self._native = provider, native
        self._seen: dict[int, Seen] = {}
        self._pool = ThreadPoolExecutor(threads, "arseg-edge moving")

    def close(self) -> None:
        """Let go of everything; safe to call twice."""
        self._seen.clear()
        self._state.forget()
        self._pool.shutdown(wait=False)

    def run(self, ready: ReadyGroup) -> Iterator[Result]:
        """Yield the results of a group in display order."""
        seen: dict[int, tuple[Seen, float]] = {}
        for frame in ready.frames:
            if frame.branch != "moved":
                seen[frame.index] = self._look(frame, ready.images[frame.index])
        moved = [frame for frame in ready.frames if frame.branch == "moved"]
        move = self._pool.map if len(moved) > 1 else map
        made = {frame.index: found for frame, found in zip(moved, move(self._move, moved), strict=True)}
        for frame in ready.frames:
            found, milliseconds = seen[frame.index] if frame.index in seen else made[frame.index]
            stages = {"decode": frame.tied.decode_ms, "motion": frame.tied.motion_ms}
            if frame.index in ready.convert_ms:
                stages["convert"] = ready.convert_ms[frame.index]
            stages[frame.branch] = milliseconds
            speed = Speed(stages, self._provider, self._native)
            yield _result(frame, found, speed)
        for index in sorted(self._seen)[:-_KEPT]:
            del self._seen[index]

    def _look(self, frame: ScheduledFrame, image: npt.NDArray[np.uint8]) -> tuple[Seen, float]:
        """Run the network that the frame's branch names, and keep what it says."""
        start = perf_counter()
        size = frame.tied.decoded.height, frame.tied.decoded.width
        if frame.branch == "hr":
            seen = self._state.run_keyframe(image, size)
            self._seen[frame.index] = seen
            return seen.for_callers(), (perf_counter() - start) * 1e3
        seen = self._state.run_nonkeyframe(image, frame.draws[0].reach.motion, size)
        blocks = frame.tied.step.luma.shape
        fits = np.max([_FITS.take(draw.reach.difference) for draw in frame.draws], axis=0)
        weight = np.asarray(1 + LR_WEIGHT - fits, np.float32)
        own = Moved(seen, np.zeros((*blocks, 2), np.float32), weight)
        sources = [own, *_drawn(frame, self._seen)]
        labels, confidence = moved_labels(sources, self._classes, _logits_place(seen, self._rule))
        both = self._seen[frame.index] = Seen(labels, seen.logits, confidence)
        return both.for_callers(), (perf_counter() - start) * 1e3

    def _move(self, frame: ScheduledFrame) -> tuple[Seen, float]:
        start = perf_counter()
        moved = labels_along(frame, self._seen, self._classes, self._rule)
        return moved, (perf_counter() - start) * 1e3


def labels_along(frame: ScheduledFrame, seen: Mapping[int, Seen], classes: int, rule: LabelRule | None) -> Seen:
    """Return the labels of a frame that no network sees, from those of the anchors, by index, that it draws on."""
    sources = _drawn(frame, seen)
    labels, confidence = moved_labels(sources, classes, _logits_place(sources[0].seen, rule))
    return Seen(labels, None, confidence)


def _drawn(frame: ScheduledFrame, seen: Mapping[int, Seen]) -> list[Moved]:
    # Of a live source an LR frame may have been left out; its keyframe never is.
    draws = [draw for draw in frame.draws if draw.anchor in seen]
    return [Moved(seen[draw.anchor], draw.reach.motion, _weight(draw.reach), _shown(draw, seen)) for draw in draws]


def _logits_place(seen: Seen, rule: LabelRule | None) -> LogitsPlace | None:
    if rule is None or seen.logits is None:
        return None
    height, width = seen.labels.shape
    return _place((height, width), seen.logits.shape[:2], rule)


def _place(size: tuple[int, int], cells: tuple[int, ...], rule: LabelRule) -> LogitsPlace:
    return logits_place(size, (cells[0], cells[1]), upscale=rule.upscale, align_corners=rule.align_corners)


def _weight(reach: Reach) -> npt.NDArray[np.float32]:
    return np.asarray(_FITS.take(reach.difference) / np.float32(reach.distance), np.float32)


def _shown(draw: Draw, seen: Mapping[int, Seen]) -> npt.NDArray[np.float32] | None:
    """For the confidence alone, where somebody asked for it."""
    return None if seen[draw.anchor].confidence is None else np.asarray(_SHOWN.take(draw.reach.difference), np.float32)


def _result(frame: ScheduledFrame, found: Seen, speed: Speed) -> Result:
    decoded = frame.tied.decoded
    return Result(
        labels=found.labels,
        confidence=found.confidence,
        index=frame.index,
        pts=decoded.pts,
        time_base=decoded.time_base,
        is_keyframe=frame.branch == "hr",
        keyframe_reason=frame.reason,
        distance=frame.distance,
        motion_source=None if frame.branch == "hr" else frame.tied.source,
        speed=speed,
        picture=decoded,
        latency=None if decoded.arrived is None else monotonic() - decoded.arrived,
        source_name=decoded.source_name,
        stream_pts=decoded.stream_pts,
        sample_aspect_ratio=decoded.sample_aspect_ratio,
        colour=decoded.colour,
        branch=frame.branch,
        age=frame.age,
    )

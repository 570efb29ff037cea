"""Decoded frames, each tied to the one before on the grid of blocks: where source and motion meet for all anchors."""

from __future__ import annotations

from collections.abc import Iterator
from time import perf_counter

from arseg_edge.runtime.motion.follow import MotionMode
from arseg_edge.runtime.motion.step import Step, Stepper
from arseg_edge.runtime.motion.vectors import listed_vectors
from arseg_edge.runtime.schedule.adaptive import TiedFrame
from arseg_edge.runtime.schedule.keyframes import KeyframeReason
from arseg_edge.runtime.source.base import Source
from arseg_edge.runtime.source.decoded_frame import DecodedFrame


def tied_frames(source: Source, mode: MotionMode) -> Iterator[TiedFrame]:
    """Decode a source that is open, and stays open.

    Raises: as ``read_motion``.
    """
    stepper = Stepper()
    size: tuple[int, int] | None = None
    for decoded, decode_ms in source.timed_frames():
        start = perf_counter()
        vectors = None
        if decoded.vectors is not None and mode != "estimate":
            vectors = listed_vectors(decoded.vectors, decoded.height, decoded.width)
        step = stepper.step(decoded.picture, vectors, reference=decoded.reference)
        missing = vectors is None and mode == "bitstream"
        broken = _broken(decoded, step, size, missing=missing)
        size = decoded.height, decoded.width
        yield TiedFrame(
            decoded=decoded,
            step=step,
            broken=broken,
            source="estimated" if vectors is None else "bitstream" if decoded.reference == 1 else "resolved",
            decode_ms=decode_ms,
            motion_ms=(perf_counter() - start) * 1e3,
        )


def _broken(frame: DecodedFrame, step: Step, size: tuple[int, int] | None, *, missing: bool) -> KeyframeReason | None:
    if size is None:
        return "first"
    if size != (frame.height, frame.width):
        return "size-change"
    if frame.corrupt:
        return "corrupt"
    if frame.discontinuity:
        return "discontinuity"
    if frame.lost_reference:
        return "lost-reference"
    if missing and frame.picture_type == "I":
        return "intra"
    if missing or step.displacement is None:
        return "no-motion"
    return None

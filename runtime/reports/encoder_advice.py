"""How a stream would have to be encoded for its motion to be known more surely, or for fewer keyframes."""

from __future__ import annotations

from dataclasses import dataclass

from arseg_edge.runtime.motion.vectors import VECTOR_CODECS
from arseg_edge.runtime.reports.coding import Coding


@dataclass(frozen=True)
class EncoderAdvice:
    """Encoder settings that would serve better."""

    settings: str | None
    """Options of the ffmpeg program; None where none would serve better."""
    reasons: tuple[str, ...]
    """What they would change, or why there are none."""


def encoder_advice(
    codec: str | None, coding: Coding, interval: int, *, frames: int, early_keyframes: int
) -> EncoderAdvice:
    """Settings for a stream of which some frames were looked at.

    Args:
        codec: the decoder; None where no video codec is at work.
        coding: what the frames showed.
        interval: the keyframe interval.
        frames: how many were looked at.
        early_keyframes: how many of them became keyframes before they were due, because they were I-frames.
    """
    if codec is None and coding.future_share is None:
        return EncoderAdvice(None, ("single pictures carry no motion vectors, so motion is estimated from them",))
    if frames < 2:
        return EncoderAdvice(None, ("only one frame was read, which tells nothing of motion",))
    reasons = [
        reason
        for reason in (_unsure_motion(codec, coding), _early_keyframes(coding, interval, early_keyframes))
        if reason is not None
    ]
    if not reasons:
        target = "the last frame that is not droppable" if coding.droppable_share else "the frame before"
        return EncoderAdvice(None, (f"vectors point to {target}, and I-frames fall where keyframes are due",))
    # What was filmed in fields must be made progressive first.
    deinterlace = "-vf bwdif " if coding.interlaced else ""
    return EncoderAdvice(f"{deinterlace}-c:v libx264 -bf 0 -refs 1 -g {interval}", tuple(reasons))


def _unsure_motion(codec: str | None, coding: Coding) -> str | None:
    """Why vectors do not surely point to one known frame; None where they do."""
    if coding.interlaced:
        return "interlaced: the vectors of such pictures cannot be used, so motion is estimated from the pictures"
    if codec is not None and codec not in VECTOR_CODECS:
        return f"{codec} gives no motion vectors, so motion is estimated from the pictures"
    if coding.future_share is None:
        return "no frame has motion vectors, so motion is estimated from the pictures"
    if coding.reordered:
        return "B-frames: which frame a vector points to must be found out from the pictures"
    if coding.sure_share is None or coding.sure_share == 1:
        return None
    if coding.references is None:
        return "it does not say how many references it uses: vectors may point further back than to the frame before"
    if coding.references > 1:
        changed = " for a part of it" if coding.fewest_references == 1 else ""
        return f"up to {coding.references} references{changed}: vectors may point further back than to the frame before"
    return "its slices leave open which frame a vector points to"


def _early_keyframes(coding: Coding, interval: int, count: int) -> str | None:
    """What I-frames in other places than every ``interval`` frames cost; None where they cost nothing.

    Judged by the median of their distances: a single one in another place may well be a scene cut.
    """
    if not count or coding.i_frames is None or coding.i_frames.median % interval == 0:
        return None
    return (
        f"I-frames every {coding.i_frames.median:g} frames: {count} keyframes came before they were due at an "
        f"interval of {interval}"
    )

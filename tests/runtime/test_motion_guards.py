"""Guarded keyframes on real encoder output."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from streams import encode, panning

from arseg_edge.runtime.motion.follow import MotionMode
from arseg_edge.runtime.read_motion import read_motion
from arseg_edge.runtime.schedule.keyframes import Guards

BEFORE = 5
STREAMS: dict[str, dict[str, Any]] = {
    "h264": {"options": {"sc_threshold": "0"}},
    "h264 with an I-frame at the cut": {},
    "h264 with B-frames": {"b_frames": 3, "refs": 3, "options": {"sc_threshold": "0"}},
    "hevc": {"codec": "libx265", "options": {"x265-params": "log-level=none:scenecut=0"}},
    "vp9": {"codec": "libvpx-vp9"},
    "mpeg4": {"codec": "mpeg4"},
}


def joined(seed: int) -> list[Any]:
    """Two scenes that have nothing in common but their look."""
    return panning(BEFORE, 144, 176, 2, 1, seed) + panning(6, 144, 176, -1, 2, seed + 1)


@pytest.mark.parametrize("seed", [0, 10])
@pytest.mark.parametrize("name", list(STREAMS))
def test_the_first_frame_after_a_cut_is_a_keyframe(tmp_path: Path, name: str, seed: int) -> None:
    path = encode(tmp_path / "cut.mkv", joined(seed), **{"gop": 250, **STREAMS[name]})
    reasons = [frame.keyframe_reason for frame in read_motion(path)]
    # Where x264 looks for cuts, it may or may not see this one.
    assert reasons[BEFORE] in ({"intra", "scene-cut"} if "I-frame" in name else {"scene-cut"})
    assert reasons[:BEFORE] == ["first", *[None] * (BEFORE - 1)]
    assert reasons[BEFORE + 1 :] == [None] * 5


@pytest.mark.parametrize("motion", ["auto", "bitstream"])
def test_vectors_alone_fail_at_a_cut_by_their_intra_blocks(tmp_path: Path, motion: MotionMode) -> None:
    path = encode(tmp_path / "cut.mkv", joined(0), **{"gop": 250, **STREAMS["h264"]})
    frames = list(read_motion(path, chaining="published", motion=motion))
    assert frames[BEFORE].keyframe_reason == "intra-share"


def test_cuts_of_pictures() -> None:
    frames = list(read_motion(joined(3)))
    assert [frame.index for frame in frames if frame.is_keyframe] == [0, BEFORE]
    assert frames[BEFORE].keyframe_reason == "scene-cut"


def test_what_comes_into_view_is_a_mismatch() -> None:
    # More and more of the picture is new, but never so much at once that it were a cut.
    clip = panning(30, 144, 176, 4, 0)
    frames = list(read_motion(clip, 1000, guards=Guards(mismatch=0.1)))
    assert {frame.keyframe_reason for frame in frames} == {"first", "mismatch", None}
    shares = [frame.mismatch for frame in frames if not frame.is_keyframe]
    assert max(shares) <= Guards().mismatch
    assert [frame.is_keyframe for frame in read_motion(clip, 1000, guards=None)] == [True, *[False] * 29]


def test_guards_can_be_set() -> None:
    clip = panning(6, 144, 176, 4, 0)
    assert [f.is_keyframe for f in read_motion(clip)] == [True, *[False] * 5]
    assert all(frame.is_keyframe for frame in read_motion(clip, guards=Guards(mismatch=0.0)))

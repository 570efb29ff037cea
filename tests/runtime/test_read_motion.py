"""Motion of real encoder output with a known displacement, and the reasons of its keyframes."""

from __future__ import annotations

import doctest
import sys
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import psutil
import pytest
from streams import Image, change_packets, encode, panning

import arseg_edge
from arseg_edge.errors import CodecError, SourceError, UsageError
from arseg_edge.runtime.inference.networks import Networks
from arseg_edge.runtime.motion import CHAINS, Chaining
from arseg_edge.runtime.motion.agreement import resized
from arseg_edge.runtime.motion.follow import MotionMode
from arseg_edge.runtime.motion.tracker import MotionGrid
from arseg_edge.runtime.read_motion import MotionFrame, motion_frames, read_motion
from arseg_edge.runtime.source.open_source import open_source

HEIGHT, WIDTH = 144, 176


def interior(distance: int, dx: int, dy: int) -> tuple[slice, slice]:
    """Pixels whose content was in view since the keyframe, less a block's width for the encoder's freedom."""
    x, y = distance * dx, distance * dy
    return (
        slice(16 + max(0, -y), HEIGHT - 16 - max(0, y)),
        slice(16 + max(0, -x), WIDTH - 16 - max(0, x)),
    )


def warp(keyframe: Image, motion: npt.NDArray[np.float32]) -> Image:
    """The keyframe at x + motion(x), bilinear; an own implementation."""
    height, width = keyframe.shape[:2]
    y, x = np.mgrid[:height, :width]
    px, py = np.clip(x + motion[..., 0], 0, width - 1), np.clip(y + motion[..., 1], 0, height - 1)
    x0, y0 = np.floor(px).astype(int), np.floor(py).astype(int)
    x1, y1 = np.minimum(x0 + 1, width - 1), np.minimum(y0 + 1, height - 1)
    u, v = (px - x0)[..., None], (py - y0)[..., None]
    above = (1 - u) * keyframe[y0, x0] + u * keyframe[y0, x1]
    below = (1 - u) * keyframe[y1, x0] + u * keyframe[y1, x1]
    return np.rint((1 - v) * above + v * below).astype(np.uint8)


# The displacement itself


@pytest.mark.parametrize("chaining", list(CHAINS))
@pytest.mark.parametrize(
    ("codec", "suffix"),
    [
        ("libx264", "mp4"),
        ("mpeg4", "mp4"),
        ("mpeg2video", "ts"),
        ("mpeg1video", "mpg"),
        ("h263", "avi"),
        ("flv", "flv"),
        ("msmpeg4", "avi"),
        ("msmpeg4v2", "avi"),
        ("wmv1", "avi"),
        ("wmv2", "avi"),
        ("rv10", "rm"),
        ("rv20", "rm"),
    ],
)
def test_a_panned_view_has_the_motion_it_was_panned_by(
    tmp_path: Path, codec: str, suffix: str, chaining: Chaining
) -> None:
    dx, dy = 3, -2
    path = encode(tmp_path / f"pan.{suffix}", panning(8, HEIGHT, WIDTH, dx, dy), codec, gop=8)
    frames = list(read_motion(path, chaining=chaining, motion="bitstream"))
    assert len(frames) == 8
    followed = [frame for frame in frames if frame.motion is not None]
    assert len(followed) >= 6  # MPEG-1 and MPEG-2 decoders give no vectors with the very last picture
    for frame in followed:
        assert frame.motion is not None
        assert frame.motion_source == "bitstream"
        inside = frame.motion[interior(frame.distance, dx, dy)]
        error = np.abs(inside - np.array([dx, dy]) * frame.distance).max(axis=-1)
        assert np.median(error) == 0
        assert (error <= 0.5).mean() > 0.97


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
@pytest.mark.parametrize("displacement", [(2, 1), (-3, 2), (0, -4)])
def test_the_warped_keyframe_is_the_frame(tmp_path: Path, codec: str, displacement: tuple[int, int]) -> None:
    dx, dy = displacement
    keyframe: Image | None = None
    gains = []
    path = encode(tmp_path / "pan.mp4", panning(8, HEIGHT, WIDTH, dx, dy), codec)
    for frame in read_motion(path, motion="bitstream"):
        if frame.motion is None:
            keyframe = frame.rgb
            continue
        assert keyframe is not None
        inside = interior(frame.distance, dx, dy)
        warped = warp(keyframe, frame.motion)
        wrong_way = warp(keyframe, -frame.motion)
        reference = frame.rgb[inside]
        gains.append(cv2.PSNR(warped[inside], reference) - cv2.PSNR(keyframe[inside], reference))
        assert cv2.PSNR(warped[inside], reference) > cv2.PSNR(wrong_way[inside], reference) + 10
    assert len(gains) == 7
    assert min(gains) > 6  # most where the displacement is even: chroma has half the resolution


def test_fractions_follow_a_slow_pan_closer_than_whole_pixels(tmp_path: Path) -> None:
    large = panning(10, 4 * HEIGHT, 4 * WIDTH, 5, 3)  # a quarter of its size moves by 1.25 and 0.75 pixels
    views = [np.asarray(cv2.resize(view, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)) for view in large]
    path = encode(tmp_path / "slow.mp4", views)
    errors: dict[str, float] = {}
    for chaining in CHAINS:
        last = list(read_motion(path, chaining=chaining, motion="bitstream", guards=None))[-1]
        assert last.motion is not None
        assert last.distance == 9
        inside = last.motion[24:-24, 32:-32]
        errors[chaining] = float(np.abs(inside - np.array([1.25, 0.75]) * 9).mean())
    assert errors["subpixel"] < 0.5 < errors["published"]


# The schedule on real streams


def reasons(path: Path, interval: int = 12) -> list[str | None]:
    return [frame.keyframe_reason for frame in read_motion(path, interval)]


def test_keyframes_by_interval_and_by_intra_frames(tmp_path: Path) -> None:
    path = encode(tmp_path / "v.mp4", panning(14, 64, 64, 1, 0), gop=6)
    # fmt: off
    assert reasons(path, 4) == [
        "first", None, None, None,
        "interval", None,
        "intra", None, None, None,
        "interval", None,
        "intra", None,
    ]
    # fmt: on
    assert [frame.distance for frame in read_motion(path, 4)] == [0, 1, 2, 3, 0, 1, 0, 1, 2, 3, 0, 1, 0, 1]


def test_a_new_size_restarts_the_chain(tmp_path: Path) -> None:
    parts = [encode(tmp_path / f"{n}.h264", panning(3, 64, n, 1, 0)) for n in (64, 96)]
    joined = tmp_path / "joined.h264"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    frames = list(read_motion(joined))
    assert [frame.keyframe_reason for frame in frames] == ["first", None, None, "size-change", None, None]
    assert [None if frame.motion is None else frame.motion.shape[1] for frame in frames] == [
        None,
        64,
        64,
        None,
        96,
        96,
    ]


def test_damage_restarts_the_chain(tmp_path: Path) -> None:
    path = encode(tmp_path / "v.mp4", panning(6, 64, 64, 1, 0))
    damaged = change_packets(path, tmp_path / "d.mp4", {3: b"no slice of a picture"})
    assert reasons(damaged) == ["first", None, None, "discontinuity", None]


def test_a_real_recording(shared: Callable[[str], Path]) -> None:
    frames = [
        (frame.pts, frame.keyframe_reason, frame.motion is None)
        for frame in read_motion(shared("video") / "solidWhiteRight.mp4")
    ]
    assert [pts for pts, _, _ in frames] == list(range(221))
    found = [reason for _, reason, _ in frames]
    assert found[0] == "first"
    assert found.count("intra") == 7
    assert set(found) == {"first", "interval", "intra", None}
    assert all(bare == (reason is not None) for _, reason, bare in frames)


def test_frames_that_nobody_took_leave_no_file_open(tmp_path: Path) -> None:
    path = encode(tmp_path / "v.mp4", panning(3, 64, 64, 1, 0))
    frames = read_motion(path)
    assert [file for file in psutil.Process().open_files() if Path(file.path) == path]
    frames.close()
    forgotten = read_motion(path)
    del forgotten
    assert not [file for file in psutil.Process().open_files() if Path(file.path) == path]


# Frames as objects


@pytest.fixture
def frames(tmp_path: Path) -> list[MotionFrame]:
    path = encode(tmp_path / "v.mp4", panning(5, 62, 58, 1, 0), rate=Fraction(30000, 1001))
    return list(read_motion(path))


def test_what_a_frame_tells(frames: list[MotionFrame]) -> None:
    key, _, _, last, _ = frames
    assert (key.is_keyframe, key.motion, key.motion_source, key.distance) == (True, None, None, 0)
    assert (last.is_keyframe, last.motion_source, last.distance, last.index) == (False, "bitstream", 3, 3)
    assert last.motion is not None
    assert (last.motion.shape, last.motion.dtype) == ((62, 58, 2), np.float32)
    assert (last.rgb.shape, last.rgb.dtype) == ((62, 58, 3), np.uint8)
    assert last.pts * last.time_base == Fraction(3003, 30000)
    assert last.time == pytest.approx(0.1001)
    assert last.decode_ms > 0
    assert last.motion_ms > 0


def test_a_frame_shows_shapes(frames: list[MotionFrame]) -> None:
    assert repr(frames[3]) == (
        "MotionFrame(index=3, pts=3003, time=0.100, rgb=[62, 58, 3], motion=[62, 58, 2], "
        "motion_source='bitstream', keyframe_reason=None, distance=3)"
    )


def test_a_frame_is_frozen(frames: list[MotionFrame]) -> None:
    with pytest.raises(FrozenInstanceError):
        frames[0].distance = 4  # type: ignore[misc]


def test_the_example_in_the_documentation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    encode(Path("street.mp4"), panning(14, 96, 128, 2, 1))
    # The package has a function of the same name.
    result = doctest.testmod(sys.modules["arseg_edge.runtime.read_motion"])
    assert result.attempted > 0
    assert result.failed == 0


# Ending


def test_closing_in_mid_stream_closes_the_source(tmp_path: Path) -> None:
    path = encode(tmp_path / "v.mp4", panning(6, 64, 64, 1, 0)).resolve()

    def is_open() -> bool:
        return str(path) in {file.path for file in psutil.Process().open_files()}

    frames = read_motion(path)
    next(frames)
    assert is_open()
    frames.close()
    assert not is_open()
    list(read_motion(path))
    assert not is_open()


def test_an_opened_source_stays_open(tmp_path: Path) -> None:
    with open_source(encode(tmp_path / "v.mp4", panning(4, 64, 64, 1, 0))) as source:
        frames = motion_frames(source, interval=2)
        assert [frame.is_keyframe for frame in frames] == [True, False, True, False]


def test_errors_come_at_the_call(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="No such file"):
        read_motion(tmp_path / "gone.mp4")
    with pytest.raises(UsageError, match="interval 0: must be"):
        read_motion([], interval=0)
    with pytest.raises(UsageError, match="chaining 'exact': must be one of published, subpixel"):
        read_motion([], chaining="exact")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="motion 'guess': must be one of auto, bitstream, estimate"):
        read_motion([], motion="guess")  # type: ignore[arg-type]


def test_errors_of_the_source_pass_through(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no frames"):
        list(read_motion([]))
    path = encode(tmp_path / "v.mp4", panning(2, 64, 64, 1, 0))
    noise = change_packets(path, tmp_path / "n.mp4", dict.fromkeys(range(2), b"no slice of a picture"))
    with pytest.raises(CodecError, match="could be decoded"):
        list(read_motion(noise))


@pytest.mark.parametrize(
    ("chaining", "motion"), [("subpixel", "auto"), ("subpixel", "bitstream"), ("published", "auto")]
)
def test_motion_on_the_grid_that_it_was_found_on(tmp_path: Path, chaining: Chaining, motion: MotionMode) -> None:
    # So large that its working picture has half of each side.
    size = 480, 640
    encode(tmp_path / "pan.mp4", panning(4, *size, 3, 1), bit_rate=20_000_000)
    found: dict[str, list[npt.NDArray[np.float32]]] = {}
    grids: tuple[MotionGrid, ...] = (None, "working")
    for grid in grids:
        with open_source(tmp_path / "pan.mp4") as source:
            frames = list(motion_frames(source, 12, chaining, motion, grid=grid))
        found[str(grid)] = [frame.motion for frame in frames if frame.motion is not None]
    assert [len(each) for each in found.values()] == [3, 3]
    for full, working in zip(*found.values(), strict=True):
        assert full.shape == (*size, 2)
        if chaining == "published" or motion == "bitstream":
            np.testing.assert_array_equal(working, full)  # chained pixel by pixel
        else:
            assert working.shape == (240, 320, 2)
            np.testing.assert_allclose(resized(working, *size), full, atol=1e-3)


def test_frames_of_a_segmenter_have_no_more_motion_than_was_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The paper's schedule does not enlarge motion for a graph that takes it on any grid; its labels are the same."""
    encode(tmp_path / "pan.mp4", panning(4, 480, 640, 3, 1), bit_rate=20_000_000)

    def labels() -> list[npt.NDArray[np.uint8]]:
        with arseg_edge.load(schedule="paper") as segmenter:
            return [result.labels for result in segmenter.stream(tmp_path / "pan.mp4")]

    shapes = []
    run = Networks.run_nonkeyframe

    def noting(self: Networks, frame: Any, feature: Any, motion: Any, *rest: Any, **options: Any) -> Any:
        shapes.append(motion.shape)
        return run(self, frame, feature, motion, *rest, **options)

    monkeypatch.setattr(Networks, "run_nonkeyframe", noting)
    working = labels()
    assert shapes == [(240, 320, 2)] * 3
    monkeypatch.setattr(Networks, "takes_any_grid", property(lambda self: False))
    full = labels()
    assert shapes[3:] == [(480, 640, 2)] * 3
    apart = [float((one != other).mean()) for one, other in zip(working, full, strict=True)]
    assert max(apart) < 1e-4

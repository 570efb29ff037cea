"""Streams: every frame once, at its own time, with the labels that the graphs alone would give."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt
import onnxruntime
import psutil
import pytest
from clips import INTERVAL, street_clip
from streams import panning

import arseg_edge
from arseg_edge import Result
from arseg_edge.bundle import read_bundle
from arseg_edge.errors import FrameError, SequenceError, SizeError, SourceError
from arseg_edge.runtime import read_motion
from arseg_edge.runtime.native import library_path
from arseg_edge.runtime.source.open_source import SourceLike, open_source

FRAMES = 30

Image = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return street_clip(tmp_path_factory.mktemp("stream") / "street.mp4", FRAMES)


@pytest.fixture(scope="module")
def results(tiny_bundle: Path, clip: Path) -> list[Result]:
    return segment(tiny_bundle, clip)


def segment(bundle: Path, source: SourceLike, interval: int | None = None) -> list[Result]:
    with arseg_edge.load(bundle, threads=1, interval=interval, schedule="paper") as segmenter:
        return list(segmenter.stream(source))


# Frames, times and keyframes


def assert_like_the_video(results: list[Result], video: Path) -> None:
    """Compare with what PyAV decodes."""
    with av.open(str(video)) as container:
        decoded = [(frame.pts, frame.time, frame.height, frame.width) for frame in container.decode(video=0)]
    assert [(r.pts, r.time, *r.labels.shape) for r in results] == decoded
    assert [r.index for r in results] == list(range(len(decoded)))
    assert {r.labels.dtype for r in results} == {np.dtype(np.uint8)}


def test_every_frame_of_a_real_recording(tiny_bundle: Path, shared: Callable[[str], Path]) -> None:
    video = shared("video/solidWhiteRight.mp4")
    results = segment(tiny_bundle, video)
    assert len(results) == 221
    assert_like_the_video(results, video)
    assert {r.motion_source for r in results if not r.is_keyframe} == {"bitstream"}


def test_every_frame_of_the_street(clip: Path, results: list[Result]) -> None:
    assert len(results) == FRAMES
    assert_like_the_video(results, clip)
    with av.open(str(clip)) as container:
        picture = next(container.decode(video=0)).to_ndarray(format="rgb24")
    assert cv2.PSNR(results[0].rgb, picture) > 40


@pytest.mark.parametrize("interval", [None, 1, 5, 40])
def test_keyframes_come_by_the_interval_and_with_intra_frames(
    tiny_bundle: Path, clip: Path, interval: int | None
) -> None:
    results = segment(tiny_bundle, clip, interval)
    step = interval or INTERVAL
    expected, since = [], 0
    for index in range(FRAMES):
        since = 0 if index % INTERVAL == 0 or since + 1 >= step else since + 1
        expected.append(since)
    assert [r.distance for r in results] == expected
    assert [r.is_keyframe for r in results] == [distance == 0 for distance in expected]
    assert results[0].keyframe_reason == "first"
    assert results[INTERVAL].keyframe_reason == ("intra" if step > INTERVAL or INTERVAL % step else "interval")
    assert all((r.keyframe_reason is None) == (not r.is_keyframe) for r in results)


def test_a_stream_is_the_steps_over_its_motion(tiny_bundle: Path, clip: Path, results: list[Result]) -> None:
    with arseg_edge.load(tiny_bundle, threads=1) as segmenter:
        chaining = segmenter.manifest.motion.chaining
        for frame, result in zip(read_motion(clip, INTERVAL, chaining), results, strict=True):
            assert frame.is_keyframe == result.is_keyframe
            step = segmenter.step(frame.rgb, motion=frame.motion, keyframe=frame.is_keyframe)
            np.testing.assert_array_equal(step.labels, result.labels)


# The graphs by themselves


@pytest.mark.parametrize("native", [True, False])
def test_labels_are_those_of_the_bare_graphs(
    tiny_bundle: Path, clip: Path, native: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run the bundle's members in sessions of one's own, as another program would."""
    monkeypatch.setenv("ARSEG_EDGE_NATIVE", "1" if native else "0")
    library = library_path()
    if native and library is None:
        pytest.skip("the native library was not built here")
    bundle = read_bundle(tiny_bundle)
    sessions = {}
    for member in ("keyframe.onnx", "nonkeyframe.onnx"):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        if library is not None:
            options.register_custom_ops_library(str(library))
        sessions[member] = onnxruntime.InferenceSession(bundle.read(member), options, ["CPUExecutionProvider"])

    results = segment(tiny_bundle, clip)
    feature = None
    for frame, result in zip(read_motion(clip, INTERVAL, "subpixel"), results, strict=True):
        assert result.speed.native is native
        assert result.speed.provider == "CPUExecutionProvider"
        size = np.array(frame.rgb.shape[:2])
        sizes = {"labels_size": size, "confidence_size": np.zeros(2, np.int64)}
        if frame.motion is None:
            inputs = {"frame": frame.rgb[None], **sizes}
            labels, feature = sessions["keyframe.onnx"].run(["labels", "feature"], inputs)
        else:
            inputs = {"frame": frame.rgb[None], "keyframe_feature": feature, "motion": frame.motion[None]}
            inputs |= {"frame_size": size, **sizes}
            (labels,) = sessions["nonkeyframe.onnx"].run(["labels"], inputs)
        np.testing.assert_array_equal(result.labels, labels[0])


def test_native_operators_and_function_bodies_agree(
    tiny_bundle: Path, clip: Path, results: list[Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    if library_path() is None:
        pytest.skip("the native library was not built here, or is turned off: nothing to compare")
    monkeypatch.setenv("ARSEG_EDGE_NATIVE", "0")
    plain = segment(tiny_bundle, clip)
    assert {r.speed.native for r in results} == {True}
    assert {r.speed.native for r in plain} == {False}
    same = [np.mean(a.labels == b.labels) for a, b in zip(results, plain, strict=True)]
    assert min(same) >= 0.999


# Other sources


def test_frames_of_ones_own(tiny_bundle: Path) -> None:
    pictures = panning(5, 64, 96, 2, 0)
    results = segment(tiny_bundle, iter(pictures))
    assert [r.index for r in results] == [0, 1, 2, 3, 4]
    # Arrays carry no motion: it is estimated from the pictures.
    assert [r.motion_source for r in results] == [None, *["estimated"] * 4]
    with arseg_edge.load(tiny_bundle, threads=1, motion="bitstream") as segmenter:
        # Without that, missing motion never passes for none.
        strict = list(segmenter.stream(iter(pictures)))
        assert [r.keyframe_reason for r in strict] == ["first", *["no-motion"] * 4]
        for picture, result in zip(pictures, strict, strict=True):
            np.testing.assert_array_equal(segmenter.step(picture, keyframe=True).labels, result.labels)


def test_a_directory_of_images(tiny_bundle: Path, tmp_path: Path) -> None:
    pictures = panning(4, 64, 96, 2, 0)
    for number, picture in enumerate(pictures):
        cv2.imwrite(str(tmp_path / f"{number}.png"), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    for found, expected in zip(segment(tiny_bundle, tmp_path), segment(tiny_bundle, pictures), strict=True):
        assert found.is_keyframe == (found.index == 0)
        np.testing.assert_array_equal(found.labels, expected.labels)


def test_a_change_of_size_makes_a_keyframe(tiny_bundle: Path) -> None:
    pictures = [*panning(2, 64, 96, 2, 0), *panning(2, 48, 80, 2, 0)]
    results = segment(tiny_bundle, pictures)
    assert [r.labels.shape for r in results] == [(64, 96)] * 2 + [(48, 80)] * 2
    assert results[2].keyframe_reason == "size-change"


def test_a_source_that_is_open_stays_open(tiny_bundle: Path, clip: Path) -> None:
    with arseg_edge.load(tiny_bundle) as segmenter, open_source(clip) as source:
        stream = segmenter.stream(source)
        assert next(stream).index == 0
        stream.close()
        assert next(iter(source.frames())).height == 360


# What goes wrong


def test_a_size_that_the_bundle_does_not_take(tiny_fixed_bundle: Path, clip: Path) -> None:
    with arseg_edge.load(tiny_fixed_bundle) as segmenter, pytest.raises(SizeError, match=r"360x480.*64x96"):
        segmenter.stream(clip)
    with arseg_edge.load(tiny_fixed_bundle, resize=True) as segmenter:
        assert next(segmenter.stream(clip)).labels.shape == (360, 480)


def test_no_frames(tiny_bundle: Path) -> None:
    with pytest.raises(SourceError, match="no frames"):
        segment(tiny_bundle, [])


def collected(bundle: Path, source: SourceLike) -> tuple[list[Result], Exception]:
    """Return the results before the source fails, and how it does."""
    found: list[Result] = []
    with arseg_edge.load(bundle, threads=1) as segmenter:
        try:
            for result in segmenter.stream(source):
                found.append(result)
        except Exception as error:
            return found, error
    raise AssertionError("the source did not fail")


def test_an_error_of_the_source_passes_through_after_the_frames_before_it(tiny_bundle: Path) -> None:
    class CameraError(Exception):
        pass

    def camera() -> Iterator[Image]:
        yield from panning(3, 64, 96, 2, 0)
        raise CameraError("unplugged")

    found, error = collected(tiny_bundle, camera())
    assert isinstance(error, CameraError)
    assert len(found) == 3


def test_something_else_among_the_frames(tiny_bundle: Path) -> None:
    found, error = collected(tiny_bundle, [*panning(2, 64, 96, 2, 0), "frame"])  # type: ignore[list-item]
    assert isinstance(error, FrameError)
    assert "frame 2 is str" in str(error)
    assert len(found) == 2


def test_streams_and_steps_of_one_segmenter_do_not_meet(tiny_bundle: Path, clip: Path, results: list[Result]) -> None:
    """Two streams and steps between them, each with a keyframe of its own, give what each gives alone."""
    other = panning(FRAMES, 64, 96, 1, 2)
    alone = segment(tiny_bundle, iter(other))
    with arseg_edge.load(tiny_bundle, threads=1, schedule="paper") as segmenter:
        first, second = segmenter.stream(clip), segmenter.stream(iter(other))
        for expected, expected_other in zip(results, alone, strict=True):
            np.testing.assert_array_equal(next(first).labels, expected.labels)
            segmenter.step(np.zeros((96, 64, 3), np.uint8), keyframe=True)
            np.testing.assert_array_equal(next(second).labels, expected_other.labels)
            segmenter.reset()


def test_streams_of_one_segmenter_in_threads_of_their_own(tiny_bundle: Path, clip: Path, results: list[Result]) -> None:
    found: list[list[Result]] = [[], []]
    with arseg_edge.load(tiny_bundle, threads=1, schedule="paper") as segmenter:
        threads = [threading.Thread(target=lambda out=out: out.extend(segmenter.stream(clip))) for out in found]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for each in found:
        for result, expected in zip(each, results, strict=True):
            np.testing.assert_array_equal(result.labels, expected.labels)


def test_a_stream_ends_where_the_segmenter_is_closed(tiny_bundle: Path, clip: Path) -> None:
    with arseg_edge.load(tiny_bundle) as segmenter:
        stream = segmenter.stream(clip)
        next(stream)
        segmenter.close()
        with pytest.raises(SequenceError, match="closed"):
            next(stream)


# What is left behind


def test_streams_cut_off_in_the_middle_leave_no_file_open(tiny_bundle: Path, clip: Path) -> None:
    process = psutil.Process()
    with arseg_edge.load(tiny_bundle, threads=1) as segmenter:

        def cut(how: str) -> None:
            stream = segmenter.stream(clip)
            if how != "unused":
                assert [next(stream).index, next(stream).index] == [0, 1]
            if how == "unused":
                del stream
                gc.collect()
            if how == "closed":
                stream.close()
                assert not [file for file in process.open_files() if Path(file.path) == clip]

        cut("closed")
        files = len(process.open_files())
        for turn in range(51):
            cut(("closed", "forgotten", "unused")[turn % 3])
        # Whoever forgets a stream does not wait for its thread.
        for thread in threading.enumerate():
            if thread.name.startswith("arseg-edge"):
                thread.join(60)
                assert not thread.is_alive()
        assert len(process.open_files()) == files


def test_two_streams_in_two_threads_give_what_one_gives(tiny_bundle: Path, clip: Path, results: list[Result]) -> None:
    found: list[list[Result]] = [[], []]
    threads = [threading.Thread(target=lambda out=out: out.extend(segment(tiny_bundle, clip))) for out in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for each in found:
        assert len(each) == FRAMES
        for a, b in zip(each, results, strict=True):
            np.testing.assert_array_equal(a.labels, b.labels)


def test_memory_stays_constant_over_any_number_of_frames(tiny_bundle: Path) -> None:
    pictures = panning(4, 64, 96, 2, 0)
    process = psutil.Process()
    count, warm = 2000, 0
    endless = (pictures[index % 4] for index in range(count))
    with arseg_edge.load(tiny_bundle, threads=1) as segmenter:
        for result in segmenter.stream(endless):
            if result.index == 300:
                warm = process.memory_info().rss
        assert result.index == count - 1
    assert process.memory_info().rss - warm < 20e6
    assert warm > 0


def test_leaving_the_program_in_mid_stream(tiny_bundle: Path, clip: Path) -> None:
    code = (
        "import sys, arseg_edge\n"
        "segmenter = arseg_edge.load(sys.argv[1], threads=1)\n"
        "stream = segmenter.stream(sys.argv[2])\n"
        "print(next(stream).index, next(stream).index)\n"
    )
    for _ in range(3):
        command = [sys.executable, "-c", code, str(tiny_bundle), str(clip)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert (done.returncode, done.stdout, done.stderr) == (0, "0 1\n", "")

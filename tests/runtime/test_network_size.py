"""Networks that see a frame at another size than its own: labels come from the logits, at the frame's size."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest

import arseg_edge
from arseg_edge.bundle import KEYFRAME, read_bundle
from arseg_edge.errors import SizeError, UsageError
from arseg_edge.runtime import read_motion
from arseg_edge.runtime.inference.networks import Networks, OldFormatWarning
from arseg_edge.runtime.segmenter import LrResize
from arseg_edge.runtime.source.resizing import resized_picture

NETWORK = 64, 96
SOURCE = 150, 228

Image = npt.NDArray[np.uint8]
Arrays = dict[str, npt.NDArray[Any]]


@pytest.fixture(scope="module")
def pictures() -> list[Image]:
    blocks = np.random.default_rng(0).integers(0, 256, (16, 24, 3), np.uint8)
    scene = blocks.repeat(11, 0).repeat(11, 1)
    return [np.ascontiguousarray(scene[2 * t :, 4 * t :][: SOURCE[0], : SOURCE[1]]) for t in range(5)]


def motion_of(dx: float, dy: float, size: tuple[int, int] = SOURCE) -> npt.NDArray[np.float32]:
    """The same motion everywhere."""
    return np.zeros((*size, 2), np.float32) + np.array([dx, dy], np.float32)


def logits_of(path: Path, picture: Image, other: Image, motion: npt.NDArray[np.float32]) -> list[npt.NDArray[Any]]:
    """Return [n, h, w] of HR for one picture, and of LR for the other, from the bare graphs at their size."""
    bundle, size = read_bundle(path), np.array(picture.shape[:2])
    sessions = [
        onnxruntime.InferenceSession(bundle.read(name), providers=["CPUExecutionProvider"])
        for name in (KEYFRAME, "nonkeyframe.onnx")
    ]
    sizes = {"labels_size": size, "confidence_size": np.zeros(2, np.int64)}
    feature, hr = sessions[0].run(["feature", "logits"], {"frame": picture[None], **sizes})
    inputs = {"frame": other[None], "keyframe_feature": feature, "motion": motion[None]}
    (lr,) = sessions[1].run(["logits"], {**inputs, "frame_size": size, **sizes})
    return [hr[0], lr[0]]


def labels_of(logits: npt.NDArray[Any], size: tuple[int, int]) -> npt.NDArray[np.int64]:
    """Resize bilinearly with corners aligned, as this family does, in NumPy; the largest wins."""
    values = logits.astype(np.float64)
    for axis, length in ((1, size[0]), (2, size[1])):
        last = values.shape[axis] - 1
        places = np.arange(length) * (last / max(length - 1, 1))
        low = np.floor(places).astype(int).clip(0, last)
        share = (places - low).reshape([-1 if each == axis else 1 for each in range(3)])
        values = values.take(low, axis) * (1 - share) + values.take(np.minimum(low + 1, last), axis) * share
    return values.argmax(0)


@pytest.mark.parametrize("native", ["1", "0"])
@pytest.mark.parametrize("bundle", ["tiny_bundle", "tiny_fixed_bundle"])
def test_labels_are_made_from_the_logits_at_the_frames_own_size(
    bundle: str, native: str, pictures: list[Image], request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARSEG_EDGE_NATIVE", native)
    path = request.getfixturevalue(bundle)
    seen = [resized_picture(each, NETWORK) for each in pictures[:2]]
    motion = motion_of(4 * NETWORK[1] / SOURCE[1], 2 * NETWORK[0] / SOURCE[0], NETWORK)
    with arseg_edge.load(path, size=NETWORK, threads=1) as segmenter:
        found = [
            segmenter.step(pictures[0], keyframe=True).labels,
            segmenter.step(pictures[1], motion=motion_of(4, 2)).labels,
        ]
    for labels, logits in zip(found, logits_of(path, *seen, motion), strict=True):
        assert labels.shape == SOURCE
        assert (labels == labels_of(logits, SOURCE)).mean() > 0.999
        # Labels of the networks' size, enlarged, have stairs.
        stairs = cv2.resize(labels_of(logits, NETWORK).astype(np.uint8), SOURCE[::-1], interpolation=cv2.INTER_NEAREST)
        assert (labels != stairs).mean() > 0.01


def test_a_frame_of_that_size_gives_what_it_gives_without(tiny_bundle: Path, pictures: list[Image]) -> None:
    frames = [resized_picture(each, NETWORK) for each in pictures]
    found = []
    for size in (NETWORK, None):
        with arseg_edge.load(tiny_bundle, size=size, threads=1) as segmenter:
            found.append([result.labels for result in segmenter.stream(iter(frames))])
    np.testing.assert_array_equal(*found)


def test_resizing_to_a_bundles_size_is_the_same(tiny_fixed_bundle: Path, pictures: list[Image]) -> None:
    found = []
    for how in ({"resize": True}, {"size": NETWORK}, {"size": NETWORK, "resize": True}):
        with arseg_edge.load(tiny_fixed_bundle, threads=1, **how) as segmenter:
            found.append([result.labels for result in segmenter.stream(iter(pictures))])
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


@pytest.mark.parametrize("source", [(1, 1), (31, 200), (20, 16), (400, 300)])
def test_frames_of_any_size(tiny_bundle: Path, source: tuple[int, int]) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (*source, 3), np.uint8)
    with arseg_edge.load(tiny_bundle, size=NETWORK, threads=1) as segmenter:
        assert segmenter.step(picture, keyframe=True).labels.shape == source
        assert segmenter.step(picture, motion=np.zeros((*source, 2))).labels.shape == source


@pytest.mark.parametrize("lr_resize", ["exact", "fast"])
def test_a_stream_gives_what_its_steps_give(street: Path, lr_resize: LrResize) -> None:
    """Decoder's pictures are made smaller on the way to RGB, and motion is found on the source's picture."""
    with arseg_edge.load(size=(180, 240), interval=6, lr_resize=lr_resize, threads=2, schedule="paper") as segmenter:
        stream = segmenter.stream(street)
        for frame in islice(read_motion(street, 6, "subpixel"), 8):
            result = next(stream)
            assert frame.is_keyframe == result.is_keyframe
            assert result.labels.shape == frame.rgb.shape[:2]
            step = segmenter.step(frame.rgb, motion=frame.motion, keyframe=frame.is_keyframe)
            assert (step.labels == result.labels).mean() > 0.98
            np.testing.assert_array_equal(result.rgb, frame.rgb)
        stream.close()


def test_networks_see_no_more_than_the_size(tiny_bundle: Path, street: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, ...]] = []

    def watched(name: str) -> None:
        real: Callable[..., Any] = getattr(Networks, name)

        def run(self: Networks, frame: Image, *arguments: Any, **asked: bool) -> Any:
            seen.append(frame.shape[:2])
            seen.extend(each.shape[:2] for each in arguments if isinstance(each, np.ndarray))
            return real(self, frame, *arguments, **asked)

        monkeypatch.setattr(Networks, name, run)

    watched("run_keyframe")
    watched("run_nonkeyframe")
    ways: list[tuple[LrResize, tuple[int, int]]] = [("exact", (90, 160)), ("fast", (45, 80))]
    for lr_resize, lr in ways:
        seen.clear()
        with arseg_edge.load(
            tiny_bundle, size=(90, 160), threads=1, lr_resize=lr_resize, schedule="paper"
        ) as segmenter:
            stream = segmenter.stream(street)
            for _ in range(3):
                next(stream)
            stream.close()
        # A keyframe; two frames with their motion.
        assert seen == [(90, 160), *[lr, (90, 160)] * 2]


@pytest.fixture(scope="module")
def street() -> Path:
    return Path(__file__).parents[2] / "samples" / "street.mp4"


# What is refused


@pytest.mark.parametrize("size", [(720,), (720, 960, 3), 720, "720x960", (720.0, 960), (0, 96), (-64, 96), (True, 96)])
def test_what_is_no_size(tiny_bundle: Path, size: Any) -> None:
    with pytest.raises(UsageError, match=r"size .*\(height, width\)") as raised:
        arseg_edge.load(tiny_bundle, size=size)
    assert repr(size) in str(raised.value)


def test_sizes_that_the_networks_do_not_run_at(tiny_bundle: Path, tiny_fixed_bundle: Path) -> None:
    with pytest.raises(SizeError, match=r"size 31x96 .* outside what tiny\.arseg takes, 32x32 to 8192x8192"):
        arseg_edge.load(tiny_bundle, size=(31, 96))
    with pytest.raises(SizeError, match=r"size 96x64 .* tiny-64x96\.arseg was exported for 64x96 alone"):
        arseg_edge.load(tiny_fixed_bundle, size=(96, 64))


# Bundle format 1


@pytest.fixture(scope="module")
def format1_bundle() -> Path:
    """``tiny.arseg`` as bundle format 1 had it."""
    return Path(__file__).parents[1] / "data" / "tiny-format1.arseg"


@pytest.mark.parametrize("native", ["1", "0"])
def test_format_1_reads_and_gives_the_same_labels(
    tiny_bundle: Path, format1_bundle: Path, street: Path, native: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARSEG_EDGE_NATIVE", native)
    assert [read_bundle(each).manifest.format_version for each in (format1_bundle, tiny_bundle)] == [1, 2]
    for scale in (0.5, 0.3):
        found = []
        for path in (format1_bundle, tiny_bundle):
            with arseg_edge.load(path, threads=1, scale=scale, interval=4, schedule="paper") as segmenter:
                stream = segmenter.stream(street)
                found.append([next(stream).labels for _ in range(7)])
                stream.close()
        np.testing.assert_array_equal(*found)


def test_format_1_enlarges_labels_and_says_so_once(
    tiny_bundle: Path, format1_bundle: Path, pictures: list[Image]
) -> None:
    frames = [resized_picture(each, NETWORK) for each in pictures]
    motions = [motion_of(4.0 * t, 2.0 * t) for t in range(len(pictures))]
    scale = np.array([NETWORK[1] / SOURCE[1], NETWORK[0] / SOURCE[0]], np.float32)
    with arseg_edge.load(tiny_bundle, threads=1) as segmenter:
        small = [
            segmenter.step(frame, motion=motion[: NETWORK[0], : NETWORK[1]] * scale if t else None).labels
            for t, (frame, motion) in enumerate(zip(frames, motions, strict=True))
        ]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with arseg_edge.load(format1_bundle, size=NETWORK, threads=1) as segmenter:
            found = [
                segmenter.step(picture, motion=motion if t else None).labels
                for t, (picture, motion) in enumerate(zip(pictures, motions, strict=True))
            ]
    for labels, expected in zip(found, small, strict=True):
        enlarged = cv2.resize(expected, SOURCE[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
        assert (labels == enlarged).mean() > 0.999
    (warning,) = [each for each in caught if each.category is OldFormatWarning]
    assert "format 1 gives labels of 64x96" in str(warning.message)
    assert "arseg-edge export --upgrade" in str(warning.message)

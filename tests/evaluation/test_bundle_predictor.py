"""The bundle predictor gives what the runtime gives, and LR alone what its feature and the last layer say."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from clips import STREET
from numpy.typing import NDArray

import arseg_edge
from arseg_edge.bundle import KEYFRAME, read_bundle
from arseg_edge.demo import demo_bundle
from arseg_edge.errors import BundleError, SequenceError, SizeError
from arseg_edge.evaluation.bundle_predictor import BundlePredictor
from arseg_edge.evaluation.predictor import Predictor
from arseg_edge.runtime import MotionFrame, read_motion
from arseg_edge.runtime.native import library_path

BUNDLE = demo_bundle()


@pytest.fixture(scope="module")
def frames() -> list[MotionFrame]:
    return list(islice(read_motion(STREET, interval=12), 3))


@pytest.fixture(params=["native", "bodies"])
def predictor(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> BundlePredictor:
    if request.param == "bodies":
        monkeypatch.setenv("ARSEG_EDGE_NATIVE", "0")
    found = BundlePredictor(read_bundle(BUNDLE), threads=1, providers="cpu")
    assert found.native == (request.param == "native" and library_path() is not None)
    return found


def test_what_it_says_of_itself() -> None:
    predictor: Predictor = BundlePredictor(read_bundle(BUNDLE), threads=1)
    manifest = read_bundle(BUNDLE).manifest
    assert (predictor.name, predictor.interval, predictor.scale, predictor.chaining) == (
        "demo.arseg", 12, 0.5, "subpixel",
    )  # fmt: skip
    assert predictor.classes.names == tuple(each.name for each in manifest.classes)


def test_hr_and_ar_are_the_runtimes(predictor: BundlePredictor, frames: list[MotionFrame]) -> None:
    key, near, far = frames
    assert near.motion is not None
    assert far.motion is not None
    with arseg_edge.load(BUNDLE, providers="cpu", threads=1) as segmenter:
        expected = [segmenter.step(key.rgb, keyframe=True).labels, segmenter.step(near.rgb, motion=near.motion).labels]
        still = segmenter.step(near.rgb, motion=np.zeros_like(near.motion)).labels
        np.testing.assert_array_equal(predictor.keyframe(key.rgb), expected[0])
        # HR on another frame leaves the kept feature alone.
        np.testing.assert_array_equal(predictor.hr(far.rgb), segmenter.step(far.rgb, keyframe=True).labels)
    np.testing.assert_array_equal(predictor.ar(near.rgb, near.motion), expected[1])
    np.testing.assert_array_equal(predictor.ar(near.rgb, np.zeros_like(near.motion)), still)
    assert (still != expected[1]).mean() > 0.001


def test_ar_needs_a_keyframe(predictor: BundlePredictor, frames: list[MotionFrame]) -> None:
    predictor.hr(frames[0].rgb)
    with pytest.raises(SequenceError, match="before any keyframe"):
        predictor.ar(frames[1].rgb, np.zeros((360, 480, 2), np.float32))


def test_lr_alone_is_its_feature_and_the_last_layer(predictor: BundlePredictor, frames: list[MotionFrame]) -> None:
    rgb = frames[1].rgb
    found = predictor.lr(rgb)
    expected = labels_of(last_layer(frames[0].rgb), lr_feature(rgb, frames[0].rgb), (360, 480))
    assert (found != expected).mean() < 1e-3
    assert len(np.unique(found)) > 4
    # It is neither HR nor the fusion.
    assert (found != predictor.hr(rgb)).mean() > 0.01


def last_layer(rgb: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return [65, 11], weight and bias, from what HR's last layer, of which LR has a copy, does to its feature."""
    model = read_bundle(BUNDLE).read(KEYFRAME)
    feature, logits = run(model, ["feature", "logits"], frame=rgb[None], labels_size=size_of(rgb))
    inputs = np.concatenate([feature[0].reshape(64, -1), np.ones((1, feature[0, 0].size))])
    weights, *_ = np.linalg.lstsq(inputs.T, logits[0].reshape(11, -1).T.astype(np.float64), rcond=None)
    np.testing.assert_allclose(inputs.T @ weights, logits[0].reshape(11, -1).T, atol=1e-3)
    return weights


def lr_feature(rgb: NDArray[np.uint8], keyframe: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return [64, h', w'] of the whole graph, fusion and all."""
    (key,) = run(read_bundle(BUNDLE).read(KEYFRAME), ["feature"], frame=keyframe[None], labels_size=size_of(keyframe))
    model = read_bundle(BUNDLE).read("nonkeyframe.onnx")
    motion = np.zeros((1, *rgb.shape[:2], 2), np.float32)
    inputs = {"frame": rgb[None], "keyframe_feature": key, "motion": motion}
    (feature,) = run(model, ["lr_feature"], **inputs, frame_size=size_of(rgb), labels_size=size_of(rgb))
    return feature[0].astype(np.float64)


def size_of(rgb: NDArray[np.uint8]) -> NDArray[np.int64]:
    return np.array(rgb.shape[:2], np.int64)


def run(model: bytes, outputs: list[str], **inputs: NDArray[np.generic]) -> list[NDArray[np.float32]]:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    takes = [each.name for each in session.get_inputs()]
    nobody = {name: np.zeros(2, np.int64) for name in ("confidence_size",) if name in takes}
    found: list[NDArray[np.float32]] = session.run(outputs, {**inputs, **nobody})
    return found


def labels_of(layer: NDArray[np.float64], feature: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.int64]:
    """The last layer, ×8 with half-pixel centres, and to ``size`` with aligned corners (segmentation_labels.py)."""
    logits = np.einsum("chw,cn->nhw", feature, layer[:-1]) + layer[-1][:, None, None]
    return resized_logits(logits, size, upscale=8).argmax(0)


def resized_logits(logits: NDArray[np.floating[Any]], size: tuple[int, int], upscale: int = 1) -> NDArray[np.float64]:
    resized = logits.astype(np.float64)
    for axis, length in ((1, size[0]), (2, size[1])):
        small = logits.shape[axis]
        if upscale > 1:
            resized = at(resized, (np.arange(upscale * small) + 0.5) / upscale - 0.5, axis)
        resized = at(resized, np.arange(length) * (upscale * small - 1) / (length - 1), axis)
    return resized


def at(values: NDArray[np.float64], places: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Linear interpolation along an axis; the border repeats."""
    places = places.clip(0, values.shape[axis] - 1)
    low = np.floor(places).astype(int)
    high = np.minimum(low + 1, values.shape[axis] - 1)
    share = (places - low).reshape([-1 if each == axis else 1 for each in range(3)])
    return values.take(low, axis) * (1 - share) + values.take(high, axis) * share


def test_scales(tiny_bundle: Path) -> None:
    bundle = read_bundle(tiny_bundle)
    half, third = (BundlePredictor(bundle, threads=1, scale=scale) for scale in (None, 0.3))
    assert (half.scale, third.scale) == (0.5, 0.3)
    rgb = np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)
    np.testing.assert_array_equal(half.hr(rgb), third.hr(rgb))
    assert (half.lr(rgb) != third.lr(rgb)).any()


def test_a_bundle_of_one_size(tiny_fixed_bundle: Path) -> None:
    bundle = read_bundle(tiny_fixed_bundle)
    rgb = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    double = rgb.repeat(2, 0).repeat(2, 1)
    with pytest.raises(SizeError, match="128x192"):
        BundlePredictor(bundle, threads=1).hr(double)
    predictor = BundlePredictor(bundle, threads=1, resize=True)
    # The networks see the same, and the labels are made from the same logits.
    model = bundle.read(KEYFRAME)
    (logits,) = run(model, ["logits"], frame=rgb[None], labels_size=size_of(rgb))
    assert (predictor.hr(double) == resized_logits(logits[0], (128, 192)).argmax(0)).mean() > 0.999
    small, large = predictor.lr(rgb), predictor.lr(double)
    assert large.shape == (128, 192)
    assert 0.9 < (large[::2, ::2] == small).mean() < 1


def test_a_bundle_of_format_1_has_all_but_lr_alone(tiny_bundle: Path) -> None:
    old, new = (
        BundlePredictor(read_bundle(tiny_bundle.with_name(name)), threads=1)
        for name in ("tiny-format1.arseg", tiny_bundle.name)
    )
    assert (old.gives_lr, new.gives_lr) == (False, True)
    rgb = np.random.default_rng(0).integers(0, 256, (2, 64, 96, 3), np.uint8)
    motion = np.full((64, 96, 2), 3, np.float32)
    for predictor in (old, new):
        assert predictor.keyframe(rgb[0]).shape == (64, 96)
    assert (old.ar(rgb[1], motion) == new.ar(rgb[1], motion)).mean() > 0.999
    with pytest.raises(BundleError, match=r"^tiny-format1\.arseg: .* LR alone .* `arseg-edge export --upgrade`"):
        old.lr(rgb[1])

"""The export's check of itself: what it compares, and that it notices what is wrong."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import make_tiny_bundle
import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from arseg_edge.bundle import KEYFRAME, Bundle, read_bundle
from arseg_edge.errors import OperatorError, ParityError
from arseg_edge.export.checkpoint import load_ar, load_hr, read_checkpoint
from arseg_edge.export.clips import ParityClip, random_clip, structured_clip
from arseg_edge.export.parity import ExportedNetwork, compare, golden_clip, refuse_beyond_tolerance
from arseg_edge.manifest import LowResolution, ParityFigure

FAMILY = make_tiny_bundle.FAMILY
LOW = LowResolution(0.5, "nonkeyframe.onnx")
CLIP = structured_clip(64, 96)


@pytest.fixture(scope="module")
def bundle(tiny_bundle: Path) -> Bundle:
    return read_bundle(tiny_bundle)


@pytest.fixture(scope="module")
def keyframe(bundle: Bundle) -> ExportedNetwork:
    hr = read_checkpoint(make_tiny_bundle.weights(0, fused=False))
    return ExportedNetwork(KEYFRAME, bundle.read(KEYFRAME), load_hr(FAMILY, hr))


@pytest.fixture(scope="module")
def nonkeyframe(bundle: Bundle) -> ExportedNetwork:
    ar = read_checkpoint(make_tiny_bundle.weights(1, fused=True))
    return ExportedNetwork(LOW.member, bundle.read(LOW.member), load_ar(FAMILY, ar), bundle.read(LOW.head))


def figures(
    keyframe: ExportedNetwork, nonkeyframe: ExportedNetwork, clip: ParityClip = CLIP
) -> dict[tuple[str, str], ParityFigure]:
    found = compare(FAMILY, keyframe, {LOW: nonkeyframe}, [clip])
    return {(each.member, each.stage): each for each in found}


@pytest.mark.parametrize("clip", [CLIP, random_clip(40, 61)], ids=["structured", "random"])
def test_sound_graphs_agree(keyframe: ExportedNetwork, nonkeyframe: ExportedNetwork, clip: ParityClip) -> None:
    found = figures(keyframe, nonkeyframe, clip)
    assert {each.input for each in found.values()} == {clip.name}
    assert {each.size for each in found.values()} == {clip.frames.shape[1:3]}
    assert max(each.error for each in found.values()) < 1e-4
    refuse_beyond_tolerance(list(found.values()))


def with_weights(branch: ExportedNetwork, shape: tuple[int, ...], factor: float) -> ExportedNetwork:
    """Return the branch with the graph's weights of one shape scaled, the PyTorch network as it was."""
    model = onnx.load_from_string(branch.model)
    hits = [each for each in model.graph.initializer if tuple(each.dims) == shape]
    assert hits
    for each in hits:
        array = numpy_helper.to_array(each)
        each.CopyFrom(numpy_helper.from_array((array * np.float32(factor)).astype(np.float32), each.name))
    return dataclasses.replace(branch, model=model.SerializeToString())


def test_a_wrong_keyframe_graph_is_told_from_a_wrong_other(
    keyframe: ExportedNetwork, nonkeyframe: ExportedNetwork
) -> None:
    wrong_fusion = with_weights(nonkeyframe, (8, 1, 3, 3), 1.2)
    found = figures(keyframe, wrong_fusion)
    assert found[LOW.member, "logits"].error > 1e-3
    assert found[LOW.member, "lr_feature"].error < 1e-4
    assert found[KEYFRAME, "feature"].error < 1e-4
    with pytest.raises(ParityError, match=r"^nonkeyframe\.onnx: logits differs from PyTorch by .* at 64x96"):
        refuse_beyond_tolerance(list(found.values()))

    wrong_start = with_weights(nonkeyframe, (8, 3, 3, 3), 1.2)
    assert figures(keyframe, wrong_start)[LOW.member, "lr_feature"].error > 1e-2


def test_weights_that_are_not_numbers_are_beyond_every_tolerance(
    keyframe: ExportedNetwork, nonkeyframe: ExportedNetwork
) -> None:
    found = list(figures(with_weights(keyframe, (8, 3, 3, 3), np.nan), nonkeyframe).values())
    with pytest.raises(ParityError, match=r"keyframe\.onnx: feature differs from PyTorch by nan"):
        refuse_beyond_tolerance([each for each in found if each.member == KEYFRAME])


def test_graph_that_does_not_load_is_an_operator_error(keyframe: ExportedNetwork, nonkeyframe: ExportedNetwork) -> None:
    model = onnx.load_from_string(nonkeyframe.model)
    del model.functions[:]
    broken = dataclasses.replace(nonkeyframe, model=model.SerializeToString())
    with pytest.raises(OperatorError, match=r"nonkeyframe\.onnx: ONNX Runtime does not load it") as error:
        figures(keyframe, broken)
    assert "\n" not in str(error.value)


def test_golden_clip_holds_what_pytorch_computes(keyframe: ExportedNetwork, nonkeyframe: ExportedNetwork) -> None:
    golden = golden_clip(FAMILY, keyframe, {LOW: nonkeyframe}, CLIP)
    np.testing.assert_array_equal(golden.frames, CLIP.frames)
    # By hand, with the network's own layers.
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in (FAMILY.mean, FAMILY.std))
    image = (torch.from_numpy(CLIP.frames[0]).permute(2, 0, 1) / 255 - mean) / std
    with torch.no_grad():
        feature = keyframe.network.feature(image[None])
        logits = keyframe.network.final_conv(feature)
        labels = nn.functional.interpolate(logits, size=(64, 96), mode="bilinear", align_corners=True).argmax(1)
    expected = golden.expected[KEYFRAME][0]
    assert expected.stages["feature"].error(feature.numpy()) < 1e-6
    assert (expected.labels == labels[0].numpy()).mean() > 0.999
    assert sorted(golden.expected[LOW.member]) == [1, 2]


def test_structured_clip_moves_as_its_motion_says() -> None:
    # Whole pixels of the camera alone: what stands at x in the frame stood at x + dx in the keyframe.
    clip = structured_clip(120, 200, frames=5)
    dx, dy = clip.motion[4, 0, 0]
    assert (dx, dy) == (11, -5)
    inside = clip.frames[4, 40:60, :90].astype(int)
    before = clip.frames[0, 35:55, 11:101].astype(int)
    assert np.abs(inside - before).mean() < 2
    assert np.abs(inside - clip.frames[0, 40:60, :90]).mean() > 5


def test_clips_have_motion_in_quarter_pixels_and_are_the_same_each_time() -> None:
    for make in (random_clip, structured_clip):
        clip, again = make(40, 56), make(40, 56)
        np.testing.assert_array_equal(clip.motion * 4, np.rint(clip.motion * 4))
        np.testing.assert_array_equal(clip.frames, again.frames)
        np.testing.assert_array_equal(clip.motion, again.motion)
        assert clip.frames.dtype == np.uint8
        assert clip.motion.dtype == np.float32

"""HR's weights out of a bundle."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import pytest
import torch
from hr_alone import hr_alone
from onnx import numpy_helper
from torch import nn

from arseg_edge.bundle import KEYFRAME, read_bundle, write_bundle
from arseg_edge.demo import demo_bundle
from arseg_edge.errors import BundleError, CheckpointError, UsageError
from arseg_edge.export import export_bundle
from arseg_edge.export.bundle_weights import read_ar, read_hr
from arseg_edge.export.checkpoint import load_ar, load_hr
from arseg_edge.export.families import Family, edge_family, find_family
from arseg_edge.export.operators.normalize_image import normalize_image
from arseg_edge.export.parity import run_graph, session_of
from arseg_edge.manifest import ConvertedInput
from arseg_edge.palette import CAMVID_11, ClassSet


def random_weights(family: Family) -> nn.Module:
    """Return an HR network whose normalisations have statistics of their own."""
    torch.manual_seed(3)
    network = cast(nn.Module, family.build_hr())
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            assert layer.running_mean is not None
            assert layer.running_var is not None
            nn.init.normal_(layer.running_mean, 0, 0.3)
            nn.init.uniform_(layer.running_var, 0.5, 2)
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, 0, 0.3)
    return network


def of_graph(bundle: Path, frame: Any) -> dict[str, Any]:
    """Return what the bundle's graph makes of a frame."""
    size = np.array(frame.shape[:2], np.int64)
    session = session_of(KEYFRAME, read_bundle(bundle).read(KEYFRAME))
    found = run_graph(session, frame=frame[None], labels_size=size)
    return {name: found[name] for name in ("feature", "logits")}


@torch.no_grad()
def of_weights(family: Family, weights: Any, frame: Any) -> dict[str, Any]:
    """Return what PyTorch makes of it with the weights."""
    network = load_hr(family, weights)
    image = normalize_image(torch.from_numpy(frame)[None], frame.shape[:2], mean=family.mean, std=family.std)
    feature = network.feature(image)
    return {"feature": feature.numpy(), "logits": network.final_conv(feature).numpy()}


def test_demo_model(tmp_path: Path) -> None:
    weights = read_hr(demo_bundle())
    assert weights.classes == CAMVID_11
    frame = np.random.default_rng(0).integers(0, 256, (90, 136, 3)).astype(np.uint8)
    expected, found = of_graph(demo_bundle(), frame), of_weights(edge_family(CAMVID_11), weights, frame)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=2e-4 * np.abs(value).max())


@pytest.mark.parametrize("name", ["edge", pytest.param("camvid-bise18", marks=pytest.mark.long)])
def test_what_was_exported_comes_back(name: str, tmp_path: Path) -> None:
    classes = ClassSet(("a", "b", "c"), ((1, 2, 3), (4, 5, 6), (7, 8, 9)))
    family = edge_family(classes) if name == "edge" else find_family(name)
    network = random_weights(family)
    bundle = tmp_path / "model.arseg"
    export_bundle(family, hr=network.state_dict(), untrained=True, out=bundle)
    weights = read_hr(bundle)
    assert weights.classes == family.classes
    assert weights.tensors.keys() == network.state_dict().keys()
    frame = np.random.default_rng(0).integers(0, 256, (96, 128, 3)).astype(np.uint8)
    expected, found = of_graph(bundle, frame), of_weights(family, weights, frame)
    for stage, value in expected.items():
        np.testing.assert_allclose(found[stage], value, atol=2e-4 * np.abs(value).max())


def test_lr_of_the_demo_model() -> None:
    """The fusion's key is not used where a pixel attends to itself alone, and shares a name with the query."""
    weights = read_ar(demo_bundle())
    family = edge_family(CAMVID_11)
    rng = np.random.default_rng(0)
    frame = rng.integers(0, 256, (96, 128, 3)).astype(np.uint8)
    feature = rng.normal(0, 1, (1, 64, 12, 16)).astype(np.float32)
    motion = rng.normal(0, 2, (1, 96, 128, 2)).astype(np.float32)
    session = session_of("nonkeyframe.onnx", read_bundle(demo_bundle()).read("nonkeyframe.onnx"))
    size = np.array([96, 128], np.int64)
    given = {"frame": frame[None], "keyframe_feature": feature, "motion": motion}
    expected = run_graph(session, **given, frame_size=size, labels_size=size)["logits"]
    network = load_ar(family, weights)
    with torch.no_grad():
        image = normalize_image(torch.from_numpy(frame)[None], (48, 64), mean=family.mean, std=family.std)
        fused = network.fuse_attention(network.feature(image), *map(torch.from_numpy, (feature, motion))).fused
        found = network.final_conv(fused).numpy()
    np.testing.assert_allclose(found, expected, atol=3e-4 * np.abs(expected).max())
    with pytest.raises(BundleError, match=r"no LR branch for scale 0\.7"):
        read_ar(demo_bundle(), scale=0.7)


def test_bundle_of_a_bundle(tmp_path: Path) -> None:
    """The HR network of one bundle, exported again, has the same labels."""
    out = tmp_path / "again.arseg"
    export_bundle(None, hr=demo_bundle(), untrained=True, out=out)
    frame = np.random.default_rng(1).integers(0, 256, (64, 96, 3)).astype(np.uint8)
    expected, found = of_graph(demo_bundle(), frame), of_graph(out, frame)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=2e-4 * np.abs(value).max())


def changed(path: Path, change: Any) -> Path:
    """Write the demo bundle with another graph, or as of another family."""
    bundle = read_bundle(demo_bundle())
    members = {name: bundle.read(name) for name in bundle.manifest.members}
    manifest = change(bundle.manifest, members)
    write_bundle(path, manifest, members)
    return path


def test_weights_that_are_not_there_or_not_the_familys(tmp_path: Path) -> None:
    def without_a_weight(manifest: Any, members: dict[str, bytes]) -> Any:
        model = onnx.load_model_from_string(members[KEYFRAME])
        for constant in model.graph.initializer:
            if constant.name == "network.final_conv.weight":
                constant.name = "renamed"
        for node in model.graph.node:
            node.input[:] = ["renamed" if each == "network.final_conv.weight" else each for each in node.input]
        members[KEYFRAME] = model.SerializeToString()
        return manifest

    def other_arithmetic(manifest: Any, members: dict[str, bytes]) -> Any:
        model = onnx.load_model_from_string(members[KEYFRAME])
        for node in model.graph.node:
            if node.op_type == "Conv" and list(node.output) == ["logits"]:
                constant = next(each for each in model.graph.initializer if each.name == node.input[2])
                model.graph.initializer.append(numpy_helper.from_array(numpy_helper.to_array(constant), "own"))
                node.input[0] = "negative"
                model.graph.node.append(onnx.helper.make_node("Neg", ["feature"], ["negative"]))
        members[KEYFRAME] = _sorted(model).SerializeToString()
        return manifest

    def of_my_own(manifest: Any, members: dict[str, bytes]) -> Any:
        return replace(manifest, family="mine")

    for name, change, kind, complaint in (
        (
            "a",
            without_a_weight,
            CheckpointError,
            r"it lacks 1 of them, final_conv\.weight for one: give",
        ),
        (
            "b",
            other_arithmetic,
            CheckpointError,
            r"the weights in keyframe\.onnx are not those of edge: with t",
        ),
        ("c", of_my_own, UsageError, "its HR network is of the unknown model family 'mine': choose one of"),
    ):
        path = changed(tmp_path / f"{name}.arseg", change)
        with pytest.raises(kind, match=rf"{name}\.arseg: .*{complaint}"):
            read_hr(path)
    with pytest.raises(BundleError):
        read_hr(tmp_path / "nowhere.arseg")


@pytest.mark.parametrize("read", [read_hr, read_ar])
def test_bundle_of_another_family_than_the_named(read: Any) -> None:
    with pytest.raises(CheckpointError, match=r"demo\.arseg: the weights in .* are not those of camvid-bise18"):
        read(demo_bundle(), "camvid-bise18")


def test_hr_alone_will_do_for_hr(tmp_path: Path) -> None:
    alone = hr_alone(demo_bundle(), tmp_path / "hr.arseg").path
    expected, found = read_hr(demo_bundle()).tensors, read_hr(alone).tensors
    assert all(torch.equal(value, found[key]) for key, value in expected.items())
    with pytest.raises(BundleError, match=r"no LR"):
        read_ar(alone, scale=0.5)


def test_what_pytorch_has_no_network_for_says_what_to_give(tmp_path: Path) -> None:
    alone = hr_alone(demo_bundle(), tmp_path / "hr.arseg")
    taken = ConvertedInput(None, 32, "stretch", False, "rgb", 0, 1.0, (0.0,) * 3, (255.0,) * 3, "logits")
    members = {name: alone.read(name) for name in alone.manifest.members}
    converted = tmp_path / "converted.arseg"
    write_bundle(converted, replace(alone.manifest, normalisation=None, converted=taken), members)
    file = tmp_path / "model.onnx"
    file.write_bytes(alone.read(KEYFRAME))
    for path, what in (
        (converted, "it was converted from an ONNX file"),
        (file, "it is an ONNX file"),
    ):
        for read in (read_hr, read_ar):
            with pytest.raises(CheckpointError, match=rf"{path.name}: {what}: .*: give the PyTorch weights"):
                read(path)


def _sorted(model: onnx.ModelProto) -> onnx.ModelProto:
    """Put the node that was appended before the one that needs it."""
    *nodes, last = model.graph.node
    place = next(i for i, node in enumerate(nodes) if "negative" in node.input)
    nodes.insert(place, last)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model

"""The ``edge`` family: as small as it must be, of operators that quantise, and exported truly."""

from __future__ import annotations

from typing import cast

import onnx
import pytest
import torch
from torch import nn

from arseg_edge.bundle import KEYFRAME, Bundle
from arseg_edge.export.exporter import export_bundle
from arseg_edge.export.families import check_family, edge_family, find_family
from arseg_edge.export.macs import count_macs
from arseg_edge.palette import CAMVID_11, ClassSet, distinct_colours

# With a quantised form in ONNX Runtime's CPU provider.
QUANTISED = {"Conv", "Relu", "Add", "ReduceMean", "Resize"}
# On numbers that say sizes.
SIZES = {"Shape", "Concat", "Squeeze", "Reshape", "Cast", "Add", "Mul", "Div"}
OURS = {"NormalizeImage", "SegmentationLabels", "Creff"}
EDGE = find_family("edge")


def parameters(network: object) -> int:
    return sum(each.numel() for each in cast(nn.Module, network).parameters())


def test_it_is_small_enough_for_a_cpu() -> None:
    assert parameters(EDGE.build_hr()) <= 1_500_000
    assert parameters(EDGE.build_ar()) <= 1_500_000
    macs = count_macs(EDGE, (720, 960), [0.5])
    assert macs.hr <= 4_000_000_000
    assert macs.saving(0.5, 12) > 0.6


@pytest.mark.parametrize("count", [2, 11, 19, 255])
def test_it_takes_the_classes_of_the_data(count: int) -> None:
    classes = ClassSet(tuple(f"class {index}" for index in range(count)), distinct_colours(count))
    family = edge_family(classes)
    check_family(family)
    assert family.build_hr().final_conv.out_channels == count
    assert family.for_classes is not None
    assert family.for_classes(classes).classes == classes
    assert find_family("edge").classes == CAMVID_11


@pytest.mark.parametrize("size", [(64, 96), (360, 480), (135, 214), (33, 47)])
def test_its_feature_has_64_channels_at_an_eighth(size: tuple[int, int]) -> None:
    with torch.device("meta"), torch.no_grad():
        feature = EDGE.build_hr().feature(torch.zeros(1, 3, *size))
    assert feature.shape == (1, 64, -(-size[0] // 8), -(-size[1] // 8))


@pytest.mark.parametrize("size", [(64, 96), (360, 480), (136, 214)])
def test_lr_feature_has_the_size_of_the_keyframes(size: tuple[int, int]) -> None:
    with torch.device("meta"), torch.no_grad():
        feature = EDGE.build_hr().feature(torch.zeros(1, 3, *size))
        lr_feature = EDGE.build_ar().feature(torch.zeros(1, 3, size[0] // 2, size[1] // 2))
    assert lr_feature.shape == feature.shape


def test_lr_costs_three_tenths_more_than_hr_at_its_size() -> None:
    macs = count_macs(EDGE, (720, 960), [0.5])
    assert macs.lr["0.5"] < 1.3 * macs.hr / 4


def test_new_families_sample_and_chain_consistently() -> None:
    assert (EDGE.sampling, EDGE.chaining) == ("consistent", "subpixel")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Of random weights whose batch norms have seen something, for any size."""
    torch.manual_seed(0)
    networks = [cast(nn.Module, EDGE.build_hr()), cast(nn.Module, EDGE.build_ar())]
    for module in (each for network in networks for each in network.modules()):
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    hr, lr = (network.state_dict() for network in networks)
    out = tmp_path_factory.mktemp("edge") / "edge.arseg"
    return export_bundle(None, hr=hr, lr=lr, out=out)


def test_exported_it_gives_what_pytorch_gives(bundle: Bundle) -> None:
    assert bundle.manifest.family == "edge"
    assert {figure.size for figure in bundle.manifest.parity} == {(96, 128), (135, 214)}
    floats = [figure.error for figure in bundle.parity if figure.stage != "labels"]
    labels = [figure.error for figure in bundle.parity if figure.stage == "labels"]
    assert max(floats) < 1e-4
    assert max(labels) < 1e-3


@pytest.mark.parametrize("member", [KEYFRAME, "nonkeyframe.onnx"])
def test_all_its_operators_quantise(bundle: Bundle, member: str) -> None:
    graph = onnx.load_from_string(bundle.read(member)).graph
    convolutions = {node.output[0] for node in graph.node if node.op_type == "Conv"}
    for node in graph.node:
        if node.op_type == "BatchNormalization":  # which folds into what it follows
            assert node.input[0] in convolutions
        else:
            assert node.op_type in QUANTISED | SIZES | OURS
    # Dense convolutions alone: depthwise ones run far from a CPU's peak.
    groups = [a.i for node in graph.node if node.op_type == "Conv" for a in node.attribute if a.name == "group"]
    assert set(groups) <= {1}
    if member == KEYFRAME:
        modules = list(cast(nn.Module, EDGE.build_hr()).modules())
        assert len(convolutions) == sum(isinstance(each, nn.Conv2d) for each in modules)
    else:
        # The last layer, and the three depthwise ones of the fusion, are inside CReFF.
        modules = list(cast(nn.Module, EDGE.build_ar()).modules())
        assert len(convolutions) == sum(isinstance(each, nn.Conv2d) for each in modules) - 4

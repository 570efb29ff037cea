"""The networks against the published code's numbers, and at sizes that these do not cover."""

from __future__ import annotations

import sys

import golden
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from arseg_edge.errors import UsageError
from arseg_edge.export.checkpoint import load_ar, load_hr, read_checkpoint
from arseg_edge.export.families import Family, check_family, families, find_family, register_family
from arseg_edge.export.graph_ends import lr_size_nodes
from arseg_edge.export.models.pooling import adaptive_average_pool
from arseg_edge.export.models.resizing import resize
from arseg_edge.export.operators.segmentation_labels import resize_logits
from arseg_edge.lr_size import lr_size
from arseg_edge.palette import ClassSet, colour_table, distinct_colours

ERROR = 1e-4
LABELS = 0.999

Stages = dict[str, np.ndarray]


def normalised(family: Family, image: np.ndarray) -> Tensor:
    x = torch.from_numpy(image).permute(2, 0, 1)[None] / 255
    return (x - torch.tensor(family.mean).view(3, 1, 1)) / torch.tensor(family.std).view(3, 1, 1)


@torch.no_grad()
def run_stages(family: Family, inputs: Stages) -> Stages:
    """Run a keyframe and a following frame as the published code does, from its weights."""
    hr = load_hr(family, read_checkpoint(golden.published(family.name, "hr")))
    ar = load_ar(family, read_checkpoint(golden.published(family.name, "ar")))
    height, width = inputs["image"].shape[:2]
    log_softmax = family.name == "camvid-psp18"

    hr_feature = hr.feature(normalised(family, inputs["key_image"]))
    hr_logits = resize_logits(hr.final_conv(hr_feature), (height, width), upscale=family.upscale)
    if log_softmax:
        hr_logits = hr_logits.log_softmax(1)

    low = resize(normalised(family, inputs["image"]), lr_size(height, width, float(inputs["scale"])))
    lr_feature = ar.feature(low)
    fusion = ar.fuse_attention(lr_feature, hr_feature, torch.from_numpy(inputs["motion"])[None])
    scores = ar.final_conv(fusion.fused)
    if log_softmax:
        scores = scores.log_softmax(1)
    logits = resize_logits(scores, (height, width), upscale=family.upscale)
    stages = {
        "hr_feature": hr_feature,
        "hr_logits": hr_logits,
        "warped_feature": fusion.warped,
        "lr_feature": lr_feature,
        "fused_feature": fusion.fused,
        "logits": logits,
    }
    return {name: value.numpy() for name, value in stages.items()}


@pytest.mark.parametrize("size", golden.SIZES)
@pytest.mark.parametrize("name", golden.FAMILIES)
def test_every_stage_matches_the_published_code(name: str, size: str) -> None:
    expected = golden.outputs(name, size)
    found = run_stages(find_family(name), expected)
    errors = {stage: golden.relative_error(value, expected[stage]) for stage, value in found.items()}
    assert max(errors.values()) <= ERROR, errors
    for labels, logits in (("hr_labels", "hr_logits"), ("labels", "logits")):
        assert (found[logits][0].argmax(0) == expected[labels]).mean() >= LABELS


@pytest.mark.parametrize("name", golden.FAMILIES)
def test_names_shapes_and_normalisation_are_as_published(name: str) -> None:
    family, published = find_family(name), golden.keys(name)
    for role, network in (("hr", family.build_hr()), ("ar", family.build_ar())):
        assert isinstance(network, nn.Module)
        found = {key: list(value.shape) for key, value in network.state_dict().items()}
        expected = {key.removeprefix("module."): shape for key, shape in published[role]}
        if role == "hr":  # one family's has fusion weights, which keyframes have no use for
            expected = {key: shape for key, shape in expected.items() if "fuse_attention" not in key}
        assert found == expected
    assert family.mean == tuple(published["mean"])
    assert family.std == tuple(published["std"])
    assert (family.sampling, family.chaining, family.kernel_size) == ("published", "published", 7)


@pytest.mark.parametrize("name", golden.FAMILIES)
def test_family_declares_its_network_truly(name: str) -> None:
    family = find_family(name)
    check_family(family)
    assert family in families()
    assert len(family.classes.names) == len(family.classes.colours) == family.build_hr().final_conv.out_channels


@pytest.mark.parametrize("bins", [1, 2, 3, 6])
def test_adaptive_pooling_averages_pytorchs_bins(bins: int) -> None:
    lengths = [1, 2, 3, 4, 5, 6, 7, 8, 11, 12, 13, 17, 31, 45, 90, 120, 127]
    for height, width in zip(lengths, reversed(lengths), strict=True):
        x = torch.rand(2, 3, height, width, dtype=torch.float64)
        torch.testing.assert_close(adaptive_average_pool(x, bins), F.adaptive_avg_pool2d(x, bins))


class Pooled(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return adaptive_average_pool(x, 6)


SIZES = [(1, 7), (5, 6), (8, 13), (60, 90), (45, 128), *((n, 4097 - n) for n in range(30, 4000, 40))]


def test_pooling_in_an_exported_graph_is_pytorchs() -> None:
    program = torch.onnx.export(
        Pooled().eval(),
        (torch.rand(1, 1, 9, 11),),
        input_names=["x"],
        dynamo=True,
        opset_version=18,
        dynamic_shapes=({2: torch.export.Dim("h", min=1), 3: torch.export.Dim("w", min=1)},),
        verbose=False,
    )
    assert program is not None
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString(), providers=["CPUExecutionProvider"])
    for height, width in SIZES:
        x = torch.rand(1, 1, min(height, 64), min(width, 64))
        (pooled,) = session.run(None, {"x": x.numpy()})
        np.testing.assert_allclose(pooled, F.adaptive_avg_pool2d(x, 6), rtol=1e-5)


def test_the_lr_size_in_a_graph_is_pythons() -> None:
    scale = 0.7  # of which 91 sizes up to 4096 are a whole number on paper and one less in Python
    graph = onnx.GraphProto(name="lr_size")
    graph.node.extend(lr_size_nodes(graph, scale))
    for field, name in ((graph.input, "frame_size"), (graph.output, "lr_size")):
        field.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.INT64, [2]))
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    for height, width in SIZES:
        (found,) = session.run(None, {"frame_size": np.array([height, width])})
        assert tuple(found) == lr_size(height, width, scale) == (int(height * scale), int(width * scale))


def test_lr_size_is_what_the_published_models_were_trained_with() -> None:
    for percent in range(30, 91):
        scale = percent / 100
        for length in range(1, 4097):
            assert lr_size(length, length, scale) == (int(length * scale),) * 2
    assert lr_size(720, 960, 0.7) == (503, 672)


class Small(nn.Module):
    """A network of one's own, as small as the protocol allows."""

    def __init__(self, classes: int = 5) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(8, 16, 3, stride=2, padding=1)
        )
        self.final_conv = nn.Conv2d(16, classes, 1)

    def feature(self, image: Tensor) -> Tensor:
        return self.body(image)


SMALL = Family("small", ClassSet(tuple("abcde"), distinct_colours(5)), channels=16, stride=4, network=Small, upscale=4)


def test_network_of_ones_own_serves_both_branches() -> None:
    torch.manual_seed(3)
    assert find_family(SMALL) is SMALL
    hr, ar = SMALL.build_hr(), SMALL.build_ar()
    assert isinstance(hr, nn.Module)
    assert isinstance(ar, nn.Module)
    assert {key.split(".")[0] for key in ar.state_dict()} == {"body", "final_conv", "fuse_attention"}
    assert not ar.training
    with torch.no_grad():
        keyframe = hr.feature(torch.rand(1, 3, 32, 48))
        own = ar.feature(torch.rand(1, 3, 16, 24))
        warped, fused = ar.fuse_attention(own, keyframe, torch.zeros(1, 32, 48, 2))
    # Nothing moved, and new families sample consistently: the warp is the identity.
    torch.testing.assert_close(warped, keyframe)
    assert fused.shape == keyframe.shape == (1, 16, 8, 12)
    assert not torch.equal(fused, resize(own, (8, 12)))


def test_registered_family_is_found_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[Family.__module__], "_FAMILIES", {})
    register_family(SMALL)
    assert find_family("small") is SMALL
    assert families() == (SMALL,)
    with pytest.raises(UsageError, match="'small' is registered already"):
        register_family(SMALL)


class Headless(nn.Module):
    def feature(self, image: Tensor) -> Tensor:
        return image


class Wide(Small):
    def __init__(self) -> None:
        super().__init__()
        self.final_conv = nn.Conv2d(16, 5, 3)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"network": Headless}, "Headless has no final_conv"),
        ({"network": dict}, "dict is no network"),
        ({"network": Wide}, "make it a 1×1"),
        ({"channels": 8}, "takes 16 channels to 5 classes, not 8 to 5"),
        ({"classes": ClassSet(("a", "b"), distinct_colours(2))}, "to 5 classes, not 16 to 2"),
        ({"classes": ClassSet(("a",) * 300, ((0, 0, 0),) * 300)}, "300 classes"),
        ({"stride": 8}, r"is \[16, 16, 24\], not \[16, 8, 12\]"),
        ({"upscale": 1}, r"upscale=1 with stride=4 leaves open .*: set align_corners=False .*, or upscale=4"),
        ({"upscale": 2}, r"upscale=2 with stride=4 leaves open"),
        ({"upscale": 65}, r"upscale=65: choose 1 to 64"),
        ({"stride": 2}, r"is \[16, 16, 24\], not \[16, 32, 48\]"),
    ],
)
def test_family_that_breaks_the_protocol_is_refused(changes: dict[str, object], complaint: str) -> None:
    family = Family(**{**vars(SMALL), **changes})  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=complaint) as error:
        find_family(family)
    assert "\n" not in str(error.value)


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match="unknown model family 'pspnet': choose one of camvid-psp18, "):
        find_family("pspnet")


@pytest.mark.parametrize("name", ["camvid-bise18", "camvid-psp18", "cityscapes-psp18"])
def test_training_outputs_hold_the_feature_and_scores_for_every_head(name: str) -> None:
    family = find_family(name)
    network = family.build_hr()
    image = torch.rand(1, 3, 64, 96)
    classes = len(family.classes.names)
    expected = {
        "camvid-psp18": [(1, classes)],
        "cityscapes-psp18": [(1, classes, 8, 12)],
        "camvid-bise18": [(1, classes, 64, 96)] * 2,
    }
    with torch.no_grad():
        outputs = network.training_outputs(image)  # type: ignore[attr-defined]
        torch.testing.assert_close(outputs.feature, network.feature(image))
    assert [tuple(scores.shape) for scores in outputs.auxiliary] == expected[name]


class Feature(nn.Module):
    """A network up to its feature."""

    def __init__(self, family: Family) -> None:
        super().__init__()
        self.network = family.build_hr()

    def forward(self, image: Tensor) -> Tensor:
        return self.network.feature(image)


@pytest.mark.parametrize("name", golden.FAMILIES)
def test_feature_is_traced_once_for_every_size(name: str) -> None:
    torch.manual_seed(0)
    network = Feature(find_family(name)).eval()
    height, width = (torch.export.Dim(name, min=33, max=8192) for name in ("height", "width"))
    shapes = ({2: height, 3: width},)
    with torch.no_grad():
        traced = torch.export.export(network, (torch.rand(1, 3, 64, 96),), dynamic_shapes=shapes).module()
        for size in ((64, 96), (60, 92), (33, 47)):
            image = torch.rand(1, 3, *size)
            assert golden.relative_error(traced(image).numpy(), network(image).numpy()) <= 1e-5


def test_distinct_colours_are_those_of_the_voc_devkit() -> None:
    colours = distinct_colours(256)
    assert len(set(colours)) == 256
    # From the devkit's table: person, potted plant, tv monitor, void.
    assert [colours[index] for index in (15, 16, 20, 255)] == [
        (192, 128, 128),
        (0, 64, 0),
        (0, 64, 128),
        (224, 224, 192),
    ]
    table = colour_table(colours[:3])
    assert table.shape == (256, 3)
    assert table[2].tolist() == [0, 128, 0]
    assert not table[3:].any()


def test_class_sets_need_a_colour_for_every_name() -> None:
    with pytest.raises(ValueError, match="2 class names but 1 colours"):
        ClassSet(("a", "b"), ((0, 0, 0),))

"""PyTorch networks as they are: where they are split, what is read off their graphs, and what does not split."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import arseg_edge
from arseg_edge.errors import UsageError
from arseg_edge.export import Family, export_bundle, family_from_module
from arseg_edge.export.families import find_family
from arseg_edge.export.models import CReFF
from arseg_edge.export.own_forward import check_forward
from arseg_edge.export.split_network import Sizes, SplitNetwork
from arseg_edge.golden import FORWARD
from arseg_edge.palette import CAMVID_11, ClassSet
from arseg_edge.runtime.reports.verify import verify
from arseg_edge.training.lr import make_student

NAMES = ("sky", "road", "car")
SIZES = ((64, 96), (75, 110))


def body(*strides: int, channels: int = 8) -> nn.Sequential:
    layers: list[nn.Module] = []
    for index, stride in enumerate(strides):
        layers += [nn.Conv2d(channels if index else 3, channels, 3, stride, 1), nn.BatchNorm2d(channels), nn.ReLU()]
    return nn.Sequential(*layers)


class Head(nn.Sequential):
    """As torchvision's: dropout in front of the last layer."""

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.Dropout(0.5), nn.Conv2d(8, 3, 1))


class Fcn(nn.Module):
    """A dict with an auxiliary head, and scores resized to the image inside, as torchvision has it."""

    def __init__(self, align_corners: bool = False) -> None:
        super().__init__()
        self.backbone, self.classifier = body(2, 2, 2), Head()
        self.aux_classifier = Head()
        self.align_corners = align_corners

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        deep = self.backbone(image)
        size = image.shape[2:]
        heads = {"aux": self.aux_classifier, "out": self.classifier}
        return {
            key: F.interpolate(head(deep), size, mode="bilinear", align_corners=self.align_corners)
            for key, head in heads.items()
        }


class Lraspp(nn.Module):
    """The sum of two layers' scores, whose inputs lie on one grid."""

    def __init__(self) -> None:
        super().__init__()
        self.low, self.high = body(2, 2), body(2, 2, 2, channels=12)
        self.low_classifier, self.high_classifier = nn.Conv2d(8, 3, 1), nn.Conv2d(12, 3, 1, bias=False)

    def forward(self, image: Tensor) -> Tensor:
        low = self.low(image)
        high = F.interpolate(self.high(image), low.shape[2:], mode="bilinear")
        return F.interpolate(self.high_classifier(high) + self.low_classifier(low), image.shape[2:], mode="bilinear")


class Unet(nn.Module):
    """A 3×3 last layer at full resolution, for sizes that are multiples of 8 and no others."""

    def __init__(self, classes: int = 3, activation: nn.Module | None = None) -> None:
        super().__init__()
        self.fine, self.deep = body(1), body(2, 2, 2)
        self.segmentation_head = nn.Sequential(nn.Conv2d(16, classes, 3, padding=1), nn.Identity())
        self.activation = activation or nn.Identity()

    def forward(self, image: Tensor) -> Tensor:
        height, width = image.shape[2:]
        if height % 8 != 0 or width % 8 != 0:
            raise RuntimeError(f"{height}x{width} is no multiple of 8")
        deep = F.interpolate(self.deep(image), scale_factor=8, mode="nearest")
        scores: Tensor = self.activation(self.segmentation_head(torch.cat([self.fine(image), deep], 1)))
        return scores


class Fpn(nn.Module):
    """Scores enlarged by a factor, corners aligned, dropout of whole channels in place."""

    def __init__(self) -> None:
        super().__init__()
        self.model = body(2, 2)  # an attribute that checkpoints' wrappers are called after, too
        self.dropout = nn.Dropout2d(0.2, inplace=True)
        self.final = nn.Conv2d(8, 3, 1)
        self.up = nn.UpsamplingBilinear2d(scale_factor=4)

    def forward(self, image: Tensor) -> Tensor:
        scores: Tensor = self.up(self.final(self.dropout(self.model(image) * 1)))
        return scores


class Output(dict[str, Tensor]):
    """As transformers' outputs: a dict with attributes."""


class Segformer(nn.Module):
    """Coarse scores under ``logits``, a config with the classes' names; takes nothing below 32 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = body(2, 2)
        self.reduced = nn.Conv2d(8, 8, 8, 8)
        self.classifier = nn.Conv2d(8, 3, 1)
        self.config = type("Config", (), {"id2label": {0: "wall", 1: "floor", 2: "tree"}})()

    def forward(self, pixel_values: Tensor, labels: Tensor | None = None) -> Output:
        seen = self.encoder(pixel_values)
        n, c, h, w = seen.shape
        keys = self.reduced(seen).flatten(2)
        attention = torch.softmax(seen.flatten(2).transpose(1, 2) @ keys, dim=-1) @ keys.transpose(1, 2)
        return Output(logits=self.classifier(attention.transpose(1, 2).reshape(n, c, h, w) + seen), states=seen)


class Twice(nn.Module):
    """Enlarged by a factor first, then to the image."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.last = body(2, 2, 2), nn.Conv2d(8, 3, 1)

    def forward(self, image: Tensor) -> tuple[Tensor, str]:
        scores = F.interpolate(self.last(self.body(image)), scale_factor=2, mode="bilinear")
        return F.interpolate(scores, image.shape[2:], mode="bilinear", align_corners=True), "beside it"


def made(make: Callable[[], nn.Module]) -> nn.Module:
    """Return a network with random weights, its scores so spread that each class is somewhere the highest."""
    torch.manual_seed(3)
    module = make().eval()

    @torch.no_grad()
    def spread(layer: Any, inputs: tuple[Tensor, ...], scores: Tensor) -> Tensor:
        seen, mean, std = inputs[0].mean((0, 2, 3)), scores.mean((0, 2, 3)), scores.std((0, 2, 3))
        if layer.bias is None:
            layer.weight -= (mean[:, None] * seen / seen.square().sum())[:, :, None, None]
        else:
            layer.bias.sub_(mean).div_(std)
        layer.weight /= std[:, None, None, None]
        result: Tensor = layer._conv_forward(inputs[0], layer.weight, layer.bias)
        return result

    last = [each for each in module.modules() if isinstance(each, nn.Conv2d) and each.out_channels in (1, 3)]
    hooks = [each.register_forward_hook(spread) for each in last]
    with torch.no_grad():
        module(torch.randn(2, 3, 64, 96))
    for hook in hooks:
        hook.remove()
    return module


CASES: list[Any] = [
    pytest.param(Fcn, (8, 8, 1, False, Sizes()), {}, id="dict-aux-dropout"),
    pytest.param(lambda: Fcn(True), (8, 8, 1, True, Sizes()), {}, id="corners-aligned"),
    pytest.param(Lraspp, (20, 4, 1, False, Sizes()), {}, id="sum"),
    pytest.param(Unet, (16, 1, 1, False, Sizes(8, 8)), {}, id="3x3-multiples"),
    pytest.param(lambda: Unet(1, nn.Sigmoid()), (16, 1, 1, False, Sizes(8, 8)), {}, id="binary-sigmoid"),
    pytest.param(lambda: Unet(3, nn.Softmax(1)), (16, 1, 1, False, Sizes(8, 8)), {}, id="softmax"),
    pytest.param(Fpn, (8, 4, 1, True, Sizes(4, 4)), {}, id="factor-aligned"),
    pytest.param(Segformer, (8, 4, 1, False, Sizes(1, 32)), {"align_corners": False}, id="coarse-logits"),
    pytest.param(Twice, (8, 8, 2, True, Sizes()), {}, id="two-steps"),
]


QUICK = ("sum", "binary-sigmoid")
"""Of several layers, and of a 3×3 layer behind an image that was enlarged; an export takes a while."""


def found(family: Family) -> tuple[int, int, int, bool | None, Sizes]:
    network = family.network()
    assert isinstance(network, SplitNetwork)
    return family.channels, family.stride, family.upscale, family.align_corners, network.sizes


def scores_of(module: nn.Module, image: Tensor) -> Tensor:
    result = module(image)
    if isinstance(result, dict):
        result = result.get("out", result.get("logits"))
    scores: Tensor = result[0] if isinstance(result, tuple) else result
    return torch.cat([torch.full_like(scores, 0.5), scores], 1) if scores.shape[1] == 1 else scores


@pytest.mark.parametrize(("make", "expected", "options"), CASES)
def test_what_a_graph_says(make: Callable[[], nn.Module], expected: tuple[Any, ...], options: dict[str, Any]) -> None:
    module = made(make)
    before = {key: value.clone() for key, value in module.state_dict().items()}
    family = family_from_module(module, name="own", **options)
    assert found(family) == expected
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())
    # Where the network takes an image as it is, the labels are those of its own scores.
    network, image = family.build_hr(), torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        own = F.interpolate(scores_of(module, image), (64, 96), mode="bilinear")
        assert isinstance(network, SplitNetwork)
        assert torch.equal(network(image).argmax(1), own.argmax(1))
        assert len(own.argmax(1).unique()) > 1
        check_forward(family, network, [(torch.rand(64, 96, 3) * 255).byte().numpy()], 0.0)


@pytest.mark.parametrize(
    ("make", "expected", "options"),
    [each if each.id in QUICK else pytest.param(*each.values, id=each.id, marks=pytest.mark.long) for each in CASES],
)
def test_a_split_network_becomes_a_bundle(
    make: Callable[[], nn.Module], expected: tuple[Any, ...], options: dict[str, Any], tmp_path: Path
) -> None:
    module = made(make)
    family = family_from_module(module, name="own", **options)
    bundle = export_bundle(family, hr=module.state_dict(), untrained=True, out=tmp_path / "own.arseg")
    assert max(figure.error for figure in bundle.parity) <= 1e-4
    forward = {figure.size for figure in bundle.parity if figure.stage == FORWARD}
    fits = expected[-1].multiple == 1
    assert forward == ({(96, 128), (135, 214)} if fits else {(96, 128)})
    assert verify(bundle).passed
    with arseg_edge.load(bundle.path) as segmenter:
        frames = torch.randint(0, 256, (3, *SIZES[1], 3), dtype=torch.uint8).numpy()
        for index, frame in enumerate(frames):
            result = segmenter.step(frame, keyframe=True) if index == 0 else segmenter.step(frame, motion=None)
            assert result.labels.shape == SIZES[1]


def test_the_feature_is_whole_while_it_is_trained() -> None:
    for make in (Fcn, Fpn):
        network = family_from_module(made(make)).network()
        assert isinstance(network, nn.Module)
        network.train()
        for each in network.modules():  # of the rest, batches decide
            if isinstance(each, nn.BatchNorm2d):
                each.eval()
        image = torch.randn(2, 3, 64, 64)
        assert torch.equal(network.feature(image), network.feature(image))
        assert network.feature(image).requires_grad


@pytest.mark.parametrize("make", [Fcn, Lraspp, lambda: Unet(1)])
def test_training_reaches_every_weight_that_counts(make: Callable[[], nn.Module]) -> None:
    family = family_from_module(made(make))
    network = family.build_hr()
    assert isinstance(network, SplitNetwork)
    network.final_conv(network.feature(torch.randn(1, 3, 64, 64))).square().sum().backward()
    untouched = {name for name, each in network.named_parameters() if each.grad is None}
    assert {name.split(".")[1] for name in untouched} <= {"aux_classifier"}
    student = make_student(family, network)
    assert isinstance(student.fuse_attention, CReFF)
    assert not any(each.requires_grad for each in student.final_conv.parameters())


def test_checkpoints_keep_their_names() -> None:
    module = made(Fcn)
    family = family_from_module(module)
    assert set(family.build_hr().state_dict()) == {f"model.{key}" for key in module.state_dict()}  # type: ignore[attr-defined]


def test_names_of_classes() -> None:
    assert family_from_module(made(Segformer), align_corners=False).classes.names == ("wall", "floor", "tree")
    assert family_from_module(made(lambda: Unet(1))).classes.names == ("background", "foreground")
    numbered = family_from_module(made(Fcn))
    assert (numbered.name, numbered.classes.names) == ("Fcn", ("class 0", "class 1", "class 2"))
    named = family_from_module(made(Fcn), classes=NAMES, mean=(0, 0, 0), std=(1, 1, 1))
    assert (named.classes.names, named.mean, named.for_classes) == (NAMES, (0, 0, 0), None)
    classes = ClassSet(NAMES, ((0, 0, 0), (1, 1, 1), (2, 2, 2)))
    assert numbered.for_classes is not None
    assert numbered.for_classes(classes).classes == classes
    with pytest.raises(UsageError, match=r"Fcn has 3 outputs, and the data 11 classes \(sky, "):
        numbered.for_classes(CAMVID_11)
    for make, given, complaint in (
        (Fcn, ["sky", "road"], r"Fcn has 3 outputs, but 2 classes are named \(sky, road\)"),
        (lambda: Unet(1), ["road"], "Unet has one output, which is two classes"),
        (Fcn, "road", "classes='road': give a list"),
    ):
        with pytest.raises(UsageError, match=complaint):
            family_from_module(made(make), classes=given)


class Ending(nn.Module):
    """A network that ends as it is told."""

    def __init__(self, end: Callable[[nn.Module, Tensor, Tensor], Any], *layers: nn.Module) -> None:
        super().__init__()
        self.body, self.layers = body(2, 2), nn.ModuleList(layers)
        self.end = end

    def forward(self, image: Tensor) -> Any:
        return self.end(self, self.body(image), image)


def conv(outputs: int = 3, side: int = 1, **options: Any) -> nn.Conv2d:
    return nn.Conv2d(8, outputs, side, **options)


def last(network: Any, x: Tensor, image: Tensor) -> Tensor:
    scores: Tensor = network.layers[0](x)
    return scores


def resized(mode: str, **options: Any) -> Callable[[Any, Tensor, Tensor], Tensor]:
    return lambda network, x, image: F.interpolate(last(network, x, image), image.shape[2:], mode=mode, **options)


REFUSED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "batch norm": (
        lambda: Ending(lambda m, x, i: m.layers[1](last(m, x, i)), conv(), nn.BatchNorm2d(3)),
        r"its scores come out of batch_norm \(layers.1\), no convolution",
    ),
    "transposed": (
        lambda: Ending(last, nn.ConvTranspose2d(8, 3, 4, 4)),
        r"its scores come out of conv_transpose2d \(layers.0\)",
    ),
    "linear": (
        lambda: Ending(lambda m, x, i: m.layers[0](x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), nn.Linear(8, 3)),
        r"its scores come out of permute \(forward\)",
    ),
    "groups": (lambda: Ending(last, conv(8, groups=8)), "must be an nn.Conv2d that keeps the size, of one group"),
    "no padding": (lambda: Ending(last, conv(3, 3)), r"for an image of \d+x\d+: let it take images of any size"),
    "reflects": (lambda: Ending(last, conv(3, 3, padding=1, padding_mode="reflect")), "layers.0, pads with reflect"),
    "called twice": (
        lambda: Ending(lambda m, x, i: (last(m, x, i), last(m, -x, i)), conv()),
        "calls its last layer, layers.0, 2 times",
    ),
    "computed weight": (
        lambda: Ending(lambda m, x, i: F.conv2d(x, m.layers[0].weight * 2), conv()),
        r"the weight of its last layer \(forward\) is computed",
    ),
    "nearest": (lambda: Ending(resized("nearest"), conv()), r"ways? that bundles do not have \(nearest from"),
    "bicubic": (
        lambda: Ending(resized("bicubic", align_corners=True), conv()),
        r"\(bicubic from .*, align_corners=True\)",
    ),
    "softmax first": (
        lambda: Ending(lambda m, x, i: F.interpolate(last(m, x, i).softmax(1), i.shape[2:], mode="bilinear"), conv()),
        r"go through softmax \(forward\) and are resized after that",
    ),
    "sum of sizes": (
        lambda: Ending(
            lambda m, x, i: F.interpolate(m.layers[0](x[..., ::2, ::2]), x.shape[2:], mode="bilinear") + m.layers[1](x),
            conv(), conv(),
        ),
        "a sum of scores that are resized before they are added",
    ),
    "sum of 3x3": (
        lambda: Ending(lambda m, x, i: m.layers[0](x) + m.layers[1](x), conv(), conv(3, 3, padding=1)),
        "the sum of layers.0, layers.1, which are not 1×1",
    ),
    "labels": (lambda: Ending(lambda m, x, i: last(m, x, i).argmax(1, keepdim=True), conv()), "forward returns labels"),
    "classifier": (
        lambda: Ending(lambda m, x, i: last(m, x, i).mean((2, 3)), conv()),
        r"forward returns a tensor \[1, 3\] of float32, not scores",
    ),
    "dict": (
        lambda: Ending(lambda m, x, i: {"fine": last(m, x, i), "coarse": last(m, x, i)}, conv()),
        "forward returns a dict of fine, coarse: say which are the scores by output=",
    ),
    "coarse": (
        lambda: Ending(last, conv()),
        "its scores are 1/4 of the image's size, .*: give align_corners=False",
    ),
    "looks at values": (
        lambda: Ending(lambda m, x, i: last(m, x if x.sum() > 0 else -x, i), conv()),
        "without looking at their values|cannot be traced",
    ),
    "no forward": (nn.Module, "Module has no forward to trace"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_does_not_split_says_what_was_found(what: str) -> None:
    make, complaint = REFUSED[what]
    with pytest.raises(UsageError, match=complaint) as raised:
        family_from_module(make())
    message = str(raised.value)
    assert "\n" not in message
    assert ": " in message
    assert re.match("Ending|Module", message)


def test_options_that_do_not_fit() -> None:
    with pytest.raises(UsageError, match="align_corners=True, but it resizes its scores itself"):
        family_from_module(made(Fcn), align_corners=True)
    with pytest.raises(UsageError, match="forward has no output 'best', it returns a dict of aux, out"):
        family_from_module(made(Fcn), output="best")
    with pytest.raises(UsageError, match="is no network: give an"):
        family_from_module("fcn")  # type: ignore[arg-type]
    assert found(family_from_module(made(Fcn), output="aux"))[0] == 8


def test_networks_on_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_modules.py").write_text(
        "from test_own_module import Fcn\n"
        "from arseg_edge.export import family_from_module\n"
        "NETWORK = Fcn()\nclass Kept:\n    network = NETWORK\n    Fcn = Fcn\n"
        "def make():\n    return Fcn(True)\n"
        "def family():\n    return family_from_module(make(), name='mine', classes=['a', 'b', 'c'])\n"
        "def nothing():\n    return None\n"
        "def asking(classes):\n    return None\n"
        "def failing():\n    raise RuntimeError('no weights\\nhere')\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [str(Path(__file__).parent), *__import__("sys").path])
    for attribute, name, aligned in (
        ("NETWORK", "NETWORK", False),
        ("Kept.network", "network", False),
        ("Kept.Fcn", "Fcn", False),
        ("make", "make", True),
        ("family", "mine", True),
    ):
        family = find_family(f"own_modules:{attribute}")
        assert (family.name, family.align_corners, family.channels) == (name, aligned, 8)
    for attribute, complaint in (
        ("nothing", "nothing in own_modules is no Family, no network, and makes none; it has NETWORK: name one"),
        ("asking", r"asking\(\) fails \(.*missing 1 required positional argument.*\): name something that makes"),
        ("failing", r"failing\(\) fails \(no weights.*\): name something"),
    ):
        with pytest.raises(UsageError, match=complaint) as raised:
            find_family(f"own_modules:{attribute}")
        assert "\n" not in str(raised.value)

"""Model families: a network together with all that belongs to it, from its classes to its normalisation."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypedDict, cast

import torch
from torch import nn

from arseg_edge.errors import UsageError, reason_of
from arseg_edge.export.models import CReFF, FusionNetwork, Head, SegmentationNetwork
from arseg_edge.export.models.bise18 import Bise18
from arseg_edge.export.models.camvid_psp18 import CamvidPsp18
from arseg_edge.export.models.cityscapes_psp18 import CityscapesPsp18
from arseg_edge.export.models.edge import CHANNELS as EDGE_CHANNELS
from arseg_edge.export.models.edge import STRIDE as EDGE_STRIDE
from arseg_edge.export.models.edge import Edge, EdgeLr
from arseg_edge.export.models.protocol import feature_of
from arseg_edge.operators import Chaining, Sampling
from arseg_edge.palette import CAMVID, CAMVID_11, CITYSCAPES, ClassSet

LARGEST_UPSCALE = 64
"""Of ``SegmentationLabels``."""
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class LabelRule(TypedDict):
    """The attributes of ``SegmentationLabels``; see ``export/operators/segmentation_labels.py``."""

    upscale: int
    align_corners: bool


@dataclass(frozen=True)
class Family:
    """A kind of model that can be exported; a new one needs the first five fields."""

    name: str
    """What it is called on the command line and in the manifest."""
    classes: ClassSet
    """One name and one colour for each of the network's outputs."""
    channels: int
    """C of the feature."""
    stride: int
    """Pixels of the image for one of the feature."""
    network: Callable[[], SegmentationNetwork]
    """Makes the network, an ``nn.Module`` with weights of any values."""
    lr_network: Callable[[], SegmentationNetwork] | None = None
    """Makes the network for LR frames, where it is another; its feature has C channels, at any size."""
    upscale: int = 1
    """By what the logits are enlarged (bilinear, corners not aligned) before the resize to the image."""
    align_corners: bool | None = None
    """How the logits are resized to the image after that: bilinear, as PyTorch's ``interpolate`` does with this
    argument. None is for networks that ``upscale`` brings to the image's size or a little beyond; then, True."""
    mean: tuple[float, float, float] = IMAGENET_MEAN
    """Subtracted from the image (RGB, 0 to 1)."""
    std: tuple[float, float, float] = IMAGENET_STD
    """What the difference is divided by."""
    sampling: Sampling = "consistent"
    """How the keyframe's feature is warped; see ``export/operators/motion_warp.py``."""
    chaining: Chaining = "subpixel"
    """What the motion that goes in should be."""
    kernel_size: int = 7
    """The side of the neighbourhood that a pixel attends to."""
    same_weights: tuple[tuple[str, str], ...] = ()
    """Pairs of prefixes in the state dict that name one layer twice: either may stand for both."""
    unused_in_hr: tuple[str, ...] = ()
    """Prefixes that a keyframe checkpoint may or may not have, and that keyframes have no use for."""
    for_classes: Callable[[ClassSet], Family] | None = None
    """Makes the same family for other classes, where it takes those of the data that it is trained on."""

    @property
    def label_rule(self) -> LabelRule:
        """The attributes of ``SegmentationLabels``, by which labels are made of logits."""
        return {"upscale": self.upscale, "align_corners": self.align_corners is not False}

    @property
    def enlargement(self) -> int:
        """The factor by which half-pixel steps enlarge the logits; the stride of the loss must divide it."""
        return self.stride if self.upscale == 1 and self.align_corners is False else self.upscale

    def build_hr(self) -> SegmentationNetwork:
        """Return the network for keyframes, in evaluation mode, with fresh weights."""
        return cast(SegmentationNetwork, cast(nn.Module, self.network()).eval())

    def build_ar(self) -> FusionNetwork:
        """Return the network for LR frames with its ``fuse_attention``, in evaluation mode, with fresh weights."""
        network = cast(nn.Module, (self.lr_network or self.network)())
        fusion = CReFF(self.channels, kernel_size=self.kernel_size, sampling=self.sampling)
        network.add_module("fuse_attention", fusion)
        return cast(FusionNetwork, network.eval())


_BISENET_NAMES = (("conv_out.conv_out.", "final_conv."), ("conv_out.conv.", "feat_conv_out."))
_CAMVID_MEAN = (0.39068785, 0.40521392, 0.41434407)
_CAMVID_STD = (0.29652068, 0.30514979, 0.30080369)


def edge_family(classes: ClassSet) -> Family:
    """Return the family ``edge`` for classes of one's own: a network for CPUs (``export/models/edge.py``).

    Its attention is to one pixel, which did best on the clips made of held-out stills that choose the weights. On the
    real clip of ``benchmarks/ablation.py`` 7×7 is the better one far from the keyframe.
    """
    return Family(
        "edge",
        classes,
        channels=EDGE_CHANNELS,
        stride=EDGE_STRIDE,
        network=partial(Edge, len(classes.names)),
        lr_network=partial(EdgeLr, len(classes.names)),
        upscale=EDGE_STRIDE,
        kernel_size=1,
        for_classes=edge_family,
    )


_FAMILIES = {
    family.name: family
    for family in (
        Family(
            "camvid-psp18",
            CAMVID,
            channels=64,
            stride=1,
            network=partial(CamvidPsp18, 12),
            mean=_CAMVID_MEAN,
            std=_CAMVID_STD,
            sampling="published",
            chaining="published",
        ),
        Family(
            "camvid-bise18",
            CAMVID,
            channels=256,
            stride=8,
            network=partial(Bise18, 12),
            upscale=8,
            mean=_CAMVID_MEAN,
            std=_CAMVID_STD,
            sampling="published",
            chaining="published",
            same_weights=_BISENET_NAMES,
        ),
        Family(
            "cityscapes-psp18",
            CITYSCAPES,
            channels=512,
            stride=8,
            network=partial(CityscapesPsp18, 19),
            align_corners=True,
            sampling="published",
            chaining="published",
            same_weights=(("cls.4.", "final_conv."),),
            unused_in_hr=("fuse_attention.",),
        ),
        Family(
            "cityscapes-bise18",
            CITYSCAPES,
            channels=256,
            stride=8,
            network=partial(Bise18, 19),
            upscale=8,
            mean=(0.3257, 0.369, 0.3223),
            std=(0.2112, 0.2148, 0.2115),
            sampling="published",
            chaining="published",
            same_weights=_BISENET_NAMES,
        ),
        edge_family(CAMVID_11),
    )
}


def families() -> tuple[Family, ...]:
    """Return every family that is known by name."""
    return tuple(_FAMILIES.values())


def find_family(family: str | Family) -> Family:
    """Return the family of that name; one that is handed in is checked and returned.

    ``package.module:attribute`` is imported from the working directory or from what is installed. The attribute is a
    family, or a network (``own_module.py``), or a class or function that makes one of these without arguments.

    Raises ``UsageError`` for a name that is not registered or cannot be imported, and for a family that breaks the
    protocol.
    """
    if isinstance(family, str) and ":" in family:
        family = _imported(family)
    if isinstance(family, Family):
        check_family(family)
        return family
    if family not in _FAMILIES:
        raise UsageError(
            f"unknown model family {family!r}: choose one of {', '.join(_FAMILIES)}, or name one of your own as "
            "package.module:attribute"
        )
    return _FAMILIES[family]


def _imported(name: str) -> Family:
    module_name, _, attribute = name.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:  # as "python -m" has it; the networks may import what lies beside them later
        sys.path.insert(0, here)
    try:
        found: Any = importlib.import_module(module_name)
    except Exception as error:  # whatever a module of somebody's own raises
        raise UsageError(
            f"family {name!r}: {module_name} cannot be imported ({reason_of(error)}): name it as "
            "package.module:attribute, from the folder that the package is in"
        ) from error
    for part in attribute.split("."):
        found = getattr(found, part, None)
    # It reads networks, and makes families of them.
    from arseg_edge.export.own_module import family_from_module

    label = f"family {name!r}"
    if isinstance(found, type) or (callable(found) and not isinstance(found, nn.Module | Family)):
        try:
            found = found()
        except Exception as error:  # whatever a network of somebody's own raises
            raise UsageError(
                f"{label}: {attribute}() fails ({reason_of(error)}): name something that makes the network without "
                "arguments"
            ) from error
    if isinstance(found, nn.Module):
        return family_from_module(found, name=attribute.rpartition(".")[2])
    if not isinstance(found, Family):
        kinds = (Family, nn.Module)
        others = ", ".join(key for key, value in vars(sys.modules[module_name]).items() if isinstance(value, kinds))
        has = f"it has {others}" if others else "it has none"
        raise UsageError(
            f"{label}: {attribute or 'nothing'} in {module_name} is no Family, no network, and makes none; {has}: "
            "name one"
        )
    return found


def register_family(family: Family) -> None:
    """Make a family of one's own known by name; raises ``UsageError`` if the name is taken or it is unfit."""
    if family.name in _FAMILIES:
        raise UsageError(f"model family {family.name!r} is registered already: choose another name")
    check_family(family)
    _FAMILIES[family.name] = family


def check_family(family: Family) -> None:
    """Run the family's network on an image without data, to see that it does what the family says.

    Raises ``UsageError`` with what is wrong: not a module, a part missing, or a shape that differs; ``OperatorError``
    where the network does not run.
    """
    size = (64, 96)
    with torch.device("meta"), torch.no_grad():
        network = family.network()
        if not isinstance(network, nn.Module):
            raise UsageError(f"{family.name}: {type(network).__name__} is no network: make it an nn.Module")
        missing = [name for name in ("final_conv", "feature") if not hasattr(network, name)]
        if missing:
            raise UsageError(
                f"{family.name}: {type(network).__name__} has no {' and no '.join(missing)}: "
                "offer what arseg_edge.export.models.SegmentationNetwork asks for"
            )
        _check_head(family, network.final_conv)
        feature = feature_of(cast(SegmentationNetwork, network.eval()), torch.zeros(1, 3, *size))
    # Networks round the size of the image up, each to its own multiple.
    smallest = [-(-length // family.stride) for length in size]
    fits = all(least <= length < 2 * least for length, least in zip(feature.shape[2:], smallest, strict=True))
    if feature.shape[1] != family.channels or not fits:
        raise UsageError(
            f"{family.name}: the feature of a {size[0]}×{size[1]} image is {list(feature.shape[1:])}, not "
            f"{[family.channels, *smallest]}: correct channels={family.channels} or stride={family.stride}"
        )
    _check_label_rule(family)


def _check_label_rule(family: Family) -> None:
    if not 1 <= family.upscale <= LARGEST_UPSCALE:
        raise UsageError(f"{family.name}: upscale={family.upscale}: choose 1 to {LARGEST_UPSCALE}")
    if family.align_corners is None and family.upscale < family.stride:
        raise UsageError(
            f"{family.name}: upscale={family.upscale} with stride={family.stride} leaves open how logits are resized "
            f"to the image: set align_corners=False (as torchvision's networks do, and F.interpolate where nothing is "
            f"said), align_corners=True, or upscale={family.stride}"
        )


def _check_head(family: Family, head: object) -> None:
    classes = len(family.classes.names)
    if not 2 <= classes <= 256:
        raise UsageError(f"{family.name}: {classes} classes: labels are bytes, so give 2 to 256")
    if not isinstance(head, Head) or head.stride != (1, 1) or head.groups != 1 or not _keeps_size(head):
        raise UsageError(
            f"{family.name}: final_conv is {head}: make it a 1×1 nn.Conv2d, or a larger one that keeps the size"
        )
    if (head.in_channels, head.out_channels) != (family.channels, classes):
        raise UsageError(
            f"{family.name}: final_conv takes {head.in_channels} channels to {head.out_channels} classes, "
            f"not {family.channels} to {classes}: correct the family's channels or classes"
        )


def _keeps_size(head: Head) -> bool:
    if isinstance(head.padding, str):
        return head.padding == "same"
    sides = zip(head.kernel_size, head.padding, head.dilation, strict=True)
    return all(2 * padding == dilation * (side - 1) for side, padding, dilation in sides)

"""A family of models from a PyTorch network as it is: split at its last layer, which is found by tracing."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from arseg_edge.errors import UsageError, reason_of
from arseg_edge.export.families import IMAGENET_MEAN, IMAGENET_STD, LARGEST_UPSCALE, Family, check_family
from arseg_edge.export.last_layer import REMEDY, LastLayer, Resizing, ScoresOf, find_last_layer, stride_of
from arseg_edge.export.models import SegmentationNetwork
from arseg_edge.export.split_network import Sizes, SplitNetwork
from arseg_edge.palette import ClassSet, distinct_colours

_MULTIPLES = (1, 2, 4, 8, 16, 32, 64, 128)
_SMALLEST = (8, 16, 32, 64)
"""The least is what LR sees of the smallest frame at the smallest scale."""
_TRIED_SIDES = (256, 320)
"""Sizes that a network is tried with are odd multiples just above these."""


def family_from_module(
    module: nn.Module,
    *,
    classes: ClassSet | Sequence[str] | None = None,
    name: str | None = None,
    mean: tuple[float, float, float] = IMAGENET_MEAN,
    std: tuple[float, float, float] = IMAGENET_STD,
    align_corners: bool | None = None,
    output: str | int | None = None,
) -> Family:
    """Return the family of a network whose ``forward`` takes an image [N, 3, H, W] and gives scores [N, n, h, w].

    The network is traced by ``torch.export`` and split in front of its last layer: a convolution (1×1 or larger) or a
    sum of 1×1 convolutions. How scores are enlarged to the image is read off the graph, and so is the stride. Which
    sizes the network takes is tried out; others are enlarged to the next that it takes. The module is copied, not
    changed, and checkpoints keep its names of weights.

    Args:
        module: the network, with weights of any values. Of a dict of results ``out`` or ``logits`` are the scores, of
            several results the first; auxiliary heads are left out. One channel of scores becomes two classes.
        classes: what the outputs mean: names, or names with colours. By default the ``id2label`` of the network's
            ``config`` if it has one, as those of transformers do; else numbers, and training takes the data's names.
        name: what the family is called; by default as the module's class.
        mean: subtracted from the image (RGB, 0 to 1); by default that of ImageNet, (0.485, 0.456, 0.406).
        std: what the difference is divided by; by default that of ImageNet, (0.229, 0.224, 0.225).
        align_corners: how scores are enlarged to the image, as in ``torch.nn.functional.interpolate``; to be given
            where the network leaves that to others, and only there.
        output: the key or the index of the scores among what ``forward`` returns, where that is in doubt.

    Raises:
        UsageError: the network does not split, with what was found and what to write; classes that are not as many as
            its outputs; or an argument that is missing or contradicts the network.
        OperatorError: the network does not run.

    Example::

        module = torchvision.models.segmentation.lraspp_mobilenet_v3_large(weights="DEFAULT")
        family = family_from_module(module, name="lraspp")
        export_bundle(family, hr=module.state_dict(), untrained=True, out="lraspp.arseg")
    """
    if not isinstance(module, nn.Module):
        raise UsageError(f"{module!r} is no network: give an nn.Module")
    kind = type(module).__name__
    if type(module).forward is nn.Module.forward:
        raise UsageError(f"{kind} has no forward to trace: give it one that returns the scores")
    model = copy.deepcopy(module).cpu().float().eval()
    with torch.device("meta"):
        shapes = copy.deepcopy(model).to("meta")
    multiple = _multiple(shapes, output)
    tried = torch.zeros(1, 3, *_sides(multiple), device="meta")
    last = find_last_layer(shapes, output, tried)
    sizes = replace(Sizes(multiple), smallest=_smallest(shapes, output, multiple))
    upscale, aligned = _enlarging(kind, last, (tried.shape[2], tried.shape[3]), align_corners)
    channels = sum(cast(nn.Conv2d, model.get_submodule(path)).in_channels for path in last.convolutions)
    named = _classes(kind, module, last.outputs, classes)
    split = partial(
        SplitNetwork,
        last=last.convolutions,
        dropouts=last.dropouts,
        outputs=last.outputs,
        sigmoid=last.sigmoid,
        output=output,
        sizes=sizes,
        align_corners=aligned,
    )
    family = Family(
        name or kind,
        named,
        channels=channels,
        stride=last.stride,
        network=partial(_copied, model, split),
        upscale=upscale,
        align_corners=aligned,
        mean=mean,
        std=std,
    )
    check_family(family)
    _check_split(kind, split(model), sizes)
    return replace(family, for_classes=partial(_renamed, family)) if classes is None else family


def _copied(model: nn.Module, split: Callable[[nn.Module], SplitNetwork]) -> SegmentationNetwork:
    copied = copy.deepcopy(model)
    # Under ``torch.device("meta")`` a layer that is made has no data, and neither has one that is copied.
    return cast(SegmentationNetwork, split(copied.to(torch.get_default_device())))


def _renamed(family: Family, classes: ClassSet) -> Family:
    """Return the family with the names and colours of the data that it is trained on."""
    if len(classes.names) != len(family.classes.names):
        raise UsageError(
            f"{family.name} has {len(family.classes.names)} outputs, and the data {len(classes.names)} classes "
            f"({', '.join(classes.names[:8])}): give the network as many outputs, or name its own classes"
        )
    return replace(family, classes=classes)


def _sides(multiple: int) -> tuple[int, int]:
    height, width = ((side // multiple | 1) * multiple for side in _TRIED_SIDES)
    return height, width


@torch.no_grad()
def _scores_size(model: nn.Module, output: str | int | None, size: tuple[int, int]) -> tuple[int, int]:
    scores = ScoresOf(model, output)(torch.zeros(1, 3, *size, device="meta"))
    return scores.shape[2], scores.shape[3]


def _multiple(model: nn.Module, output: str | int | None) -> int:
    """Return of what the sides of an image must be multiples.

    Scores are the image's size then, or smaller by a whole number, rounded up.
    """
    failure = ""
    for multiple in _MULTIPLES:
        size = _sides(multiple)
        try:
            found = _scores_size(model, output, size)
        except UsageError:
            raise
        except Exception as error:  # whatever a network of somebody's own raises
            failure = f"fails on an image of {size[0]}x{size[1]} ({reason_of(error)})"
            continue
        if stride_of(size, found) is not None:
            return multiple
        failure = f"gives scores of {found[0]}x{found[1]} for an image of {size[0]}x{size[1]}"
    raise UsageError(
        f"{type(model).__name__}: forward {failure}: let it take images of any size, or of multiples of up to "
        f"{_MULTIPLES[-1]}, without looking at their values"
    )


def _smallest(model: nn.Module, output: str | int | None, multiple: int) -> int:
    """Return the smallest side that the network takes."""
    failure = ""
    for smallest in [each for each in (multiple, *_SMALLEST) if each >= multiple]:
        try:
            for size in ((smallest, smallest), (smallest, _sides(multiple)[1])):
                _scores_size(model, output, size)
        except Exception as error:  # whatever a network of somebody's own raises
            failure = reason_of(error)
            continue
        return smallest
    raise UsageError(
        f"{type(model).__name__}: forward fails on images of {_SMALLEST[-1]}x{_SMALLEST[-1]} ({failure}): "
        "let it take them, since LR sees small ones"
    )


def _enlarging(name: str, last: LastLayer, image: tuple[int, int], align_corners: bool | None) -> tuple[int, bool]:
    """Return ``upscale`` and ``align_corners`` of the family, as the network's own resizing has it."""
    steps = [each for each in last.resizings if each.before != each.after]
    said = ", then ".join(f"{_described(each)}" for each in steps) or "none"
    factor, rest = 1, steps
    if len(steps) > 1 or (steps and steps[0].after != image):
        factor = steps[0].after[0] // steps[0].before[0]
        whole = steps[0].after == (factor * steps[0].before[0], factor * steps[0].before[1])
        if not whole or steps[0].align_corners or factor > LARGEST_UPSCALE:
            factor = 0
        rest = steps[1:]
    if len(rest) > 1 or factor == 0 or any(each.mode != "bilinear" for each in steps):
        raise UsageError(
            f"{name}: its scores are resized in a way that bundles do not have ({said}): resize them once, bilinear, "
            "to the image's size, or leave it out and give align_corners"
        )
    before = last.resizings[-1].after if last.resizings else None
    if rest or before == image:
        own = rest[0].align_corners if rest else False
        if rest and align_corners is not None and align_corners != own:
            raise UsageError(
                f"{name}: align_corners={align_corners}, but it resizes its scores itself ({said}): leave it out"
            )
        return factor, own
    if align_corners is None and last.stride > 1:
        raise UsageError(
            f"{name}: its scores are 1/{max(1, last.stride // factor)} of the image's size, and nothing in it says how "
            "they are enlarged: give align_corners=False (as transformers do, and F.interpolate by default), or True"
        )
    return factor, bool(align_corners)


def _described(step: Resizing) -> str:
    corners = f", align_corners={step.align_corners}" if step.mode in ("bilinear", "bicubic") else ""
    return f"{step.mode} from {step.before[0]}x{step.before[1]} to {step.after[0]}x{step.after[1]}{corners}"


def _classes(name: str, module: nn.Module, outputs: int, classes: ClassSet | Sequence[str] | None) -> ClassSet:
    binary = outputs == 1
    outputs = 2 if binary else outputs
    if isinstance(classes, ClassSet):
        found = classes
    else:
        if isinstance(classes, str):
            raise UsageError(f"classes={classes!r}: give a list of names")
        names = tuple(_default_names(module, outputs, binary) if classes is None else map(str, classes))
        found = ClassSet(names, distinct_colours(len(names)))
    if len(found.names) != outputs:
        said = "one output, which is two classes, the first where it is negative" if binary else f"{outputs} outputs"
        raise UsageError(
            f"{name} has {said}, but {len(found.names)} classes are named ({', '.join(found.names[:8])}): "
            "name one for each"
        )
    return found


def _default_names(module: nn.Module, outputs: int, binary: bool) -> Iterator[str]:
    labels: Any = getattr(getattr(module, "config", None), "id2label", None)
    if isinstance(labels, Mapping) and len(labels) == outputs:
        yield from (str(labels.get(index, labels.get(str(index), f"class {index}"))) for index in range(outputs))
    elif binary:
        yield from ("background", "foreground")
    else:
        yield from (f"class {index}" for index in range(outputs))


@torch.no_grad()
def _check_split(name: str, network: SplitNetwork, sizes: Sizes) -> None:
    """Compare the last layer's scores of the feature with what ``forward`` computed in it, on an image of noise."""
    side = sizes.fitting(64)
    image = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    if any(each.is_meta for each in network.parameters()):
        return
    found: list[Tensor] = []
    layers = [network.model.get_submodule(path) for path in network.last]
    hooks = [layer.register_forward_hook(lambda _, __, scores: found.append(scores)) for layer in layers]
    network.model(image)
    for hook in hooks:
        hook.remove()
    expected = torch.stack(found).sum(dim=0)
    if network.final_conv.out_channels != expected.shape[1]:
        expected = torch.cat([torch.zeros_like(expected), expected], dim=1)
    scores = network.final_conv(network.feature(image))
    if scores.shape != expected.shape or not torch.allclose(scores, expected, rtol=1e-4, atol=1e-4):
        raise UsageError(f"{name}: its last layer gives other scores when it is called by itself: {REMEDY}")

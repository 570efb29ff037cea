"""A network's own ``forward`` against what the family says of its logits.

The exported graphs enlarge the last layer's logits as the family says. Where a network brings a ``forward`` that ends
in logits at the image's size, that is the truth: labels are compared with its labels before anything is exported, and
those of the exported graph afterwards (``parity.py``).
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from arseg_edge.errors import ParityError, UsageError, reason_of
from arseg_edge.export.families import Family
from arseg_edge.export.models import SegmentationNetwork
from arseg_edge.export.models.protocol import feature_of
from arseg_edge.export.operators.segmentation_labels import resize_logits


def normalised(family: Family, frame: NDArray[np.uint8]) -> Tensor:
    """Return the image [1, 3, H, W] that a network of the family sees of a frame uint8 [H, W, 3]."""
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in (family.mean, family.std))
    return ((torch.from_numpy(frame).permute(2, 0, 1) / 255.0 - mean) / std)[None]


@torch.no_grad()
def forward_labels(family: Family, network: SegmentationNetwork, image: Tensor) -> Tensor | None:
    """Return the labels uint8 [1, H, W] of the network's own ``forward(image)``.

    None where it has no ``forward``, or one that wants more than an image or gives no logits [1, n, H, W]. Of several
    results the first counts, of a dict ``out``, as torchvision has it.

    Raises:
        UsageError: ``forward`` fails.
    """
    module = cast(nn.Module, network)
    if type(module).forward is nn.Module.forward:
        return None
    try:
        inspect.signature(module.forward).bind(image)
    except TypeError:
        return None
    try:
        result: Any = module(image)
    except Exception as error:  # whatever a network of somebody's own raises
        raise UsageError(
            f"{family.name}: {type(module).__name__}.forward fails on an image of {image.shape[2]}x{image.shape[3]} "
            f"({reason_of(error)}): repair it, since its labels are compared with the bundle's, or remove it"
        ) from error
    if isinstance(result, Mapping):
        result = result.get("out", next(iter(result.values()), None))
    elif isinstance(result, list | tuple) and result:
        result = result[0]
    expected = (1, len(family.classes.names), *image.shape[2:])
    if not isinstance(result, Tensor) or tuple(result.shape) != expected:
        return None
    return result.argmax(dim=1).to(torch.uint8)


@torch.no_grad()
def check_forward(
    family: Family, network: SegmentationNetwork, frames: Iterable[NDArray[np.uint8]], tolerance: float
) -> None:
    """Compare the family's labels with the network's own ``forward`` on frames uint8 [H, W, 3].

    Raises:
        ParityError: more than ``tolerance`` of the labels differ, with what to set.
        UsageError: ``forward`` fails.
    """
    images = [normalised(family, frame) for frame in frames]
    own = [forward_labels(family, network, image) for image in images]
    if any(labels is None for labels in own):
        return
    logits = [network.final_conv(feature_of(network, image)) for image in images]

    def differing(rule: Family) -> float:
        pairs = zip(logits, own, strict=True)
        return max(_share(rule, each, cast(Tensor, labels)) for each, labels in pairs)

    found = differing(family)
    if found <= tolerance:
        return
    name = f"{type(network).__name__}.forward"
    said = f"upscale={family.upscale}, align_corners={family.label_rule['align_corners']}"
    rules = {
        "align_corners=False": replace(family, upscale=1, align_corners=False),
        "align_corners=True": replace(family, upscale=1, align_corners=True),
        f"upscale={family.stride}": replace(family, upscale=family.stride, align_corners=None),
    }
    shares = {setting: differing(rule) for setting, rule in rules.items()}
    best = min(shares, key=lambda setting: shares[setting])
    if shares[best] <= tolerance:
        unset = "" if best.startswith("upscale") or family.upscale == 1 else " and upscale=1"
        remedy = f"set {best}{unset} in the Family, with which {100 * shares[best]:.2g} % differ"
    else:
        remedy = (
            f"no resizing of final_conv(feature(image)) makes them alike (the nearest, {best}, differs on "
            f"{100 * shares[best]:.2g} %): let feature and final_conv be what forward computes"
        )
    raise ParityError(
        f"{family.name}: {100 * found:.1f} % of the labels differ from those of {name} with {said}: {remedy}"
    )


def _share(rule: Family, logits: Tensor, labels: Tensor) -> float:
    size = labels.shape[1], labels.shape[2]
    found = resize_logits(logits, size, **rule.label_rule).argmax(dim=1)
    return float((found != labels).float().mean())

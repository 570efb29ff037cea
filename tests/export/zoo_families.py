"""Networks of libraries, with random weights, as bundles: for an environment of their own (``test_zoo_families.py``).

``python zoo_families.py FOLDER [NAME…]`` prints a line of JSON for each.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from arseg_edge.export import export_bundle, family_from_module
from arseg_edge.runtime.reports.verify import verify

# Where torchvision was built for CUDA and PyTorch for CPUs, its own operators are missing, and it cannot be imported.
_LIBRARY = torch.library.Library("torchvision", "DEF")
for _operator in ("nms", "qnms"):
    _LIBRARY.define(f"{_operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


def torchvision(name: str) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        from torchvision.models import segmentation

        options: dict[str, Any] = {"weights": None, "weights_backbone": None}
        if not name.startswith("lraspp"):
            options["aux_loss"] = True
        network: nn.Module = getattr(segmentation, name)(**options)
        return network

    return make


def smp(name: str, classes: int = 21, **options: Any) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        import segmentation_models_pytorch

        network: nn.Module = getattr(segmentation_models_pytorch, name)(
            "resnet18", encoder_weights=None, classes=classes, **options
        )
        return network

    return make


def segformer() -> nn.Module:
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    network: nn.Module = SegformerForSemanticSegmentation(SegformerConfig(num_labels=150))
    return network


NETWORKS: dict[str, tuple[Callable[[], nn.Module], dict[str, Any]]] = {
    "lraspp_mobilenet_v3_large": (torchvision("lraspp_mobilenet_v3_large"), {}),
    "deeplabv3_mobilenet_v3_large": (torchvision("deeplabv3_mobilenet_v3_large"), {}),
    "fcn_resnet50": (torchvision("fcn_resnet50"), {}),
    "Unet": (smp("Unet"), {}),
    "Unet-binary": (smp("Unet", 1, activation="sigmoid"), {}),
    "FPN": (smp("FPN"), {}),
    "DeepLabV3Plus": (smp("DeepLabV3Plus"), {}),
    "Segformer": (segformer, {"align_corners": False}),
}


def report(name: str, folder: Path) -> dict[str, Any]:
    """Return the bundle's figures; it is for any size, and compared with PyTorch at two."""
    make, options = NETWORKS[name]
    torch.manual_seed(0)
    network = make().eval()
    family = family_from_module(network, name=name, **options)
    bundle = export_bundle(family, hr=network.state_dict(), untrained=True, out=folder / f"{name}.arseg")
    return {
        "name": name,
        "channels": family.channels,
        "stride": family.stride,
        "align_corners": family.align_corners,
        "classes": len(family.classes.names),
        "sizes": sorted({figure.size for figure in bundle.parity}),
        "error": max(figure.error for figure in bundle.parity),
        "forward": [figure.error for figure in bundle.parity if figure.stage == "forward"],
        "verified": verify(bundle).passed,
    }


if __name__ == "__main__":
    for each in sys.argv[2:] or NETWORKS:
        print(json.dumps(report(each, Path(sys.argv[1]))), flush=True)

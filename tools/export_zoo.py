#!/usr/bin/env python3
"""Export segmentation networks of other projects to ONNX, with random weights, as their users do it.

    python -m venv zoo && zoo/bin/pip install -r tools/export_zoo.txt
    zoo/bin/python tools/export_zoo.py FOLDER [NAME ...]

Writes ``FOLDER/NAME/model.onnx``, where a project has such files also ``preprocessor_config.json`` and
``config.json``, and ``convert.json``: the flags that ``arseg-edge convert`` needs for it. Nothing is downloaded:
weights are drawn from a fixed seed. Runs in an environment of its own, of which the package knows nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

SEED = 20
_IMAGENET = ["--mean", "0.485,0.456,0.406", "--std", "0.229,0.224,0.225", "--rgb"]


def varied(model: Any) -> Any:
    """Return a network in evaluation, whose batch norms have seen something, so that labels vary over a picture."""
    import torch

    torch.manual_seed(SEED)
    model.train()
    with torch.no_grad():
        for _ in range(4):
            noise = torch.nn.functional.interpolate(torch.randn(2, 3, 24, 32), (192, 256), mode="bicubic")
            model(noise + 0.2 * torch.randn(2, 3, 192, 256))
    return model.eval()


def export(model: Any, path: Path, *, dynamic: bool, dynamo: bool, opset: int, size: tuple[int, int]) -> None:
    """Write a network that returns one tensor."""
    import torch

    image = torch.zeros(1, 3, *size)
    names: dict[str, Any] = {"input_names": ["input"], "output_names": ["output"]}
    if dynamo:
        axes = {2: torch.export.Dim("height", min=64, max=4096), 3: torch.export.Dim("width", min=64, max=4096)}
        shapes = {"dynamic_shapes": (axes,)} if dynamic else {}
        torch.onnx.export(model, (image,), str(path), dynamo=True, opset_version=opset, **names, **shapes)
        return
    axes_by_name = {"dynamic_axes": {"input": {2: "height", 3: "width"}}} if dynamic else {}
    torch.onnx.export(model, (image,), str(path), dynamo=False, opset_version=opset, **names, **axes_by_name)


def entry_of(model: Any, key: str) -> Any:
    """Return a network that gives one entry of what another gives."""
    import torch

    class Entry(torch.nn.Module):  # type: ignore[misc]
        """Its forward alone is looked at."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, image: Any) -> Any:
            """Return the entry."""
            found = self.model(image)
            return found[key] if isinstance(found, dict) else getattr(found, key)

    return Entry().eval()


def torchvision_model(name: str, classes: int, **how: Any) -> Callable[[Path], list[str]]:
    """Return what exports one of torchvision's."""

    def make(folder: Path) -> list[str]:
        import torch
        from torchvision.models import segmentation

        torch.manual_seed(SEED)
        model = getattr(segmentation, name)(weights=None, weights_backbone=None, num_classes=classes)
        export(entry_of(varied(model), "out"), folder / "model.onnx", **how)
        return _IMAGENET

    return make


def smp_model(name: str, classes: int, *, activation: str | None = None, **how: Any) -> Callable[[Path], list[str]]:
    """Return what exports one of segmentation-models-pytorch's."""

    def make(folder: Path) -> list[str]:
        import segmentation_models_pytorch as smp
        import torch

        torch.manual_seed(SEED)
        model = getattr(smp, name)("resnet18", encoder_weights=None, classes=classes, activation=activation)
        export(varied(model), folder / "model.onnx", **how)
        threshold = ["--threshold", "0"] if classes == 1 and activation is None else []
        return [*_IMAGENET, *threshold, *([] if how["dynamic"] else ["--resize", "letterbox"])]

    return make


def segformer(classes: int, **how: Any) -> Callable[[Path], list[str]]:
    """Return what exports SegFormer-B0 of transformers, with its processor's and its own configuration beside it."""

    def make(folder: Path) -> list[str]:
        import torch
        from transformers import SegformerConfig, SegformerForSemanticSegmentation

        torch.manual_seed(SEED)
        names = {index: f"thing {index}" for index in range(classes)}
        config = SegformerConfig(id2label=names, label2id={name: index for index, name in names.items()})
        model = SegformerForSemanticSegmentation(config)
        # Small, as it is drawn, the head's output would hardly vary.
        torch.nn.init.normal_(model.decode_head.classifier.weight, std=0.5)
        export(entry_of(model.eval(), "logits"), folder / "model.onnx", **how)
        config.save_pretrained(folder)
        rules = {
            "do_resize": True, "size": {"height": 512, "width": 512}, "resample": 2, "do_rescale": True,
            "rescale_factor": 1 / 255, "do_normalize": True, "image_mean": [0.485, 0.456, 0.406],
            "image_std": [0.229, 0.224, 0.225], "image_processor_type": "SegformerImageProcessor",
        }  # fmt: skip
        (folder / "preprocessor_config.json").write_text(json.dumps(rules))
        return []

    return make


def yolo(name: str, **how: Any) -> Callable[[Path], list[str]]:
    """Return what exports one of Ultralytics' by its own exporter, from its YAML."""

    def make(folder: Path) -> list[str]:
        import torch
        from ultralytics import YOLO

        torch.manual_seed(SEED)
        model = YOLO(f"{name}.yaml")
        written = Path(model.export(format="onnx", device="cpu", simplify=False, **how))
        written.rename(folder / "model.onnx")
        return ["--rgb", "--scale", "1/255", "--resize", "letterbox"]

    return make


_DYNAMIC = {"dynamic": True, "dynamo": True, "opset": 18, "size": (256, 320)}
_OLD = {"dynamic": True, "dynamo": False, "size": (256, 320)}
ZOO: dict[str, Callable[[Path], list[str]]] = {
    "torchvision-lraspp": torchvision_model("lraspp_mobilenet_v3_large", 21, **_DYNAMIC),
    "torchvision-deeplabv3": torchvision_model("deeplabv3_mobilenet_v3_large", 21, **_DYNAMIC),
    "torchvision-fcn": torchvision_model("fcn_resnet50", 21, **_DYNAMIC),
    "torchvision-lraspp-opset11": torchvision_model("lraspp_mobilenet_v3_large", 21, **_OLD, opset=11),
    "smp-unet": smp_model("Unet", 19, **_DYNAMIC),
    "smp-unet-binary": smp_model("Unet", 1, **_OLD, opset=13),
    "smp-fpn-sigmoid": smp_model("FPN", 1, activation="sigmoid", **_OLD, opset=17),
    "smp-fpn": smp_model("FPN", 150, **_DYNAMIC),
    "smp-deeplabv3plus": smp_model(
        "DeepLabV3Plus", 21, dynamic=False, dynamo=True, opset=20, size=(384, 512)
    ),
    "segformer-150": segformer(150, **_DYNAMIC),
    "segformer-fixed": segformer(19, dynamic=False, dynamo=False, opset=14, size=(512, 512)),
    "yolo26n-sem": yolo("yolo26n-sem", imgsz=640),
}  # fmt: skip


def define_nms() -> None:
    """Let torchvision be imported beside a PyTorch of another build: its own library is then not loaded, nor needed."""
    import torch

    takes = "(Tensor boxes, Tensor scores, float iou_threshold) -> Tensor"
    for name in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, name):
            torch.library.define(f"torchvision::{name}", takes)


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", choices=[[], *ZOO])
    arguments = parser.parse_args()
    if len(arguments.names) == 1:
        (name,) = arguments.names
        folder = arguments.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        define_nms()
        flags = ZOO[name](folder.resolve())
        (folder / "convert.json").write_text(json.dumps(flags))
        return 0
    failed = []
    for name in arguments.names or ZOO:
        # Each in a process of its own, whose memory goes with it.
        environment = {**os.environ, "YOLO_OFFLINE": "true", "HF_HUB_OFFLINE": "1"}
        command = [sys.executable, __file__, str(arguments.folder), name]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        print(f"{name}: {'exported' if done.returncode == 0 else 'FAILED'}", flush=True)
        if done.returncode != 0:
            failed.append(name)
            print(done.stderr[-600:], file=sys.stderr, flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

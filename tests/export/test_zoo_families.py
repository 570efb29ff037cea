"""Networks of torchvision, segmentation-models-pytorch and transformers, exported in an environment of their own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from environments import build_wheel, make_environment, run_in

pytestmark = pytest.mark.long
# Without what they need for training and downloads; torchvision's release is the one of this PyTorch.
BESIDE = ["torchvision==0.28.0", "timm", "segmentation-models-pytorch"]
WITH = ["torch==2.13.0", "onnx", "onnxscript", "safetensors", "onnxruntime", "pillow", "transformers"]
EXPECTED = {
    # channels, stride, align_corners, classes
    "lraspp_mobilenet_v3_large": [168, 8, False, 21],
    "deeplabv3_mobilenet_v3_large": [256, 16, False, 21],
    "fcn_resnet50": [512, 8, False, 21],
    "Unet": [16, 1, False, 21],
    "Unet-binary": [16, 1, False, 2],
    "FPN": [128, 4, True, 21],
    "DeepLabV3Plus": [256, 4, True, 21],
    "Segformer": [256, 4, False, 150],
}


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("zoo")
    made = make_environment(folder / "environment", [build_wheel(folder), *WITH])
    run_in(folder, [made, "-m", "pip", "install", "-q", "--no-deps", *BESIDE])
    return made


@pytest.mark.parametrize("name", EXPECTED)
def test_a_librarys_network_becomes_a_bundle(python: Path, name: str, tmp_path: Path) -> None:
    script = Path(__file__).with_name("zoo_families.py")
    found = json.loads(run_in(tmp_path, [python, script, tmp_path, name]))
    assert [found[each] for each in ("channels", "stride", "align_corners", "classes")] == EXPECTED[name]
    assert found["sizes"] == [[96, 128], [135, 214]]
    assert found["error"] <= 1e-3
    assert found["forward"]
    assert max(found["forward"]) <= 1e-3
    assert found["verified"]

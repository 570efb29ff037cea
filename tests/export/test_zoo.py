"""Networks of other projects, exported by those projects in an environment of their own, as bundles.

``ARSEG_EDGE_ZOO`` names the Python of an environment that has ``tools/export_zoo.txt`` already; else one is made, of
some gigabytes, and removed again.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from clips import street_clip
from environments import ROOT, make_environment

import arseg_edge
from arseg_edge.bundle import read_bundle
from arseg_edge.cli import main
from arseg_edge.runtime.reports.verify import verify

sys.path.insert(0, str(ROOT / "tools"))

import export_zoo

pytestmark = pytest.mark.long

CLASSES = {
    "torchvision-lraspp": 21,
    "torchvision-deeplabv3": 21,
    "torchvision-fcn": 21,
    "torchvision-lraspp-opset11": 21,
    "smp-unet": 19,
    "smp-unet-binary": 2,
    "smp-fpn-sigmoid": 2,
    "smp-fpn": 150,
    "smp-deeplabv3plus": 21,
    "segformer-150": 150,
    "segformer-fixed": 19,
    "yolo26n-sem": 19,
}


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("zoo")
    python = os.environ.get("ARSEG_EDGE_ZOO")
    if python is None:
        requirements = (ROOT / "tools" / "export_zoo.txt").read_text().splitlines()
        environment = folder / "environment"
        python = str(make_environment(environment, [each for each in requirements if each[:1] not in ("", "#")]))
    command = [python, ROOT / "tools" / "export_zoo.py", folder / "models"]
    variables = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    done = subprocess.run(command, env=variables, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]
    yield folder / "models"
    shutil.rmtree(folder)


def test_zoo_is_whole() -> None:
    assert set(export_zoo.ZOO) == set(CLASSES)


@pytest.mark.parametrize("name", CLASSES)
def test_exports_become_bundles(zoo: Path, tmp_path: Path, name: str) -> None:
    flags = json.loads((zoo / name / "convert.json").read_text())
    out = tmp_path / "model.arseg"
    with pytest.raises(SystemExit) as ended:
        main(["convert", str(zoo / name / "model.onnx"), "-o", str(out), *flags])
    assert ended.value.code == 0
    bundle = read_bundle(out)
    assert max(figure.error for figure in bundle.parity) <= 1e-3
    assert len(bundle.manifest.classes) == CLASSES[name]
    assert bundle.manifest.label_rule is not None
    assert verify(bundle, providers="cpu").passed
    with arseg_edge.load(out, providers="cpu") as segmenter:
        results = list(segmenter.stream(str(street_clip(tmp_path / "street.mp4", 14))))
    assert {result.branch for result in results} == {"hr", "moved"}
    # Weights that were drawn say nothing; but they say different things of a picture's parts.
    assert max(len(np.unique(result.labels)) for result in results) > 1

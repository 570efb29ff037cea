"""The wheel's demo model has the same labels in the oldest, a middle and the newest ONNX Runtime.

Each is installed in an environment of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

VERSIONS = {
    # 1.17 was built for NumPy 1.
    "oldest": ["onnxruntime==1.17.3", "numpy<2"],
    "middle": ["onnxruntime==1.24.4"],
    "newest": ["onnxruntime"],
}

SCRIPT = """
import hashlib, json
import onnxruntime, arseg_edge
from arseg_edge.bundle import GOLDEN, read_bundle
from arseg_edge.demo import demo_bundle
from arseg_edge.golden import read_golden
golden = read_golden(read_bundle(demo_bundle()).read(GOLDEN), "golden")
digest = hashlib.sha256()
with arseg_edge.load(threads=1) as segmenter:
    for index, (frame, motion) in enumerate(zip(golden.frames, golden.motion)):
        result = segmenter.step(frame, keyframe=True) if index == 0 else segmenter.step(frame, motion=motion)
        digest.update(result.labels.tobytes())
    print(json.dumps([onnxruntime.__version__, segmenter.native, digest.hexdigest()]))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, ROOT], check=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.mark.long
@pytest.mark.parametrize("native", ["1", "0"])
def test_versions_agree(wheel: Path, tmp_path: Path, native: str) -> None:
    found = {}
    for name, requirements in VERSIONS.items():
        python = tmp_path / name / "bin" / "python"
        subprocess.run([sys.executable, "-m", "venv", tmp_path / name], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", wheel, *requirements], check=True)
        environment = {"ARSEG_EDGE_NATIVE": native, "PATH": "/usr/bin:/bin"}
        run = [python, "-m", "arseg_edge", "verify", "--json", "--threads", "1"]
        # Not from the checkout: there `python -m` takes the checkout's sources, and this is about the wheel.
        out = subprocess.run(run, check=True, env=environment, capture_output=True, cwd=tmp_path).stdout
        verified = json.loads(out)
        assert verified["passed"]
        # The golden clip, whose motion is given: what OpenCV makes of a video differs between its versions.
        run = [python, "-c", SCRIPT]
        out = subprocess.run(run, check=True, env=environment, capture_output=True, cwd=tmp_path).stdout
        version, used_native, digest = json.loads(out)
        assert used_native == (native == "1")
        found[version] = digest
    assert len(found) == len(VERSIONS)
    assert len(set(found.values())) == 1, found

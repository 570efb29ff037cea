"""The wheel's demo model has the same labels in the oldest, a middle and the newest ONNX Runtime.

Each is installed in an environment of its own.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from environments import build_wheel, make_environment, run_in

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
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.mark.long
@pytest.mark.parametrize("native", ["1", "0"])
def test_versions_agree(wheel: Path, tmp_path: Path, native: str) -> None:
    found = {}
    for name, requirements in VERSIONS.items():
        python = make_environment(tmp_path / name, [wheel, *requirements])
        variables = {"ARSEG_EDGE_NATIVE": native}
        run = [python, "-m", "arseg_edge", "verify", "--json", "--threads", "1"]
        assert json.loads(run_in(tmp_path, run, variables))["passed"]
        # The golden clip, whose motion is given: what OpenCV makes of a video differs between its versions.
        version, used_native, digest = json.loads(run_in(tmp_path, [python, "-c", SCRIPT], variables))
        assert used_native == (native == "1")
        found[version] = digest
    assert len(found) == len(VERSIONS)
    assert len(set(found.values())) == 1, found

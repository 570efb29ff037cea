"""The sample that trains a network of one's own goes from drawing to a bundle that runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

import arseg_edge

SAMPLES = Path(__file__).parent.parent.parent / "samples"


def test_from_drawing_to_a_bundle(tmp_path: Path) -> None:
    bundle = tmp_path / "street.arseg"
    script = [sys.executable, SAMPLES / "make_street_bundle.py", "--steps", "1", "--streets", "1"]
    subprocess.run([*script, "--output", bundle], check=True, capture_output=True)
    with arseg_edge.load(bundle) as segmenter:
        assert segmenter.step(np.zeros((96, 128, 3), np.uint8)).labels.shape == (96, 128)

"""How well a bundle segments the sample street, whose labels are known: mIoU over all frames, by schedule.

    python benchmarks/street.py [BUNDLE ...]

Without a bundle, the demo model. HR runs on every frame; AR is HR on keyframes, LR and CReFF on all others; adaptive is
the schedule that ``load`` has for files by default. The stream is taken as it is, with its own keyframes.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import arseg_edge
from arseg_edge.demo import demo_bundle
from arseg_edge.evaluation.confusion import confusion_matrix, mean_iou

SAMPLES = Path(__file__).parents[1] / "samples"

SCHEDULES: dict[str, dict[str, Any]] = {
    "HR": {"schedule": "paper", "interval": 1},
    "AR": {"schedule": "paper"},
    "adaptive": {},
}


def miou(truth: npt.NDArray[np.uint8], segmenter: arseg_edge.Segmenter) -> float:
    """Return the mIoU over all frames, in percent."""
    with segmenter:
        classes = len(segmenter.classes)
        confusion = np.zeros((classes, classes), np.int64)
        for result in segmenter.stream(SAMPLES / "street.mp4"):
            confusion += confusion_matrix(truth[result.index], result.labels, classes)
    return 100 * float(mean_iou(confusion))


def main() -> None:
    """Print a line for each bundle."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", type=Path, nargs="*", default=[demo_bundle()])
    with np.load(SAMPLES / "street-labels.npz") as arrays:
        truth = arrays["labels"]
    for bundle in parser.parse_args().bundles:
        scores = [miou(truth, arseg_edge.load(bundle, **settings)) for settings in SCHEDULES.values()]
        named = (f"{name} {score:.2f}" for name, score in zip(SCHEDULES, scores, strict=True))
        print(f"{bundle}: {', '.join(named)}")


if __name__ == "__main__":
    main()

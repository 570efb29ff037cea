"""How well a bundle segments the sample street, whose labels are known: mIoU over all frames, HR and AR.

    python benchmarks/street.py [BUNDLE ...]

Without a bundle, the demo model. The stream is taken as it is, with its own keyframes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import arseg_edge
from arseg_edge.demo import demo_bundle
from arseg_edge.evaluation.confusion import confusion_matrix, mean_iou

SAMPLES = Path(__file__).parents[1] / "samples"


def main() -> None:
    """Print a line for each bundle."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", type=Path, nargs="*", default=[demo_bundle()])
    with np.load(SAMPLES / "street-labels.npz") as arrays:
        truth = arrays["labels"]
    for bundle in parser.parse_args().bundles:
        with arseg_edge.load(bundle) as ar, arseg_edge.load(bundle) as hr:
            classes = len(ar.classes)
            found = np.zeros((2, classes, classes), np.int64)
            for result in ar.stream(SAMPLES / "street.mp4"):
                alone = hr.step(result.rgb, keyframe=True)
                for confusion, labels in zip(found, (alone.labels, result.labels), strict=True):
                    confusion += confusion_matrix(truth[result.index], labels, classes)
        scores = [100 * mean_iou(confusion) for confusion in found]
        print(f"{bundle}: HR {scores[0]:.2f}, AR {scores[1]:.2f}")


if __name__ == "__main__":
    main()

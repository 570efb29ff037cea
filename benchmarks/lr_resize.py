"""What the short way to the LR network's picture (``lr_resize="fast"``) costs in labels, and what it saves in time.

    python benchmarks/lr_resize.py VIDEO... [--labels FOLDER] [--model NAME.arseg] [--frames 96] [--json]

Each video is segmented by the paper's schedule, once with each way and once with HR on every frame. Reported are the
pixels on LR frames that agree with HR, those that agree between the two ways, and the median milliseconds of making an
LR frame's picture and of running LR. The ways take turns frame by frame, so that the machine's load meets both alike.
``--labels`` is a folder of CamVid's label pictures, one for each frame of the only video: then there is mIoU, too.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from arseg_edge.bundle import read_bundle
from arseg_edge.datasets.sequence import IGNORED
from arseg_edge.demo import demo_bundle
from arseg_edge.evaluation.bundle_predictor import BundlePredictor
from arseg_edge.evaluation.confusion import confusion_matrix, mean_iou
from arseg_edge.runtime.inference.cpu_budget import usable_cores
from arseg_edge.runtime.source.open_source import open_source

WAYS = ("exact", "fast")


def measure(
    predictor: BundlePredictor, video: str, frames: int, truths: Sequence[NDArray[np.uint8]]
) -> dict[str, float]:
    """Return percentages and milliseconds."""
    classes = len(predictor.classes.names)
    matrices = {way: np.zeros((classes, classes), np.int64) for way in (*WAYS, "hr")}
    alike: dict[str, list[float]] = {way: [] for way in (*WAYS, "each other")}
    times: dict[str, list[float]] = {f"{way} {stage}": [] for way in WAYS for stage in ("convert", "lr")}
    ways: dict[str, dict[str, Any]] = {way: {"interval": predictor.interval, "lr_resize": way} for way in WAYS}
    ways["hr"] = {"interval": 1}
    sources = [open_source(video) for _ in ways]
    streams = [predictor.stream(source, **way) for source, way in zip(sources, ways.values(), strict=True)]
    for index, results in enumerate(itertools.islice(zip(*streams, strict=True), frames)):
        exact, fast, hr = results
        if index < len(truths):
            for name, result in zip(ways, results, strict=True):
                matrices[name] += confusion_matrix(truths[index], result.labels, classes)
        if exact.branch != "lr":
            continue
        for way, result in zip(WAYS, (exact, fast), strict=True):
            alike[way].append(float((result.labels == hr.labels).mean()))
            for stage in ("convert", "lr"):
                times[f"{way} {stage}"].append(result.speed.milliseconds[stage])
        alike["each other"].append(float((exact.labels == fast.labels).mean()))
    for each in (*streams, *sources):
        each.close()
    report = {f"agreement {name}, %": 100 * statistics.fmean(values) for name, values in alike.items()}
    report |= {f"{name}, ms": statistics.median(values) for name, values in times.items()}
    if truths:
        report |= {f"mIoU {name}, %": 100 * float(mean_iou(matrix)) for name, matrix in matrices.items()}
    return report


def _truth(path: Path, classes: int) -> NDArray[np.uint8]:
    found = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    assert found is not None
    return np.where(found < classes, found, IGNORED).astype(np.uint8)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", nargs="+")
    parser.add_argument("--labels", type=Path)
    parser.add_argument("--model", type=Path, default=demo_bundle())
    parser.add_argument("--frames", type=int, default=96)
    parser.add_argument("--threads", type=int, default=usable_cores())
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    predictor = BundlePredictor(read_bundle(given.model), threads=given.threads, providers="cpu")
    paths = [] if given.labels is None else sorted(given.labels.glob("*.png"))
    truths = [_truth(path, len(predictor.classes.names)) for path in paths]
    reports = {video: measure(predictor, video, given.frames, truths) for video in given.videos}
    if given.json:
        print(json.dumps(reports, indent=2))
        return
    for video, report in reports.items():
        print(video)
        for name, value in report.items():
            print(f"  {name:28}{value:8.2f}")


if __name__ == "__main__":
    main()

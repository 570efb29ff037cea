"""What each part of the training and of the fusion brings, from runs of its own.

    python benchmarks/ablation.py CAMVID --hr runs/hr/best.pth --streets runs/streets --output runs/ablation

Trains LR + CReFF anew as the demo model's recipe does (``samples/train_demo_model.py``), for fewer epochs: as it is,
without the similarity loss, without motion, as a plain sum, with attention over 7×7, and the LR network alone. Each
is exported and measured on the 101 frames of CamVid's ``val``, encoded as H.264 at 1.5 Mbit/s, at every alignment of
the keyframes.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch

from arseg_edge.bundle import read_bundle
from arseg_edge.datasets import open_dataset
from arseg_edge.datasets.encode import Encoding
from arseg_edge.evaluation.bundle_predictor import BundlePredictor
from arseg_edge.evaluation.by_distance import AR, HR, LR, ZERO_MOTION, EvaluationReport, evaluate
from arseg_edge.export import export_bundle
from arseg_edge.export.families import Family, edge_family, register_family
from arseg_edge.palette import CAMVID_11, ClassSet
from arseg_edge.runtime.inference.cpu_budget import usable_cores
from arseg_edge.training.settings import LrSettings
from arseg_edge.training.train import train_lr
from arseg_edge.training.values import DataSource


def attending(classes: ClassSet) -> Family:
    """Return ``edge`` with the paper's attention over 7×7."""
    return replace(edge_family(classes), name="edge-7x7", kernel_size=7, for_classes=attending)


def variants(epochs: int) -> dict[str, dict[str, Any]]:
    """Return what differs from the recipe, by the row's name."""
    return {
        "as it is": {},
        "without similarity loss": {"similarity": 0.0},
        "without motion": {"motion": False},
        "plain sum": {"fusion": "sum"},
        "attention over 7×7": {"family": "edge-7x7"},
        # In the last epoch, of which one must have fusion, the learning rate is all but zero.
        "LR alone": {"fusion_from": epochs - 1},
    }


def exported_as(name: str, weights: dict[str, torch.Tensor]) -> Family:
    """Return the family to export as; in a plain sum the value is the warped feature as it is."""
    if name == "plain sum":
        value = weights["fuse_attention.hr_value_conv.weight"].zero_()
        value[:, :, 1, 1] = 1
        weights["fuse_attention.hr_value_conv.bias"].zero_()
    return attending(CAMVID_11) if "7×7" in name else edge_family(CAMVID_11)


def measure(bundle: Path, camvid: Path, *, zero_motion: bool) -> EvaluationReport:
    """Evaluate on the CamVid clip, as ``docs/experiments.md`` says."""
    predictor = BundlePredictor(read_bundle(bundle), threads=usable_cores())
    encoding = Encoding("libx264", 1_500_000, 12, Fraction(15))
    return evaluate(predictor, open_dataset(camvid, "val"), encoding, zero_motion=zero_motion)


def main() -> None:
    """Train, export, measure, print a table and JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("camvid", type=Path)
    parser.add_argument("--hr", type=Path, required=True)
    parser.add_argument("--streets", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--epochs", type=int, default=18)
    parser.add_argument("--precision", choices=("bfloat16", "float32"), default="bfloat16")
    given = parser.parse_args()
    register_family(attending(CAMVID_11))
    results: dict[str, dict[str, float]] = {}
    for name, changes in variants(given.epochs).items():
        folder = given.output / name.replace(" ", "-").replace("×", "x")
        settings = LrSettings.of(
            data=(DataSource(given.camvid, "train", 0.7), DataSource(given.streets, None, 0.3)),
            exclude=(r"0016E5_0(7[89]|8[012])\d+",),
            hold_out=15,
            hold_together=3,
            variants=(8, 2),
            validation_variants=4,
            hr=given.hr,
            epochs=given.epochs,
            precision=given.precision,
            cache=given.cache,
        )
        outcome = train_lr(replace(settings, **changes), folder)
        weights = torch.load(outcome.best, weights_only=True)
        hr = torch.load(given.hr, weights_only=True)
        bundle = folder / "ablation.arseg"
        export_bundle(exported_as(name, weights), hr=hr, lr=weights, out=bundle)
        methods = measure(bundle, given.camvid, zero_motion=name == "without motion").methods
        scores = methods[ZERO_MOTION if name == "without motion" else LR if name == "LR alone" else AR]
        results[name] = {
            "validation": outcome.score,
            "hr": methods[HR].mean,
            "after_keyframe": scores.mean_after_keyframe,
            "farthest": float(scores.by_distance[-1]),
        }
        print(f"{name}: {results[name]}", flush=True)
    (given.output / "ablation.json").write_text(json.dumps(results, indent=2) + "\n")
    print("| mIoU | distances 1 to 11 | distance 11 |\n| --- | --- | --- |")
    for name, found in results.items():
        print(f"| {name} | {found['after_keyframe']:.1f} | {found['farthest']:.1f} |")


if __name__ == "__main__":
    main()

"""How LR + CReFF does on the stills that were held out of the demo model's training, where their neighbours were too.

    python benchmarks/held_out.py CAMVID --hr runs/hr/best.pth --lr runs/lr/best.pth --cache runs/pairs

mIoU of HR, of the keyframe's feature merely moved along, and of AR: after a simulated camera, and with the still that
the drive took a second before as keyframe. ``val`` has no part in it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from arseg_edge.datasets import hold_out, open_dataset, without
from arseg_edge.datasets.encode import Encoding
from arseg_edge.evaluation.confusion import confusion_matrix, mean_iou
from arseg_edge.export.checkpoint import load_ar, load_hr, read_checkpoint
from arseg_edge.export.families import find_family
from arseg_edge.export.models.resizing import resize
from arseg_edge.export.operators.motion_warp import motion_warp
from arseg_edge.lr_size import lr_size
from arseg_edge.training.cache import PairCache, PairSettings, make_pairs
from arseg_edge.training.losses import score_pixels
from arseg_edge.training.lr import FusionSettings, fuse
from arseg_edge.training.networks import normalise
from arseg_edge.training.pairs import Pair
from arseg_edge.training.validate import as_batch

EDGE = find_family("edge")
CPU = torch.device("cpu")


def miou(cache: PairCache, items: list[int], feature: Callable[[Pair], Tensor], last: nn.Module) -> float:
    """Return the mIoU over the pairs of some items."""
    confusion = np.zeros((11, 11), np.int64)
    for pair in (cache.read(item, variant) for item in items for variant in range(cache.variants)):
        height, width = pair.labels.shape
        scores = score_pixels(EDGE, last(feature(pair)), (height, width))
        confusion += confusion_matrix(pair.labels, scores.argmax(1)[0].to(torch.uint8).numpy(), 11)
    return 100 * float(mean_iou(confusion))


@torch.no_grad()
def main() -> None:
    """Print two lines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("camvid", type=Path)
    parser.add_argument("--hr", type=Path, required=True)
    parser.add_argument("--lr", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    given = parser.parse_args()
    teacher = cast(nn.Module, load_hr(EDGE, read_checkpoint(given.hr)))
    student = cast(nn.Module, load_ar(EDGE, read_checkpoint(given.lr)))

    def hr(pair: Pair) -> Tensor:
        return cast(Tensor, teacher.feature(normalise(EDGE, as_batch(pair, CPU)[0])))

    def moved(pair: Pair) -> Tensor:
        _, keyframe, motion = as_batch(pair, CPU)
        return motion_warp(teacher.feature(normalise(EDGE, keyframe)), motion, sampling=EDGE.sampling)

    def ar(pair: Pair) -> Tensor:
        image, keyframe, motion = as_batch(pair, CPU)
        small = resize(normalise(EDGE, image), lr_size(image.shape[1], image.shape[2], 0.5))
        return fuse(
            student, student.feature(small), teacher.feature(normalise(EDGE, keyframe)), motion, FusionSettings()
        )

    dataset = without(open_dataset(given.camvid, "train"), [r"0016E5_0(7[89]|8[012])\d+"])
    _, held = hold_out(dataset, 15, 3)
    following = [index for index, sequence in enumerate(held.sequences) if held.before(sequence)]
    made = PairSettings(Encoding(), variants=4, seed=1, stills="anywhere", passing=3)
    for name, settings in (("simulated camera", made), ("the still before", replace(made, neighbours=1.0))):
        cache = make_pairs(held, settings, given.cache, processes=2)
        figures = (miou(cache, following, each, teacher.final_conv) for each in (hr, moved, ar))
        print(f"{name}, {len(following)} stills: HR {{:.1f}}, moved along {{:.1f}}, AR {{:.1f}}".format(*figures))


if __name__ == "__main__":
    main()

"""What the guards of the schedule are worth: hard cuts found, keyframes for nothing, quality at equal cost.

    python benchmarks/guards.py joins ../shared [--count 50] [--json]
    python benchmarks/guards.py cost ../shared [--json]
    python benchmarks/guards.py network ../shared [--model NAME.arseg] [--json]

``joins``: two clips of different scenes (the CamVid clip, a motorway, a table, slow pans over CamVid stills)
are joined and encoded by x264 and x265, with and without B-frames, with an I-frame at the cut and without. Found:
the first frame of the new scene is a keyframe. False: a guard made any other frame one.

``cost``: the CamVid clip, whole, and cut into pieces of 5 to 25 frames in random order (mean of three). The guards'
quality is set against that of a fixed interval, interpolated at the same number of keyframes: PSNR of the warped
keyframe, and mIoU of the keyframe's true labels, warped, against the frame's own.

``network``: the same with a trained network: mIoU of the paper's schedule as it is deployed, HR on keyframes and LR
with CReFF on all others.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import av
import cv2
import numpy as np
import numpy.typing as npt
from warp_quality import Image, encode, pictures, psnr, warp

from arseg_edge.bundle import read_bundle
from arseg_edge.datasets.sequence import IGNORED
from arseg_edge.demo import demo_bundle
from arseg_edge.evaluation.bundle_predictor import BundlePredictor
from arseg_edge.evaluation.confusion import confusion_matrix, mean_iou
from arseg_edge.runtime.inference.cpu_budget import usable_cores
from arseg_edge.runtime.motion.agreement import look_up, pixel_grid
from arseg_edge.runtime.read_motion import read_motion
from arseg_edge.runtime.schedule.keyframes import Guards

SIZE: Final = (480, 360)
GUARD_REASONS: Final = frozenset({"intra-share", "mismatch", "scene-cut"})
ENCODERS: Final[dict[str, tuple[str, dict[str, str]]]] = {
    "h264, I at the cut": ("libx264", {"bf": "0", "refs": "1", "crf": "23"}),
    "h264, no I": ("libx264", {"bf": "0", "refs": "1", "crf": "23", "sc_threshold": "0"}),
    "h264 defaults, no I": ("libx264", {"crf": "28", "sc_threshold": "0"}),
    "hevc, no I": ("libx265", {"preset": "veryfast", "x265-params": "log-level=none:scenecut=0"}),
}
CLASSES: Final = 11
UNLABELLED: Final = 11


def scenes(shared: Path, length: int, seed: int) -> Iterator[tuple[str, list[Image]]]:
    """Endless clips of ``length`` pictures with the name of where each is from."""
    rng = np.random.default_rng(seed)
    films = {
        name: pictures(shared / path, SIZE, count)
        for name, path, count in (
            ("camvid", "camvid/val", 101),
            ("motorway", "video/solidWhiteRight.mp4", 200),
            ("table", "video/bottle-detection.mp4", 300),
        )
    }
    stills = sorted((shared / "camvid/train").glob("*.png"))
    while True:
        for name, film in films.items():
            start = int(rng.integers(len(film) - length))
            yield name, film[start : start + length]
            path = stills[int(rng.integers(len(stills)))]
            yield path.stem, _pan(cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB), length, rng)


def _pan(still: npt.NDArray[np.integer], length: int, rng: np.random.Generator) -> list[Image]:
    """A slow move over a still at 1.2 times the size."""
    width, height = SIZE
    large = cv2.resize(still, None, fx=1.2, fy=1.2, interpolation=cv2.INTER_CUBIC)
    way = rng.uniform(-1.5, 1.5, 2)
    corner = (np.array(large.shape[1::-1]) - SIZE) / 2
    centres = [corner + np.array(SIZE) / 2 + way * (t - length / 2) for t in range(length)]
    return [np.asarray(cv2.getRectSubPix(large, (width, height), tuple(centre)), np.uint8) for centre in centres]


def joins(shared: Path, count: int, guards: Guards) -> dict[str, dict[str, object]]:
    """For each encoder: cuts found, reasons there, and frames elsewhere that a guard made keyframes."""
    length = 9
    report: dict[str, dict[str, object]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, (codec, options) in ENCODERS.items():
            found, elsewhere, reasons, frames = 0, 0, Counter[str](), 0
            clips = scenes(shared, length, seed=0)
            for number in range(count):
                (_, before), (_, after) = next(clips), next(clips)
                cut = 3 + number % 5
                path = encode(Path(folder) / "join.mkv", [*before[:cut], *after], codec, options)
                kinds = [frame.keyframe_reason for frame in read_motion(path, 1000, guards=guards)]
                found += kinds[cut] is not None
                reasons[str(kinds[cut])] += 1
                elsewhere += sum(kind in GUARD_REASONS for at, kind in enumerate(kinds) if at != cut)
                frames += len(kinds)
            report[name] = {
                "joins": count,
                "found": found,
                "reasons": dict(reasons),
                "false": elsewhere,
                "frames": frames,
            }
    return report


Quality = Callable[[Path, Sequence[Image], int, "Guards | None"], dict[str, float]]
"""Of a video with its labels, at an interval: the number of keyframes, and what else is measured."""


def cost(shared: Path, measure: Quality, intervals: Sequence[int]) -> list[dict[str, object]]:
    """Quality with the guards at some intervals, and without at the interval that takes as many keyframes.

    ``intervals`` are those without guards, between which is interpolated.
    """
    clip = pictures(shared / "camvid/val", SIZE)
    labels = [
        np.asarray(cv2.resize(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), SIZE, interpolation=cv2.INTER_NEAREST))
        for path in sorted((shared / "camvid/valannot").glob("*.png"))
    ]
    report: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as folder:
        for name, orders in (("whole", [list(range(len(clip)))]), ("cut", [_shuffled(len(clip), n) for n in range(3)])):
            paths = [
                encode(
                    Path(folder) / f"{name}{number}.mkv",
                    [clip[at] for at in order],
                    "libx264",
                    {"bf": "0", "refs": "1", "sc_threshold": "0", "crf": "20"},
                )
                for number, order in enumerate(orders)
            ]
            truths = [[labels[at] for at in order] for order in orders]

            def quality(interval: int, guards: Guards | None, paths: list[Path] = paths, truths: Any = truths) -> Any:
                rows = [measure(path, truth, interval, guards) for path, truth in zip(paths, truths, strict=True)]
                return {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}

            without = [quality(interval, None) for interval in sorted(intervals, reverse=True)]
            counts = [row["keyframes"] for row in without]
            for interval in (8, 12, 16):
                row = quality(interval, Guards())
                alike = {
                    f"{key} without": float(np.interp(row["keyframes"], counts, [each[key] for each in without]))
                    for key in row
                    if key != "keyframes"
                }
                report.append({"clip": name, "interval": interval, **row, **alike})
    return report


def _shuffled(count: int, seed: int) -> list[int]:
    """The numbers below ``count`` in pieces of 5 to 25, in random order."""
    rng = np.random.default_rng(seed)
    starts = np.cumsum(rng.integers(5, 26, count))
    pieces = np.split(np.arange(count), starts[starts < count])
    return [int(at) for number in rng.permutation(len(pieces)) for at in pieces[number]]


def _labels(path: Path) -> Image:
    found = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    assert found is not None
    return np.asarray(cv2.resize(found, SIZE, interpolation=cv2.INTER_NEAREST), np.uint8)


def _quality(path: Path, labels: Sequence[Image], interval: int, guards: Guards | None) -> dict[str, float]:
    """Number of keyframes, mean dB of the warped keyframe, and mIoU of its warped labels over all frames."""
    hits = np.zeros((CLASSES, CLASSES), np.int64)
    psnrs, keyframes = [], 0
    key_image, key_labels = np.empty(0, np.uint8), np.empty(0, np.uint8)
    for frame, truth in zip(read_motion(path, interval, guards=guards), labels, strict=True):
        if frame.motion is None:
            key_image, key_labels, keyframes = frame.rgb, truth, keyframes + 1
            shown = truth
        else:
            psnrs.append(psnr(warp(key_image, frame.motion), frame.rgb))
            places = pixel_grid(*truth.shape) + frame.motion
            shown = look_up(key_labels, places, cv2.INTER_NEAREST)
        known = (truth != UNLABELLED) & (shown != UNLABELLED)
        hits += np.bincount(CLASSES * truth[known].astype(int) + shown[known], minlength=CLASSES**2).reshape(hits.shape)
    union = hits.sum(0) + hits.sum(1) - hits.diagonal()
    return {
        "keyframes": keyframes,
        "psnr": float(np.mean(psnrs)),
        "miou": float((hits.diagonal()[union > 0] / union[union > 0]).mean()),
    }


def of_network(model: Path, threads: int) -> Quality:
    """Return what measures the paper's schedule with the networks of a bundle."""
    predictor = BundlePredictor(read_bundle(model), threads=threads, providers="cpu")

    def quality(path: Path, labels: Sequence[Image], interval: int, guards: Guards | None) -> dict[str, float]:
        matrix, keyframes = np.zeros((CLASSES, CLASSES), np.int64), 0
        with predictor.stream(path, interval, guards=guards) as results:
            for result, truth in zip(results, labels, strict=True):
                known = np.where(truth == UNLABELLED, IGNORED, truth).astype(np.uint8)
                matrix += confusion_matrix(known, result.labels, CLASSES)
                keyframes += result.is_keyframe
        return {"keyframes": keyframes, "miou": float(mean_iou(matrix))}

    return quality


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("joins", "cost", "network"))
    parser.add_argument("shared", type=Path, help="the folder with camvid/ and video/")
    parser.add_argument("--count", type=int, default=50, help="joins for each encoder (%(default)s)")
    parser.add_argument("--model", type=Path, default=demo_bundle(), help="of ``network``")
    parser.add_argument("--threads", type=int, default=usable_cores())
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    av.logging.set_level(av.logging.ERROR)
    if arguments.what == "joins":
        result: object = joins(arguments.shared, arguments.count, Guards())
    elif arguments.what == "network":
        result = cost(arguments.shared, of_network(arguments.model, arguments.threads), (4, 5, 6, 7, 8, 10, 12, 16, 20))
    else:
        result = cost(arguments.shared, _quality, range(4, 21))
    if arguments.json:
        print(json.dumps(result, indent=2))
    elif isinstance(result, dict):
        for name, row in result.items():
            print(f"{name:22}" + "  ".join(f"{key} {value}" for key, value in row.items()))
    elif isinstance(result, list):
        for row in result:
            print(
                "  ".join(
                    f"{key} {value:.3f}" if isinstance(value, float) else f"{key} {value}" for key, value in row.items()
                )
            )


if __name__ == "__main__":
    main()

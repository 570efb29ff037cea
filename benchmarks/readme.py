"""Measures what the README and ``docs/experiments.md`` say, and writes their tables between the ``figures`` markers.

    python benchmarks/readme.py --camvid ../shared/camvid --only accuracy    # any machine, whatever else it does
    python benchmarks/readme.py --camvid ../shared/camvid                    # two cores that must be idle, half an hour

Each way of making labels (``WAYS``) segments the same clips: the 101 labelled frames of CamVid's ``val``, encoded as
H.264 without B-frames, an I-frame every 12 frames. Accuracy is the demo model's at 480×360 (15 frames/s, 1.5 Mbit/s),
over ``--shifts`` clips of which each begins some frames later, so that each frame is met at several distances from a
keyframe. Times are those of the demo model on the first of these clips, and of the published networks on 61 frames at
960×720 and 3 Mbit/s; their weights are made by a formula (``tests/reference/fill.py``), since speed does not depend on
what was learnt. The ways take turns in every round; times are medians over the rounds, whole streams from the first
frame to the last, decoding and motion included.

What was measured is kept in ``--work`` as JSON, and a cell that nothing was measured for stays empty.
"""

from __future__ import annotations

import argparse
import itertools
import json
import platform
import re
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from time import perf_counter
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from arseg_edge.bundle import read_bundle
from arseg_edge.datasets import Dataset, open_dataset
from arseg_edge.datasets.encode import Encoding, encode_clip
from arseg_edge.datasets.sequence import read_image
from arseg_edge.demo import demo_bundle
from arseg_edge.evaluation.confusion import confusion_matrix, mean_iou
from arseg_edge.runtime.inference.networks import load_networks
from arseg_edge.runtime.segmenter import Segmenter, Settings

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "tests" / "reference"
INTERVAL = 12
THREADS = 2
DEMO = "demo"
FAMILIES = ("camvid-bise18", "camvid-psp18")
LARGE = (720, 960)
LARGE_FRAMES = 61
HR_FRAMES = 6
"""HR on every frame is timed on so many: one frame is like another."""


@dataclass(frozen=True)
class Way:
    """A way of making the labels of all frames."""

    name: str
    settings: Settings

    def open(self, path: Path) -> Segmenter:
        """Open a bundle so that its streams go this way."""
        bundle = read_bundle(path)
        return Segmenter(bundle, load_networks(bundle, providers="cpu", threads=THREADS, scale=None), self.settings)


HR_ALONE = "HR on every frame"
WAYS = (
    Way(HR_ALONE, Settings(1, schedule="paper", threads=THREADS)),
    # With a tolerance of 1 nothing but the interval and cuts call for HR.
    Way(
        f"HR every {INTERVAL} frames, its labels moved on to the others",
        Settings(INTERVAL, tolerance=1.0, lookahead=False, looks=None, threads=THREADS),
    ),
    Way(
        f"HR every {INTERVAL} frames, LR and CReFF on the others (`paper`)",
        Settings(INTERVAL, schedule="paper", threads=THREADS),
    ),
    Way("`adaptive`, live", Settings(INTERVAL, lookahead=False, threads=THREADS)),
    Way("**`adaptive`, from a file: the default**", Settings(INTERVAL, threads=THREADS)),
)


@dataclass
class Measured:
    """All that was measured; by the way's name, times also by the model's."""

    miou: dict[str, float] = field(default_factory=dict)
    as_hr: dict[str, float] = field(default_factory=dict)
    branches: dict[str, dict[str, int]] = field(default_factory=dict)
    """How many frames of the demo model's first clip each branch made."""
    milliseconds: dict[str, dict[str, float]] = field(default_factory=dict)
    bench: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Reports of ``arseg-edge bench``, by family."""
    note: str = ""


def encode(pictures: Iterator[npt.NDArray[np.uint8]], path: Path, bit_rate: int) -> Path:
    """Write a clip, unless it is there."""
    if not path.exists():
        encode_clip(pictures, path, Encoding("libx264", bit_rate, INTERVAL, Fraction(15)))
    return path


def measure_accuracy(measured: Measured, dataset: Dataset, clips: list[Path]) -> None:
    """Count the demo model's labels on clips of which the n-th begins at the n-th of the shifts in their names."""
    (sequence,) = dataset.sequences
    truths = {index: dataset.read_labels(path) for index, path in sequence.labels.items()}
    of_hr: dict[tuple[Path, int], npt.NDArray[np.uint8]] = {}
    for way in WAYS:
        with way.open(demo_bundle()) as segmenter:
            names = tuple(each.name for each in segmenter.classes)
            assert names == dataset.classes.names, "the demo model's classes are CamVid's"
            confusion = np.zeros((len(names), len(names)), np.int64)
            alike = pixels = 0
            branches: dict[str, int] = {}
            for number, clip in enumerate(clips):
                for result in segmenter.stream(clip):
                    truth = truths.get(int(clip.stem) + result.index)
                    if truth is not None:
                        confusion += confusion_matrix(truth, result.labels, len(names))
                    if way.name == HR_ALONE:
                        of_hr[clip, result.index] = result.labels
                    alike += int((result.labels == of_hr[clip, result.index]).sum())
                    pixels += result.labels.size
                    if number == 0:
                        branches[result.branch] = branches.get(result.branch, 0) + 1
        measured.miou[way.name] = 100 * float(mean_iou(confusion))
        measured.as_hr[way.name] = 100 * alike / pixels
        measured.branches[way.name] = branches
        print(f"{way.name}: mIoU {measured.miou[way.name]:.2f}, as HR {measured.as_hr[way.name]:.2f}, {branches}")


def measure_times(measured: Measured, model: str, bundle: Path, clip: Path, rounds: int) -> None:
    """Time all ways on a clip, taking turns; the first round warms up and does not count."""
    values: dict[str, list[float]] = {way.name: [] for way in WAYS}
    for number in range(rounds + 1):
        for way in WAYS:
            with way.open(bundle) as segmenter:
                longest = HR_FRAMES if way.name == HR_ALONE else None
                results = segmenter.stream(clip)
                start = perf_counter()
                count = sum(1 for _ in itertools.islice(results, longest))
                seconds = perf_counter() - start
                results.close()
            if number:
                values[way.name].append(1e3 * seconds / count)
                print(f"{model}, round {number}: {way.name}: {values[way.name][-1]:.1f} ms a frame", flush=True)
    measured.milliseconds[model] = {name: statistics.median(each) for name, each in values.items()}


def export(family: str, path: Path) -> Path:
    """Write a bundle of a published family, unless it is there."""
    if not path.exists():
        sys.path.insert(0, str(REFERENCE))
        from fill import fill_state_dict

        from arseg_edge.export import export_bundle

        keys = json.loads((REFERENCE / f"{family}.keys.json").read_text())
        hr, lr = fill_state_dict(keys["hr"], seed=0), fill_state_dict(keys["ar"], seed=1)
        export_bundle(family, hr=hr, lr=lr, out=path, size=LARGE)
    return path


def bench(bundle: Path, clip: Path, rounds: int) -> dict[str, Any]:
    """Return the report of ``arseg-edge bench``."""
    command = [sys.executable, "-m", "arseg_edge", "bench", str(clip), "-m", str(bundle), "--json"]
    out = subprocess.run(
        [*command, "--rounds", str(rounds), "--threads", str(THREADS)], check=True, stdout=subprocess.PIPE
    )
    report: dict[str, Any] = json.loads(out.stdout)
    return report


def main_table(measured: Measured) -> str:
    """Return the README's table."""

    def score(scores: dict[str, float], way: Way) -> str:
        return f"{scores[way.name]:.1f}" if way.name in scores else ""

    def speed(model: str, way: Way) -> str:
        times = measured.milliseconds.get(model)
        if times is None:
            return ""
        faster = times[HR_ALONE] / times[way.name]
        return f"{times[way.name]:.{0 if times[way.name] >= 20 else 1}f} ms" + (
            "" if way.name == HR_ALONE else f", {faster:.1f}×"
        )

    header = ("how each frame's labels are made", "demo model, 480×360", "mIoU", "as HR, %")
    lines = [
        f"| {' | '.join((*header, *(f'{family}, 960×720' for family in FAMILIES)))} |",
        f"|{' --- |' * (len(header) + len(FAMILIES))}",
    ]
    for way in WAYS:
        cells = (way.name, speed(DEMO, way), score(measured.miou, way), score(measured.as_hr, way))
        lines.append(f"| {' | '.join((*cells, *(speed(family, way) for family in FAMILIES)))} |")
    text = "\n".join(lines)
    if measured.note:
        text += f"\n\nTime for a frame, and how many times as fast that is as HR on every frame. {measured.note}"
    return text


def bench_table(reports: dict[str, dict[str, Any]], note: str) -> str:
    """Return the table of ``docs/experiments.md``."""
    rows: dict[str, Callable[[dict[str, Any]], str]] = {
        "HR on every frame, ms a frame": lambda r: f"{r['end_to_end']['hr']['median']:.0f}",
        "HR + LR + CReFF, ms a frame": lambda r: f"{r['end_to_end']['ar']['median']:.0f}",
        "**ratio** (arithmetic alone: 3.0)": lambda r: f"**{r['ratio']:.2f}**",
        "share of the bound that the networks' own times set": lambda r: (
            f"{r['share_of_bound']:.0%} of {r['bound']:.2f}"
        ),
        "CReFF, last layer and labels, share of the LR network": lambda r: f"{r['beside_lr']:.1%}",
        "without the native library, ms a frame": lambda r: f"{r['end_to_end']['ar bodies']['median']:.0f}",
        "decoding, motion, conversion not overlapped": lambda r: f"{r['exposed']:.1%} of the time",
        "peak memory of the process": lambda r: f"{r['peak_megabytes'] / 1e3:.2f} GB",
        "from import to loaded": lambda r: f"{r['startup_seconds']:.2f} s",
    }
    lines = [f"| 960×720, 2 threads, interval 12 | {' | '.join(reports)} |", "| --- |" + " --- |" * len(reports)]
    lines += [f"| {name} | {' | '.join(cell(report) for report in reports.values())} |" for name, cell in rows.items()]
    return f"{note}\n\n" + "\n".join(lines)


def processor() -> str:
    """Return what the machine calls its processor."""
    found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    return found.group(1) if found else platform.processor()


def write_figures(document: Path, text: str) -> None:
    """Put ``text`` between a document's markers."""
    head, rest = document.read_text().split("<!-- figures", 1)
    command, tail = rest.split("-->", 1)
    _, after = tail.split("<!-- end of figures -->", 1)
    document.write_text(f"{head}<!-- figures{command}-->\n{text}\n<!-- end of figures -->{after}")


def main() -> None:
    """Measure what was asked for, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--camvid", type=Path, default=ROOT.parent / "shared" / "camvid")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "figures", help="For clips, bundles and figures.")
    parser.add_argument("--only", choices=("accuracy", "times", "bench", "tables"), help="Measure only this.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--shifts", type=int, default=INTERVAL, help="Clips for accuracy, 1 to 12.")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    kept = given.work / "measured.json"
    measured = Measured(**json.loads(kept.read_text())) if kept.exists() else Measured()

    dataset = open_dataset(given.camvid, "val")
    images = [read_image(path) for path in dataset.sequences[0].frames]
    shifts = [number * INTERVAL // given.shifts for number in range(given.shifts)]
    clips = [encode(iter(images[shift:]), given.work / f"{shift}.mkv", 1_500_000) for shift in shifts]
    enlarged = (cv2.resize(each, LARGE[::-1], interpolation=cv2.INTER_CUBIC) for each in images[:LARGE_FRAMES])
    large = encode(enlarged, given.work / "large.mkv", 3_000_000)

    if given.only in (None, "accuracy"):
        measure_accuracy(measured, dataset, clips)
        kept.write_text(json.dumps(vars(measured), indent=2))
    if given.only in (None, "times"):
        measured.note = (
            f"Measured by `python benchmarks/readme.py` with {THREADS} threads of {processor()}, medians of "
            f"{given.rounds} rounds."
        )
        measure_times(measured, DEMO, demo_bundle(), clips[0], given.rounds)
        for family in FAMILIES:
            bundle = export(family, given.work / f"{family}.arseg")
            measure_times(measured, family, bundle, large, given.rounds)
        kept.write_text(json.dumps(vars(measured), indent=2))
    if given.only in (None, "bench"):
        for family in FAMILIES:
            bundle = export(family, given.work / f"{family}.arseg")
            measured.bench[family] = bench(bundle, large, given.rounds)
        kept.write_text(json.dumps(vars(measured), indent=2))
    write_figures(ROOT / "README.md", main_table(measured))
    if measured.bench:
        note = (
            f"`python benchmarks/readme.py`, on {processor()}; medians of {given.rounds} rounds, variants taking turns."
        )
        write_figures(ROOT / "docs" / "experiments.md", bench_table(measured.bench, note))


if __name__ == "__main__":
    main()

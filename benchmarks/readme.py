"""Measures what the README and ``docs/experiments.md`` say, and writes their tables between the ``figures`` markers.

    python benchmarks/readme.py --camvid ../shared/camvid --only accuracy    # any machine, whatever else it does
    python benchmarks/readme.py --camvid ../shared/camvid                    # two cores that must be idle, half an hour

Each way of making labels (``ROWS``) segments the same clips: the 101 labelled frames of CamVid's ``val``, encoded as
H.264 without B-frames, an I-frame every 12 frames. Accuracy is the demo model's at 480×360 (15 frames/s, 1.5 Mbit/s),
over ``--shifts`` clips of which each begins some frames later, so that each frame is met at several distances from a
keyframe. Times are those of the demo model on the first of these clips, and of the published networks on 61 frames at
960×720 and 3 Mbit/s; their weights are made by a formula (``tests/reference/fill.py``), since speed does not depend on
what was learnt. Times come from ``arseg-edge bench``, of whole streams, decoding and motion included.

What was measured is kept in ``--work`` as JSON, and a cell that nothing was measured for stays empty.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from fractions import Fraction
from pathlib import Path
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
from arseg_edge.runtime.reports.bench import BARE
from arseg_edge.runtime.reports.ways import HR, OFTEN, PAPER, ways_of
from arseg_edge.runtime.schedule.adaptive import default_intervals
from arseg_edge.runtime.schedule.variants import moved_every
from arseg_edge.runtime.segmenter import Segmenter
from arseg_edge.schedule_choice import ADAPTIVE_FILE, ADAPTIVE_LIVE

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "tests" / "reference"
INTERVAL = 12
THREADS = 2
HR_OFTEN = moved_every(OFTEN, lookahead=False).name
DEMO = "demo"
FAMILIES = ("camvid-bise18", "camvid-psp18")
LARGE = (720, 960)
LARGE_FRAMES = 61


HR_ALONE = "HR on every frame"
ROWS = {
    HR_ALONE: HR,
    f"HR every {OFTEN} frames, its labels moved on to the others": HR_OFTEN,
    f"HR every {INTERVAL} frames, its labels moved on to the others": moved_every(INTERVAL, lookahead=False).name,
    f"HR every {INTERVAL} frames, LR and CReFF on the others (`paper`)": PAPER,
    "`adaptive`, live": ADAPTIVE_LIVE,
    "**`adaptive`, from a file: the default**": ADAPTIVE_FILE,
}
"""The README's, and what reports call them."""


@dataclass
class Measured:
    """All that was measured; accuracy by the row's name."""

    miou: dict[str, float] = field(default_factory=dict)
    as_hr: dict[str, float] = field(default_factory=dict)
    branches: dict[str, dict[str, int]] = field(default_factory=dict)
    """How many frames of the demo model's first clip each branch made."""
    bench: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Reports of ``arseg-edge bench``, by model."""
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
    anchors = default_intervals(INTERVAL)
    ways = {way.name: way.settings for way in ways_of(INTERVAL, None, THREADS, anchors=anchors)}
    bundle = read_bundle(demo_bundle())
    for row, name in ROWS.items():
        networks = load_networks(bundle, providers="cpu", threads=THREADS, scale=None)
        with Segmenter(bundle, networks, ways[name]) as segmenter:
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
                    if row == HR_ALONE:
                        of_hr[clip, result.index] = result.labels
                    alike += int((result.labels == of_hr[clip, result.index]).sum())
                    pixels += result.labels.size
                    if number == 0:
                        branches[result.branch] = branches.get(result.branch, 0) + 1
        measured.miou[row] = 100 * float(mean_iou(confusion))
        measured.as_hr[row] = 100 * alike / pixels
        measured.branches[row] = branches
        print(f"{row}: mIoU {measured.miou[row]:.2f}, as HR {measured.as_hr[row]:.2f}, {branches}")


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

    def score(scores: dict[str, float], row: str) -> str:
        return f"{scores[row]:.1f}" if row in scores else ""

    def speed(model: str, row: str) -> str:
        if model not in measured.bench:
            return ""
        ends = measured.bench[model]["end_to_end"]
        if row == HR_ALONE:
            return f"{_milliseconds(ends[BARE]['median'])} ms"
        way = ends[ROWS[row]]
        return f"{_milliseconds(way['median'])} ms, {way['ratio']:.1f}×"

    header = ("how each frame's labels are made", "demo model, 480×360", "mIoU", "as HR, %")
    lines = [
        f"| {' | '.join((*header, *(f'{family}, 960×720' for family in FAMILIES)))} |",
        f"|{' --- |' * (len(header) + len(FAMILIES))}",
    ]
    for row in ROWS:
        cells = (row, speed(DEMO, row), score(measured.miou, row), score(measured.as_hr, row))
        lines.append(f"| {' | '.join((*cells, *(speed(family, row) for family in FAMILIES)))} |")
    text = "\n".join(lines)
    if measured.note:
        text += (
            "\n\nTime for a frame, and how many times as fast that is as HR on every frame in a bare session of ONNX "
            f"Runtime, which neither decodes nor converts. {measured.note}"
        )
    return text


def _milliseconds(value: float) -> str:
    return f"{value:.{0 if value >= 20 else 1}f}"


def bench_table(reports: dict[str, dict[str, Any]], note: str) -> str:
    """Return the table of ``docs/experiments.md``."""
    rows: dict[str, Callable[[dict[str, Any]], str]] = {
        "HR in a bare session, ms a frame": lambda r: f"{r['end_to_end'][BARE]['median']:.0f}",
        "**`adaptive` against HR in a bare session**, from a file": lambda r: (
            f"**{r['end_to_end'][ADAPTIVE_FILE]['ratio']:.2f}**"
        ),
        "the same, live": lambda r: f"{r['end_to_end'][ADAPTIVE_LIVE]['ratio']:.2f}",
        f"HR every {OFTEN} frames, labels moved on": lambda r: f"{r['end_to_end'][HR_OFTEN]['ratio']:.2f}",
        "`paper`: HR + LR + CReFF (arithmetic alone: 3.0)": lambda r: f"{r['end_to_end'][PAPER]['ratio']:.2f}",
        "LR branch, share of HR's time": lambda r: (
            f"{r['alone']['lr frame']['median'] / r['alone']['hr']['median']:.0%}"
        ),
        "a moved frame beyond plain decoding, against that, processor time": lambda r: (
            f"{r['moved'][ADAPTIVE_FILE]['ratio']:.1f}"
        ),
        "`paper`'s share of the bound that the networks' own times set": lambda r: (
            f"{r['share_of_bound']:.0%} of {r['bound']:.2f}"
        ),
        "CReFF, last layer and labels, share of the LR network": lambda r: f"{r['beside_lr']:.1%}",
        "`paper` without the native library, ms a frame": lambda r: f"{r['end_to_end']['paper bodies']['median']:.0f}",
        "`paper`: decoding, motion, conversion not overlapped": lambda r: f"{r['exposed']:.1%} of the time",
        "peak memory of the process; without look-ahead": lambda r: (
            f"{r['peak_megabytes'] / 1e3:.2f} GB; {r['peak_megabytes_live'] / 1e3:.2f} GB"
        ),
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
    parser.add_argument("--only", choices=("accuracy", "bench", "tables"), help="Measure only this.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--shifts", type=int, default=INTERVAL, help="Clips for accuracy, 1 to 12.")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    kept = given.work / "measured.json"
    known = {each.name for each in fields(Measured)}
    before = json.loads(kept.read_text()) if kept.exists() else {}
    measured = Measured(**{name: value for name, value in before.items() if name in known})

    dataset = open_dataset(given.camvid, "val")
    images = [read_image(path) for path in dataset.sequences[0].frames]
    shifts = [number * INTERVAL // given.shifts for number in range(given.shifts)]
    clips = [encode(iter(images[shift:]), given.work / f"{shift}.mkv", 1_500_000) for shift in shifts]
    enlarged = (cv2.resize(each, LARGE[::-1], interpolation=cv2.INTER_CUBIC) for each in images[:LARGE_FRAMES])
    large = encode(enlarged, given.work / "large.mkv", 3_000_000)

    if given.only in (None, "accuracy"):
        measure_accuracy(measured, dataset, clips)
        kept.write_text(json.dumps(vars(measured), indent=2))
    if given.only in (None, "bench"):
        measured.note = (
            f"Measured by `python benchmarks/readme.py` with {THREADS} threads of {processor()}, medians of "
            f"{given.rounds} rounds."
        )
        measured.bench[DEMO] = bench(demo_bundle(), clips[0], given.rounds)
        for family in FAMILIES:
            bundle = export(family, given.work / f"{family}.arseg")
            measured.bench[family] = bench(bundle, large, given.rounds)
        kept.write_text(json.dumps(vars(measured), indent=2))
    write_figures(ROOT / "README.md", main_table(measured))
    if measured.bench:
        note = (
            f"`python benchmarks/readme.py`, on {processor()}; medians of {given.rounds} rounds, variants taking turns."
        )
        write_figures(
            ROOT / "docs" / "experiments.md", bench_table({family: measured.bench[family] for family in FAMILIES}, note)
        )


if __name__ == "__main__":
    main()

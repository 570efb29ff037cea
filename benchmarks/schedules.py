"""What each schedule brings and costs on a labelled clip: a table, and a picture of mIoU against arithmetic or time.

    python benchmarks/schedules.py ../shared/camvid --output docs/schedules.png          # any machine
    python benchmarks/schedules.py ../shared/camvid --output docs/schedules.png --time   # one that must be idle

HR on every frame, LR alone, and AR as in the paper stand beside HR every so many frames with labels moved along
between, from one side (as live) and from both (as of a file), and the adaptive schedule. Accuracy is that of
``arseg-edge eval``: over all alignments of the keyframes to the labels, or as many as ``--shifts`` says. Times are of
whole streams from the first frame to the last, of the first sequence at the first alignment; the ways take turns in
every round, and the medians count. A second picture beside the first shows mIoU against time then.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from time import perf_counter
from typing import Any

from arseg_edge.bundle import check_writable, read_bundle
from arseg_edge.cli.options import parse_size, print_table
from arseg_edge.cli.schedule_table import print_schedules
from arseg_edge.datasets import Dataset, open_dataset
from arseg_edge.datasets.encode import Encoding, encode_clip
from arseg_edge.datasets.sequence import read_image
from arseg_edge.demo import demo_bundle
from arseg_edge.evaluation.bundle_predictor import BundlePredictor
from arseg_edge.evaluation.by_distance import evaluate
from arseg_edge.evaluation.plot import check_matplotlib
from arseg_edge.evaluation.schedules import Row
from arseg_edge.runtime.inference.cpu_budget import usable_cores
from arseg_edge.runtime.schedule.variants import schedules
from arseg_edge.whole_files import replace_file

TICKS = (1, 2, 3, 5, 8, 10, 15, 20, 30, 50, 75, 100, 150, 200, 300, 500)


def milliseconds(predictor: BundlePredictor, video: Path, interval: int, rounds: int) -> dict[str, float]:
    """Return the time of a frame, by the row's name; LR alone is no schedule, and has none."""
    ways: dict[str, dict[str, Any]] = {"hr": {"interval": 1}, "ar": {"interval": interval}}
    ways |= {each.name: {"interval": each.interval, **each.settings} for each in schedules(interval)}
    times: dict[str, list[float]] = {name: [] for name in ways}
    # The first round warms up.
    for turn in range(rounds + 1):
        for name, settings in ways.items():
            start = perf_counter()
            frames = sum(1 for _ in predictor.stream(video, **settings))
            if turn:
                times[name].append((perf_counter() - start) * 1e3 / frames)
        print(f"round {turn} of {rounds} is timed" if turn else "warmed up", file=sys.stderr)
    return {name: statistics.median(values) for name, values in times.items()}


def timed(predictor: BundlePredictor, dataset: Dataset, encoding: Encoding, rounds: int) -> dict[str, float]:
    """Time all ways on the data set's first sequence."""
    frames = dataset.sequences[0].frames
    if isinstance(frames, Path):
        return milliseconds(predictor, frames, encoding.interval, rounds)
    with tempfile.TemporaryDirectory(prefix="arseg-edge-") as folder:
        video = Path(folder) / "clip.mkv"
        encode_clip(map(read_image, frames), video, encoding)
        return milliseconds(predictor, video, encoding.interval, rounds)


def draw(rows: Sequence[Row], times: Mapping[str, float], title: str, path: Path) -> None:
    """Write the picture: against arithmetic, and where there are times against them, too.

    LR alone lies so far below all others that it would squeeze them together: it stands in the table only.
    """
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    by_name = {row.name: row for row in rows}
    lines = {
        "HR every k, moved from one side (live)": "one-side",
        "HR every k, moved from both sides (file)": "both-sides",
    }
    points = {
        "hr": ("HR on every frame", "s", "#444444"),
        "ar": ("AR (paper)", "D", "#b03060"),
        "adaptive-live-lr": (by_name["adaptive-live-lr"].title, "P", "#7a9e3a"),
        "adaptive-live": ("adaptive, live", "*", "#1f6fb4"),
        "adaptive-file": ("adaptive, file", "*", "#c02020"),
    }

    def panel(axes: Axes, cost: Mapping[str, float], label: str) -> None:
        for (text, ending), colour in zip(lines.items(), ("#8fb8d8", "#e8a0a0"), strict=True):
            series = sorted((cost[name], by_name[name].score, name) for name in cost if name.endswith(ending))
            axes.plot([each[0] for each in series], [each[1] for each in series], "o-", color=colour, label=text)
            for x, y, name in series:
                axes.annotate(name.split("-")[2], (x, y), (0, -12), textcoords="offset points", ha="center", fontsize=7)
        for name, (text, marker, colour) in points.items():
            if name in cost:
                size = 13 if marker == "*" else 8
                axes.plot(cost[name], by_name[name].score, marker, ms=size, color=colour, label=text, zorder=3)
        axes.set(xscale="log", xlabel=label, ylabel="mIoU, %")
        least, most = 0.99 * min(cost.values()), 1.01 * max(cost.values())
        ticks = [tick for tick in TICKS if least <= tick <= most]
        axes.set_xticks(ticks, map(str, ticks))
        axes.minorticks_off()
        axes.grid(alpha=0.3)

    figure = Figure(figsize=(13 if times else 8, 5), layout="constrained")
    panels = figure.subplots(1, 2 if times else 1, squeeze=False)[0]
    shares = {row.name: 100 * row.arithmetic for row in rows if row.name != "lr"}
    panel(panels[0], shares, "multiply-accumulates, % of HR on every frame")
    if times:
        panel(panels[1], times, "milliseconds a frame, as a stream")
    panels[0].legend(fontsize=8, loc="lower right")
    figure.suptitle(title)
    replace_file(path, lambda file: figure.savefig(file, format="png", dpi=130))


def main() -> None:
    """Print the table and write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--output", type=Path, required=True, help="the PNG")
    parser.add_argument("--model", type=Path, default=demo_bundle())
    parser.add_argument("--split")
    parser.add_argument("--interval", type=int, help="[default: the bundle's]")
    parser.add_argument("--shifts", type=int, help="alignments of the keyframes to the labels [default: all]")
    parser.add_argument("--limit", type=int, help="only the first so many sequences")
    parser.add_argument("--bitrate", type=int, default=1_500_000)
    parser.add_argument("--frame-rate", type=Fraction, default=Fraction(15))
    parser.add_argument("--size", help="that the networks see, such as 720x960")
    parser.add_argument("--threads", type=int, default=usable_cores())
    parser.add_argument("--time", action="store_true", help="time whole streams, too: the machine must be idle")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    check_matplotlib()
    check_writable(given.output)
    size = None if given.size is None else parse_size(given.size)
    predictor = BundlePredictor(read_bundle(given.model), threads=given.threads, providers="cpu", size=size)
    dataset = open_dataset(given.dataset, given.split)
    encoding = Encoding("libx264", given.bitrate, given.interval or predictor.interval, given.frame_rate)
    report = evaluate(
        predictor,
        dataset,
        encoding,
        frame_rate=given.frame_rate,
        shifts=given.shifts,
        limit=given.limit,
        progress=lambda what, done, total: print(f"[{done}/{total}] {what}", file=sys.stderr),
    )
    times = timed(predictor, dataset, encoding, given.rounds) if given.time else {}
    title = f"{report.model} on {report.dataset}, interval {encoding.interval}, {len(report.shifts)} alignments"
    draw(report.schedules, times, title, given.output)
    if given.json:
        rows = [{**row.as_dict("miou"), "milliseconds": times.get(row.name)} for row in report.schedules]
        print(json.dumps(rows, indent=2))
        return
    print(title)
    print_schedules(report.schedules, "mIoU")
    if times:
        print()
        cells = [
            (row.title, f"{times[row.name]:.2f}", f"{times['hr'] / times[row.name]:.2f}")
            for row in report.schedules
            if row.name in times
        ]
        print_table(cells, header=(f"in a stream, {given.threads} threads", "ms a frame", "times as fast as HR"))


if __name__ == "__main__":
    main()

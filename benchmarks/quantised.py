"""A quantised bundle beside the float one that it was made of: time of HR and of LR with its fusion, in turns.

    python benchmarks/quantised.py FLOAT.arseg INT8.arseg VIDEO [--size 720x960] [--rounds 9] [--threads 2]

Bare sessions of ONNX Runtime as the runtime opens them, labels alone asked for; medians over the rounds.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
from time import perf_counter

from arseg_edge.bundle import read_bundle
from arseg_edge.cli.options import parse_size
from arseg_edge.runtime.read_motion import read_motion
from arseg_edge.runtime.reports.alone import Alone


def main() -> None:
    """Print milliseconds and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("float_bundle")
    parser.add_argument("int8_bundle")
    parser.add_argument("video")
    parser.add_argument("--size", default="720x960")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    frames = list(itertools.islice(read_motion(given.video), 8))
    alone = {
        name: Alone(read_bundle(path), given.threads, frames, parse_size(given.size))
        for name, path in (("float", given.float_bundle), ("int8", given.int8_bundle))
    }
    runs = {("HR", name): each.hr for name, each in alone.items()}
    for name, each in alone.items():
        if each.between is not None:
            runs |= {("LR frame", name): each.between.lr_frame, ("LR network", name): each.between.lr_network}
    milliseconds: dict[tuple[str, str], list[float]] = {run: [] for run in runs}
    for number in range(given.rounds + 1):
        for run, work in runs.items():
            start = perf_counter()
            work()
            if number:
                milliseconds[run].append((perf_counter() - start) * 1e3)
    for what in dict.fromkeys(what for what, _ in runs):
        before, after = (statistics.median(milliseconds[what, name]) for name in ("float", "int8"))
        print(f"{what:12} float {before:8.2f} ms   int8 {after:8.2f} ms   {before / after:.2f} times as fast")
    for name, each in alone.items():
        if each.between is not None:
            print(f"{name}: operators of an LR frame, ms: {each.between.operators()}")


if __name__ == "__main__":
    main()

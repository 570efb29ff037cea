"""Where the processor's time goes, frame by frame, beside the network's own.

    python benchmarks/frame_cost.py build/figures/large.mkv          # the clip that benchmarks/readme.py makes
    python benchmarks/frame_cost.py drive.mp4 -m street.arseg --rounds 9

Everything is milliseconds of processor time for a frame, medians over the rounds, in which all take turns. The first
table is of moved frames alone: what everybody pays who decodes the video, and what is paid beyond that, with the native
library and without. The second is of whole streams; in "cores" is how many processors were busy on the average, which
says nothing where other programs want them too.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
from collections import defaultdict
from collections.abc import Callable
from time import perf_counter, process_time

from arseg_edge.bundle import Bundle, read_bundle
from arseg_edge.demo import demo_bundle
from arseg_edge.runtime.inference.networks import Networks, load_networks
from arseg_edge.runtime.reports.first_frames import FirstFrames
from arseg_edge.runtime.reports.moved_cost import Looked, MovedClock
from arseg_edge.runtime.reports.ways import ADAPTIVE, HR, LIVE, PAPER, Way, ways_of
from arseg_edge.runtime.schedule.adaptive import default_intervals
from arseg_edge.runtime.segmenter import Segmenter
from arseg_edge.runtime.source.open_source import open_source

SWITCH = "ARSEG_EDGE_NATIVE"
Stream = tuple[float, float, float]
"""Seconds of the clock, seconds of processor time, and frames."""


def looked(video: str, count: int, networks: Networks, segmenter: Segmenter) -> Looked:
    """Return what the networks say of a way's frames, and logits of one of them."""
    labels = {}
    with FirstFrames(open_source(video), count) as source, segmenter.stream(source) as results:
        for result in results:
            if result.branch != "moved":
                labels[result.index], picture = result.labels, result.rgb
    return Looked(labels, networks.run_keyframe(picture, picture.shape[:2], logits=True)[0].logits)


def stream(video: str, count: int, segmenter: Segmenter) -> Stream:
    """Segment the first frames of a video that is open."""
    with FirstFrames(open_source(video), count) as source:
        wall, processor, frames = perf_counter(), process_time(), 0
        for _ in segmenter.stream(source):
            frames += 1
        return perf_counter() - wall, process_time() - processor, frames


def bare(networks: Networks, video: str, count: int) -> Stream:
    """Run HR on its own, on a frame of the video."""
    with open_source(video) as source:
        picture = next(source.frames()).rgb
    wall, processor = perf_counter(), process_time()
    for _ in range(count):
        networks.run_keyframe(picture, picture.shape[:2])
    return perf_counter() - wall, process_time() - processor, count


def print_streams(streams: dict[str, list[Stream]]) -> None:
    """Print a line for each."""
    print(f"\n{'a whole stream, ms a frame':44} {'clock':>8} {'processor':>9} {'cores':>6}")
    for name, rounds in streams.items():
        wall, processor = (statistics.median(each[part] / each[2] for each in rounds) * 1e3 for part in (0, 1))
        print(f"{name:44} {wall:8.1f} {processor:9.1f} {processor / wall:6.2f}")


def print_moved(clocks: dict[tuple[str, str], MovedClock]) -> None:
    """Print a line for each."""
    head = ("decoding", "vectors", "following", "moving", "ratio")
    print(f"{'a moved frame, ms':44}" + "".join(f"{each:>10}" for each in head))
    for (name, native), clock in clocks.items():
        cost = clock.cost()
        if cost is None or cost.decoding is None:
            print(f"{name}: no frame is moved, or the source is no file")
            continue
        vectors = cost.decoding_with_vectors - cost.decoding
        values = (cost.decoding, vectors, cost.following, cost.moving, cost.ratio or 0.0)
        print(
            f"{name + ('' if native == '1' else ', without library'):44}" + "".join(f"{each:10.2f}" for each in values)
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video")
    parser.add_argument("-m", "--model", help="A bundle; the demo model if not given.")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--frames", type=int, default=48)
    given = parser.parse_args()
    bundle: Bundle = read_bundle(given.model or demo_bundle())
    interval, count, video = bundle.manifest.interval, given.frames, given.video
    networks = load_networks(bundle, providers="cpu", threads=given.threads, scale=None)
    anchors = default_intervals(interval)
    lr = bundle.manifest.has_lr
    ways: dict[str, Way] = {way.name: way for way in ways_of(interval, None, given.threads, anchors=anchors, lr=lr)}
    segmenters = {name: Segmenter(bundle, networks, way.settings) for name, way in ways.items()}
    clocks = {
        (name, native): MovedClock(video, count, ways[name], bundle, looked(video, count, networks, segmenters[name]))
        for name, native in itertools.product((LIVE, ADAPTIVE), "10")
    }
    few = max(2, count // 6)
    wholes: dict[str, Callable[[], Stream]] = {"HR in a bare session": lambda: bare(networks, video, few)}
    for name in (HR, *([PAPER] if lr else []), LIVE, ADAPTIVE):
        frames = few if name == HR else count
        wholes[ways[name].words] = lambda name=name, frames=frames: stream(video, frames, segmenters[name])  # type: ignore[misc]
    streams: dict[str, list[Stream]] = defaultdict(list)
    for _ in range(given.rounds):
        for (_, native), clock in clocks.items():
            os.environ[SWITCH] = native
            clock.measure()
        os.environ[SWITCH] = "1"
        for name, whole in wholes.items():
            streams[name].append(whole())
    print_moved(clocks)
    print_streams(streams)


if __name__ == "__main__":
    main()

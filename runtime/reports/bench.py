"""What AR-Seg saves on this device, in seconds: everything in one run, the variants taking turns.

A machine's speed drifts, so only ratios of what ran side by side mean anything: every round runs every
variant once, and figures are medians over the rounds. All ratios are to HR on every frame in a bare session of ONNX
Runtime, which neither decodes nor converts nor keeps anything: what a user has without this package, at its best.
"""

from __future__ import annotations

import itertools
import statistics
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Final

import numpy as np

from arseg_edge.bundle import Bundle
from arseg_edge.errors import SourceError
from arseg_edge.results import Branch, Result, Speed
from arseg_edge.runtime.inference.native_operators import native_operators
from arseg_edge.runtime.inference.network_size import network_size
from arseg_edge.runtime.inference.networks import load_networks
from arseg_edge.runtime.inference.providers import CPU, Provider
from arseg_edge.runtime.labels.seen import Labels
from arseg_edge.runtime.pipeline import AHEAD
from arseg_edge.runtime.read_motion import read_motion
from arseg_edge.runtime.reports.alone import MATMUL_SIZE, Alone
from arseg_edge.runtime.reports.first_frames import FirstFrames
from arseg_edge.runtime.reports.moved_cost import Looked, MovedClock, MovedCost
from arseg_edge.runtime.reports.ways import HR, PAPER, Way, ways_of
from arseg_edge.runtime.schedule.adaptive import default_intervals
from arseg_edge.runtime.segmenter import Segmenter
from arseg_edge.runtime.source.location import scheme, shown
from arseg_edge.runtime.source.open_source import Source, open_source
from arseg_edge.schedule_choice import ADAPTIVE_FILE, ADAPTIVE_LIVE

BARE: Final = "hr bare"
BODIES: Final = "paper bodies"

INTERVALS: Final = 4
"""How many the timed frames are, where nothing else is asked for."""

_HR_FRAMES: Final = 4
"""Frames that HR on every frame is timed on in a round: one frame is like another."""
_REPEATS: Final = 3
"""Runs of a single session in a round."""


@dataclass(frozen=True)
class Timing:
    """Milliseconds of one thing over the rounds: the median, and the quartiles around it."""

    median: float
    lower: float
    upper: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Timing:
        """Return the timing of ``values`` in milliseconds."""
        lower, median, upper = np.percentile(values, [25, 50, 75]).tolist()
        return cls(median, lower, upper)


@dataclass(frozen=True)
class WayTiming(Timing):
    """Milliseconds a frame of a way to make the labels of all frames."""

    ratio: float
    """HR in a bare session over this way, of medians."""
    branches: dict[Branch, float]
    """The share of the frames, 0 to 1, that each branch made."""
    words: str
    """The way's name for people."""


@dataclass(frozen=True)
class BenchReport:
    """All that ``arseg-edge bench`` measures; milliseconds are per frame, ratios are of medians."""

    bundle: str
    video: str
    size: tuple[int, int]
    """(height, width) of the video."""
    network_size: tuple[int, int]
    """What the networks see it at."""
    threads: int
    interval: int
    frames: int
    """How many of the video were timed: of ``hr`` and ``paper bodies`` the first of these."""
    rounds: int
    native: bool
    end_to_end: dict[str, WayTiming]
    """``hr bare`` in an ``InferenceSession``, all others through the runtime, from a source that is open: ``hr``,
    ``hr-every-K-one-side``, ``paper``, ``adaptive-live``, ``adaptive-live-lr`` and, of files, ``adaptive-file``;
    ``paper bodies`` without the native library."""
    alone: dict[str, Timing]
    """Single sessions: ``hr``, ``lr frame`` (to its labels), ``lr network`` (up to its feature)."""
    moved: dict[str, MovedCost]
    """What a moved frame costs beside decoding, for ``adaptive-live`` and ``adaptive-file``, where they move labels."""
    stages: dict[str, dict[str, float]]
    """Of ``paper``, where there is LR, and ``adaptive-file`` (``adaptive-live`` where there is no file): the median
    milliseconds, by stage, of the frames that go through it."""
    operators: dict[str, float]
    """Of an LR frame: milliseconds in each custom operator, as ONNX Runtime's profiler has them."""
    bound: float | None
    """n / (k + (n − k)·t_LR/t_HR), for n frames and k keyframes of ``paper``: its ratio if everything but the networks
    cost nothing. None, as the next three, where there is no LR."""
    share_of_bound: float | None
    """How much of that ``paper`` reaches."""
    beside_lr: float | None
    """Everything in an LR frame except the LR network, as a share of the LR network's time."""
    exposed: float | None
    """Share of the wall time of ``paper`` in which inference waited for decoding, motion and conversion."""
    sgemm_gflops: float
    hr_gflops: float
    startup_seconds: float
    peak_megabytes: float
    """Of a process that segments the frames, by the default schedule: of a file with look-ahead.

    Look-ahead keeps decoded pictures until the next frame that a network sees is known: no more than
    ``lookahead_megabytes``, however long the video is."""
    peak_megabytes_live: float
    """The same without look-ahead."""
    lookahead_megabytes: float
    """The bound on what look-ahead keeps, for a picture of 4:2:0: four times the interval of decoded pictures (a group
    that is put together, two that wait, one that is worked on), with the RGB of each group's network frame, and the
    labels of one group. 0 where there is none."""
    macs: dict[str, int]


def run_bench(
    bundle: Bundle,
    video: str,
    *,
    threads: int,
    rounds: int,
    interval: int | None = None,
    size: tuple[int, int] | None = None,
    frames: int | None = None,
    progress: Callable[[str], None] = lambda what: None,
) -> BenchReport:
    """Measure ``bundle`` on the first ``frames`` of ``video``, on the CPU; ``size`` is as for ``arseg_edge.load``.

    Without ``frames`` they are ``INTERVALS`` intervals; a shorter video is measured as far as it goes.

    Raises:
        SizeError: the networks do not run at ``size``, or without it at the video's.
        SourceError: the video cannot be read, or has but one frame.
        BundleError, OperatorError: as for loading.
    """
    anchors = default_intervals(bundle.manifest.interval) if interval is None else None
    interval = interval or bundle.manifest.interval
    count = frames or INTERVALS * interval
    rule = network_size(bundle.manifest, bundle.path.name, size, resize=False)
    first = list(itertools.islice(read_motion(video, interval), min(interval, count)))
    if len(first) < 2:
        raise SourceError(f"{shown(video)}: a single frame, which has nothing to draw on: give a longer video")
    video_size = first[0].decoded.height, first[0].decoded.width
    seen = rule.of(*video_size)
    progress("loading")
    with open_source(video) as source:
        files = source.at_hand
    startup, peak_live = _fresh_process(bundle, video, threads, interval, seen, count, lookahead=False)
    peak = _fresh_process(bundle, video, threads, interval, seen, count, lookahead=True)[1] if files else peak_live
    native = native_operators(Provider(CPU)) is not None
    alone = Alone(bundle, threads, first, seen)
    ways = ways_of(interval, size, threads, anchors=anchors, files=files, lr=bundle.manifest.has_lr)
    # One pair of networks for all: they take turns, and of some the memory is large.
    networks = load_networks(bundle, providers="cpu", threads=threads, scale=None)
    runs = [_Run(way, Segmenter(bundle, networks, way.settings), video, _frames_of(way, count)) for way in ways]
    paper = next((way for way in ways if way.name == PAPER), None)
    if native and paper is not None:
        bodies = load_networks(bundle, providers="cpu", threads=threads, scale=None, native=False)
        way = replace(paper, name=BODIES, words="paper, function bodies")
        runs.append(_Run(way, Segmenter(bundle, bodies, way.settings), video, min(count, interval)))
    singles = {BARE: alone.hr, "sgemm": alone.sgemm}
    if alone.between is not None:
        singles |= {"lr frame": alone.between.lr_frame, "lr network": alone.between.lr_network}
    milliseconds: dict[str, list[float]] = {name: [] for name in singles}
    clocks: dict[str, MovedClock] = {}
    # The first round warms up and does not count.
    for number in range(rounds + 1):
        for run in runs:
            progress(f"round {number} of {rounds}: {run.way.words}")
            run.measure(counts=number > 0)
        for name, single in singles.items():
            progress(f"round {number} of {rounds}: {name}")
            # As in a stream, where its own like came before and left its weights in the cache.
            single()
            milliseconds[name].append(statistics.median(_milliseconds(single) for _ in range(_REPEATS)))
        if number == 0:
            logits = alone.logits()
            for run in runs:
                if run.way.name in (ADAPTIVE_LIVE, ADAPTIVE_FILE):
                    clocks[run.way.name] = MovedClock(video, count, run.way, bundle, Looked(run.labels, logits))
            continue
        for name, clock in clocks.items():
            progress(f"round {number} of {rounds}: moved frames of {name}")
            clock.measure()
    timings = {name: Timing.of(values[1:]) for name, values in milliseconds.items()}

    t_hr = timings[BARE].median
    by_name = {run.way.name: run for run in runs}
    ends = {BARE: _way_timing(timings[BARE], t_hr, {"hr": 1.0}, "HR on every frame, bare InferenceSession")}
    ends |= {name: run.timing(t_hr) for name, run in by_name.items()}
    default = ADAPTIVE_FILE if files else ADAPTIVE_LIVE
    bound = None if paper is None else _bound_of(by_name[PAPER], timings)
    return BenchReport(
        bundle=bundle.path.name,
        video=shown(video) if scheme(video) else Path(video).name,
        size=video_size,
        network_size=seen,
        threads=threads,
        interval=interval,
        frames=len(by_name[default].branches),
        rounds=rounds,
        native=native,
        end_to_end=ends,
        alone={"hr": timings[BARE], **{name: each for name, each in timings.items() if name.startswith("lr ")}},
        moved={name: cost for name, clock in clocks.items() if (cost := clock.cost()) is not None},
        stages={name: _stages(by_name[name].speeds) for name in (PAPER, default) if name in by_name},
        operators=alone.between.operators() if native and alone.between is not None else {},
        bound=None if bound is None else bound.bound,
        share_of_bound=None if bound is None else ends[PAPER].ratio / bound.bound,
        beside_lr=None if bound is None else bound.beside_lr,
        exposed=None if bound is None else by_name[PAPER].waiting(),
        sgemm_gflops=2 * MATMUL_SIZE**3 / timings["sgemm"].median / 1e6,
        hr_gflops=2 * _macs_at(bundle, seen) / t_hr / 1e6,
        startup_seconds=startup,
        peak_megabytes=peak,
        peak_megabytes_live=peak_live,
        lookahead_megabytes=_lookahead_bytes(interval, video_size) / 1e6 if files else 0.0,
        macs={
            "hr": bundle.manifest.macs.hr,
            **{f"lr {scale}": each for scale, each in bundle.manifest.macs.lr.items()},
            **({} if bundle.manifest.macs.creff is None else {"creff": bundle.manifest.macs.creff}),
        },
    )


@dataclass(frozen=True)
class _Bound:
    """``bound`` and ``beside_lr`` of a report."""

    bound: float
    beside_lr: float


def _bound_of(run: _Run, timings: Mapping[str, Timing]) -> _Bound:
    count, keyframes = len(run.branches), run.branches.count("hr")
    t_lr = timings["lr network"].median
    bound = count / (keyframes + (count - keyframes) * t_lr / timings[BARE].median)
    return _Bound(bound, timings["lr frame"].median / t_lr - 1)


class _Run:
    """A way at work on the first frames of a video, once a round."""

    def __init__(self, way: Way, segmenter: Segmenter, video: str, count: int) -> None:
        self.way = way
        self._segmenter, self._video, self._count = segmenter, video, count
        self._milliseconds: list[float] = []
        self.branches: list[Branch] = []
        """Of the frames of a round; each is like the other."""
        self.labels: dict[int, Labels] = {}
        """Of the frames that a network saw in the round that does not count, by index."""
        self.speeds: list[Speed] = []

    def measure(self, *, counts: bool) -> None:
        """Segment all frames, whose results are let go at once."""
        self.branches = []

        def keep(result: Result) -> None:
            self.branches.append(result.branch)
            if counts:
                self.speeds.append(result.speed)
            elif result.branch != "moved":
                self.labels[result.index] = result.labels

        # Opening a file takes as long as many frames: FFmpeg decodes some of them to find out what is in it.
        with FirstFrames(open_source(self._video), self._count) as source:
            milliseconds = _milliseconds(lambda: _drain(self._segmenter, source, keep))
        if counts:
            self._milliseconds.append(milliseconds)

    def timing(self, bare: float) -> WayTiming:
        """Return milliseconds a frame, beside those of HR in a bare session."""
        shares = {branch: each / len(self.branches) for branch, each in sorted(Counter(self.branches).items())}
        timing = Timing.of([each / len(self.branches) for each in self._milliseconds])
        return _way_timing(timing, bare, shares, self.way.words)

    def waiting(self) -> float:
        """Return the share of the time in which no network ran."""
        stages = (each for speed in self.speeds for each in speed.milliseconds.items())
        inferring = sum(value for stage, value in stages if stage in ("hr", "lr"))
        return max(0.0, 1 - inferring / sum(self._milliseconds))


def _frames_of(way: Way, count: int) -> int:
    return min(count, _HR_FRAMES) if way.name == HR else count


def _way_timing(timing: Timing, bare: float, branches: dict[Branch, float], words: str) -> WayTiming:
    return WayTiming(timing.median, timing.lower, timing.upper, bare / timing.median, branches, words)


def _milliseconds(run: Callable[[], object]) -> float:
    start = perf_counter()
    run()
    return (perf_counter() - start) * 1e3


def _drain(segmenter: Segmenter, source: Source, keep: Callable[[Result], None]) -> None:
    with segmenter.stream(source) as results:
        for result in results:
            keep(result)


def _stages(speeds: Iterable[Speed]) -> dict[str, float]:
    values: dict[str, list[float]] = {}
    for speed in speeds:
        for stage, value in speed.milliseconds.items():
            values.setdefault(stage, []).append(value)
    return {stage: statistics.median(each) for stage, each in values.items()}


def _lookahead_bytes(interval: int, size: tuple[int, int]) -> float:
    groups, yuv, rgb = AHEAD + 2, 1.5, 3.0
    return (groups * (interval * yuv + rgb) + interval) * size[0] * size[1]


def _macs_at(bundle: Bundle, size: tuple[int, int]) -> float:
    """Return HR's multiply-accumulates, scaled from the size that they were counted at."""
    converted = bundle.manifest.converted
    if converted is not None and converted.size is not None:
        return bundle.manifest.macs.hr
    height, width = bundle.manifest.macs.size
    return bundle.manifest.macs.hr * size[0] * size[1] / (height * width)


_PROBE = """
import itertools, sys, time
start = time.perf_counter()
import arseg_edge
threads, interval, height, width, count, lookahead = map(int, sys.argv[2:])
segmenter = arseg_edge.load(
    *sys.argv[1:2],
    providers="cpu", threads=threads, interval=interval, size=(height, width), lookahead=bool(lookahead),
)
loaded = time.perf_counter() - start
results = segmenter.stream(sys.stdin.read())
for _ in itertools.islice(results, count):
    pass
results.close()
try:
    import resource
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
except ImportError:
    peak = float("nan")
print(loaded, peak)
"""


def _fresh_process(
    bundle: Bundle, video: str, threads: int, interval: int, size: tuple[int, int], count: int, *, lookahead: bool
) -> tuple[float, float]:
    """Return seconds from import to loaded sessions, and the peak memory in MB of a process that does only this."""
    numbers = map(str, (threads, interval, *size, count, int(lookahead)))
    command = [sys.executable, "-c", _PROBE, str(bundle.path), *numbers]
    # The video's address can have a password, which the arguments of a process show to everybody.
    out = subprocess.run(command, input=video, check=True, capture_output=True, text=True).stdout
    loaded, peak = map(float, out.split())
    return loaded, peak / 1e6

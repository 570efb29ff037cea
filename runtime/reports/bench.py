"""What AR-Seg saves on this device, in seconds: everything in one run, the variants taking turns.

A machine's speed drifts, so only ratios of what ran side by side mean anything: every round runs every
variant once, and figures are medians over the rounds.
"""

from __future__ import annotations

import itertools
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from arseg_edge.bundle import KEYFRAME, Bundle
from arseg_edge.errors import SourceError
from arseg_edge.onnx_bytes import ending_at, matmul_model
from arseg_edge.results import Result
from arseg_edge.runtime.inference.native_operators import native_operators
from arseg_edge.runtime.inference.network_size import network_size
from arseg_edge.runtime.inference.networks import load_networks
from arseg_edge.runtime.inference.providers import CPU, Provider
from arseg_edge.runtime.inference.sessions import feeds_of, open_session
from arseg_edge.runtime.motion.agreement import resized
from arseg_edge.runtime.read_motion import MotionFrame, read_motion
from arseg_edge.runtime.segmenter import Segmenter, Settings
from arseg_edge.runtime.source.location import scheme, shown
from arseg_edge.runtime.source.resizing import resized_picture

_MATMUL_SIZE = 1024
_HR_FRAMES = 4
"""Frames that HR on every frame is timed on in a round: one frame is like another."""
_REPEATS = 3
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
    rounds: int
    native: bool
    end_to_end: dict[str, Timing]
    """``hr`` and ``ar`` through the runtime, ``hr bare`` in an ``InferenceSession``, ``ar bodies`` without the
    native library; milliseconds a frame, of ``ar`` over whole keyframe intervals."""
    alone: dict[str, Timing]
    """Single sessions: ``hr``, ``ar frame``, ``lr network`` (up to its feature)."""
    stages: dict[str, float]
    """Median milliseconds a frame of ``ar``, by stage."""
    operators: dict[str, float]
    """Of an AR frame: milliseconds in each custom operator, as ONNX Runtime's profiler has them."""
    ratio: float
    """HR on every frame over AR."""
    bound: float
    """L / (1 + (L − 1)·t_LR/t_HR): the ratio if everything but the networks cost nothing."""
    beside_lr: float
    """Everything in an AR frame except the LR network, as a share of the LR network's time."""
    exposed: float
    """Share of AR's wall time in which inference waited for decoding, motion and conversion."""
    sgemm_gflops: float
    hr_gflops: float
    startup_seconds: float
    peak_megabytes: float
    macs: dict[str, int]

    @property
    def share_of_bound(self) -> float:
        """How much of the arithmetic bound is reached."""
        return self.ratio / self.bound


def run_bench(
    bundle: Bundle,
    video: str,
    *,
    threads: int,
    rounds: int,
    interval: int | None = None,
    size: tuple[int, int] | None = None,
    progress: Callable[[str], None] = lambda what: None,
) -> BenchReport:
    """Measure ``bundle`` on the first frames of ``video``, on the CPU; ``size`` is as for ``arseg_edge.load``.

    Raises:
        SizeError: the networks do not run at ``size``, or without it at the video's.
        SourceError: the video cannot be read, or is shorter than one keyframe interval.
        BundleError, OperatorError: as for loading.
    """
    interval = interval or bundle.manifest.interval
    rule = network_size(bundle.manifest, bundle.path.name, size, resize=False)
    frames = list(itertools.islice(read_motion(video, interval), interval))
    if len(frames) < interval:
        raise SourceError(
            f"{shown(video)}: {len(frames)} frames, fewer than one interval of {interval}: use a longer one"
        )
    video_size = frames[0].decoded.height, frames[0].decoded.width
    seen = rule.of(*video_size)
    progress("loading")
    startup, peak = _fresh_process(bundle, video, threads, interval, seen)
    native = native_operators(Provider(CPU)) is not None
    ar = _segmenter(bundle, threads, interval, size, native=True)
    hr = _segmenter(bundle, threads, 1, size, native=True)
    bodies = _segmenter(bundle, threads, interval, size, native=False)
    alone = _Alone(bundle, threads, frames, seen)

    results: list[Result] = []
    streams: dict[str, tuple[Callable[[], object], int]] = {
        "hr": (lambda: _drain(hr, video, _HR_FRAMES), _HR_FRAMES),
        "ar": (lambda: results.extend(_drain(ar, video, interval)), interval),
    }
    if native:
        streams["ar bodies"] = (lambda: _drain(bodies, video, interval), interval)
    singles = {"hr bare": alone.hr, "ar frame": alone.ar_frame, "lr network": alone.lr_network, "sgemm": alone.sgemm}
    milliseconds: dict[str, list[float]] = {name: [] for name in (*streams, *singles)}
    # The first round warms up and does not count.
    for number in range(rounds + 1):
        for name, (run, count) in streams.items():
            progress(f"round {number} of {rounds}: {name}")
            milliseconds[name].append(_milliseconds(run) / count)
        for name, single in singles.items():
            progress(f"round {number} of {rounds}: {name}")
            # As in a stream, where its own like came before and left its weights in the cache.
            single()
            milliseconds[name].append(statistics.median(_milliseconds(single) for _ in range(_REPEATS)))
        if number == 0:
            results.clear()
    timings = {name: Timing.of(values[1:]) for name, values in milliseconds.items()}

    t_hr, t_lr = timings["hr bare"].median, timings["lr network"].median
    ar_wall = timings["ar"].median * interval * rounds
    inferring = sum(
        value for result in results for stage, value in result.speed.milliseconds.items() if stage in ("hr", "lr")
    )
    return BenchReport(
        bundle=bundle.path.name,
        video=shown(video) if scheme(video) else Path(video).name,
        size=video_size,
        network_size=seen,
        threads=threads,
        interval=interval,
        rounds=rounds,
        native=native,
        end_to_end={name: timings[name] for name in ("hr", "hr bare", "ar", "ar bodies") if name in timings},
        alone={"hr": timings["hr bare"], **{name: timings[name] for name in ("ar frame", "lr network")}},
        stages=_stages(results),
        operators=alone.operators() if native else {},
        ratio=timings["hr"].median / timings["ar"].median,
        bound=interval / (1 + (interval - 1) * t_lr / t_hr),
        beside_lr=timings["ar frame"].median / t_lr - 1,
        exposed=max(0.0, 1 - inferring / ar_wall),
        sgemm_gflops=2 * _MATMUL_SIZE**3 / timings["sgemm"].median / 1e6,
        hr_gflops=2 * _macs_at(bundle, seen) / t_hr / 1e6,
        startup_seconds=startup,
        peak_megabytes=peak,
        macs={
            "hr": bundle.manifest.macs.hr,
            **{f"lr {scale}": count for scale, count in bundle.manifest.macs.lr.items()},
            "creff": bundle.manifest.macs.creff,
        },
    )


def _milliseconds(run: Callable[[], object]) -> float:
    start = perf_counter()
    run()
    return (perf_counter() - start) * 1e3


class _Alone:
    """Single sessions on fixed inputs, without a pipeline around them."""

    def __init__(self, bundle: Bundle, threads: int, frames: Sequence[MotionFrame], size: tuple[int, int]) -> None:
        """``size``: what the networks see the frames at; labels have the frames' own."""
        self._threads = threads
        self._nonkeyframe = bundle.read(bundle.manifest.low_resolution(None).member)
        provider = Provider(CPU)
        self._library = native_operators(provider)
        self._hr = open_session(bundle.read(KEYFRAME), provider, threads, KEYFRAME, self._library)
        self._ar = open_session(self._nonkeyframe, provider, threads, "nonkeyframe.onnx", self._library)
        lr = ending_at(self._nonkeyframe, "lr_feature", without=("Creff", "SegmentationLabels"))
        self._lr = open_session(lr, provider, threads, "nonkeyframe.onnx", self._library)
        self._matmul = open_session(matmul_model(_MATMUL_SIZE), provider, threads, "matmul", None)
        rng = np.random.default_rng(0)
        self._matrix = rng.random((_MATMUL_SIZE, _MATMUL_SIZE), np.float32)
        motion = next((frame.motion for frame in reversed(frames) if frame.motion is not None), None)
        if motion is None:
            raise SourceError("no frame of the first interval has motion: the saving cannot be measured on it")
        first, last = (np.ascontiguousarray(resized_picture(frames[at].rgb, size))[None] for at in (0, -1))
        sizes = {
            "frame_size": np.array(size, np.int64),
            "labels_size": np.array(frames[0].rgb.shape[:2], np.int64),
        }
        self._key = feeds_of(self._hr, {"frame": first, **sizes})
        inputs: dict[str, NDArray[np.generic]] = {
            "frame": last,
            "motion": np.ascontiguousarray(resized(motion, *size))[None],
            "keyframe_feature": self._hr.run(["feature"], self._key)[0],
            **sizes,
        }
        self._inputs = feeds_of(self._ar, inputs)

    def hr(self) -> None:
        """Run the HR network with its labels."""
        self._hr.run(None, self._key)

    def ar_frame(self) -> None:
        """Run everything that a frame between keyframes takes."""
        self._ar.run(None, self._inputs)

    def lr_network(self) -> None:
        """Run the LR network up to its feature, and no more."""
        self._lr.run(None, self._inputs)

    def sgemm(self) -> None:
        """Multiply two matrices on the same threads."""
        self._matmul.run(None, {"a": self._matrix, "b": self._matrix})

    def operators(self, runs: int = 5) -> dict[str, float]:
        """Return median milliseconds of each custom operator in an AR frame, by ONNX Runtime's profiler."""
        with tempfile.TemporaryDirectory() as folder:
            options = onnxruntime.SessionOptions()
            options.enable_profiling = True
            options.profile_file_prefix = str(Path(folder) / "profile")
            session = open_session(
                self._nonkeyframe, Provider(CPU), self._threads, "nonkeyframe.onnx", self._library, options
            )
            for _ in range(runs):
                session.run(None, self._inputs)
            events = json.loads(Path(session.end_profiling()).read_text())
        durations: dict[str, list[float]] = {}
        for event in events:
            operator = event.get("args", {}).get("op_name", "")
            if event["name"].endswith("_kernel_time") and operator in ("NormalizeImage", "Creff", "SegmentationLabels"):
                durations.setdefault(operator, []).append(event["dur"] / 1e3)
        return {operator: statistics.median(values) for operator, values in durations.items()}


def _segmenter(bundle: Bundle, threads: int, interval: int, size: tuple[int, int] | None, *, native: bool) -> Segmenter:
    networks = load_networks(bundle, providers="cpu", threads=threads, scale=None, native=native)
    return Segmenter(bundle, networks, Settings(interval, size))


def _drain(segmenter: Segmenter, video: str, count: int) -> list[Result]:
    results = segmenter.stream(video)
    try:
        return list(itertools.islice(results, count))
    finally:
        results.close()


def _stages(results: Sequence[Result]) -> dict[str, float]:
    values: dict[str, list[float]] = {}
    for result in results:
        for stage, value in result.speed.milliseconds.items():
            values.setdefault(stage, []).append(value)
    return {stage: statistics.median(each) for stage, each in values.items()}


def _macs_at(bundle: Bundle, size: tuple[int, int]) -> float:
    """Return HR's multiply-accumulates, scaled from the size that they were counted at."""
    height, width = bundle.manifest.macs.size
    return bundle.manifest.macs.hr * size[0] * size[1] / (height * width)


_PROBE = """
import itertools, sys, time
start = time.perf_counter()
import arseg_edge
threads, interval, height, width = map(int, sys.argv[2:])
segmenter = arseg_edge.load(sys.argv[1], providers="cpu", threads=threads, interval=interval, size=(height, width))
loaded = time.perf_counter() - start
results = segmenter.stream(sys.stdin.read())
for _ in itertools.islice(results, interval + 2):
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
    bundle: Bundle, video: str, threads: int, interval: int, size: tuple[int, int]
) -> tuple[float, float]:
    """Return seconds from import to loaded sessions, and the peak memory in MB of a process that does only this."""
    command = [sys.executable, "-c", _PROBE, str(bundle.path), *map(str, (threads, interval, *size))]
    # The video's address can have a password, which the arguments of a process show to everybody.
    out = subprocess.run(command, input=video, check=True, capture_output=True, text=True).stdout
    loaded, peak = map(float, out.split())
    return loaded, peak / 1e6

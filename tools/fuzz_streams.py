#!/usr/bin/env python3
"""Damage small encoded streams at random and read each with its motion: none may crash or hang.

    tools/fuzz_streams.py --flipped 500 --truncated 100 --seed 0

Every stream is read in a process that is watched. A stream passes when all frames that plain decoding gives come
out, with rising timestamps and finite motion, or when the error is one of the package's own. Prints a table and
ends with 1 when any stream failed.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import av
import av.error
import numpy as np
from av.video.stream import VideoStream

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "runtime"))

from streams import encode, panning

from arseg_edge.errors import ArsegError
from arseg_edge.runtime.read_motion import read_motion

KINDS = {
    "h264": ("libx264", "mp4", {}),
    "h264-b": ("libx264", "ts", {"b_frames": 2, "refs": 3}),
    "h264-raw": ("libx264", "h264", {}),
    "h264-intra": ("libx264", "mkv", {"gop": 1}),
    "hevc": ("libx265", "mkv", {}),
    "mpeg4": ("mpeg4", "avi", {"b_frames": 1}),
    "vp9": ("libvpx-vp9", "webm", {"options": {"deadline": "realtime", "cpu-used": "8"}}),
    "av1": ("libsvtav1", "mkv", {"options": {"preset": "12", "svtav1-params": "lp=1"}}),
}
"""Encoder, container and settings; H.264, whose vectors are used, in four ways."""

FRAMES, HEIGHT, WIDTH = 24, 96, 128
RATES = (1e-4, 1e-3)
"""Share of bits that are flipped."""

TIMEOUT = 30.0
"""Seconds after which reading a stream of one second counts as a hang."""


@dataclass(frozen=True)
class Case:
    """One damaged stream."""

    name: str
    path: Path


@dataclass(frozen=True)
class Outcome:
    """What came of it."""

    verdict: str
    """``whole``, ``partial``, ``error`` (typed), or a failure: ``crash``, ``hang``, ``lost`` or ``wrong``."""
    detail: str = ""

    @property
    def failed(self) -> bool:
        """Whether this must not happen."""
        return self.verdict in ("crash", "hang", "lost", "wrong")


def make_clips(folder: Path) -> dict[str, bytes]:
    """Encode one clip of each kind."""
    pictures = panning(FRAMES, HEIGHT, WIDTH, 2, 1)
    clips = {}
    for name, (codec, suffix, settings) in KINDS.items():
        path = encode(folder / f"{name}.{suffix}", pictures, codec, **settings)  # type: ignore[arg-type]
        clips[path.name] = path.read_bytes()
    return clips


def damage(clips: dict[str, bytes], folder: Path, flipped: int, truncated: int, seed: int) -> Iterator[Case]:
    """Write so many damaged streams, kinds and rates in turn."""
    chance = random.Random(seed)
    names = list(clips)
    for number in range(flipped + truncated):
        clip = names[number % len(names)]
        content = bytearray(clips[clip])
        if number < flipped:
            rate = RATES[number // len(names) % len(RATES)]
            for _ in range(max(1, round(rate * len(content) * 8))):
                bit = chance.randrange(len(content) * 8)
                content[bit // 8] ^= 1 << bit % 8
            damaged = f"flipped at {rate:g}"
        else:
            del content[chance.randrange(1, len(content)) :]
            damaged = "truncated"
        path = folder / f"{number:04d}-{clip}"
        path.write_bytes(content)
        yield Case(f"{damaged} {Path(clip).stem}", path)


def plain_count(path: Path) -> int:
    """Frames that FFmpeg's decoder gives, as PyAV hands them out, with errors passed over."""
    count = 0
    try:
        with av.open(str(path), metadata_errors="replace") as container:
            stream = container.streams.best("video")
            if not isinstance(stream, VideoStream) or stream.codec_context is None:
                return 0
            stream.thread_type = "SLICE"
            for packet in container.demux(stream):
                try:
                    count += len(stream.codec_context.decode(packet))
                except av.error.FFmpegError:
                    continue
    except (av.error.FFmpegError, OSError, IndexError):
        pass  # the last is PyAV's own, at the end of streams to which another was added
    return count


def read(path: Path) -> Outcome:
    """Read a stream with its motion and judge what comes."""
    count, last = 0, None
    try:
        for frame in read_motion(path):
            if last is not None and frame.pts <= last:
                return Outcome("wrong", f"frame {count} has pts {frame.pts} after {last}")
            if frame.rgb.ndim != 3 or frame.rgb.dtype != np.uint8:
                return Outcome("wrong", f"frame {count} is {frame.rgb.dtype} {frame.rgb.shape}")
            if frame.motion is not None and (
                frame.motion.shape != (*frame.rgb.shape[:2], 2) or not np.isfinite(frame.motion).all()
            ):
                return Outcome("wrong", f"motion of frame {count} does not fit it or is not finite")
            count, last = count + 1, frame.pts
    except ArsegError as error:
        if "\n" in str(error):
            return Outcome("wrong", f"message of several lines: {error}")
        outcome = Outcome("error", type(error).__name__)
    except Exception as error:
        return Outcome("wrong", f"{type(error).__name__}: {error}")
    else:
        outcome = Outcome("whole" if count == FRAMES else "partial")
    expected = plain_count(path)
    return outcome if count >= expected else Outcome("lost", f"{count} frames of {expected} that decode")


def _serve(pipe: Connection) -> None:
    logging.disable()
    while (path := pipe.recv()) is not None:
        pipe.send(read(path))


class Watched:
    """A process that reads streams, started anew when it crashes or hangs."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("spawn")
        self._start()

    def _start(self) -> None:
        self._pipe, other = self._context.Pipe()
        self._process = self._context.Process(target=_serve, args=(other,), daemon=True)
        self._process.start()
        other.close()

    def read(self, path: Path) -> Outcome:
        """As ``read``, with a crash or a hang as an outcome."""
        try:
            self._pipe.send(path)
            if self._pipe.poll(TIMEOUT):
                outcome = self._pipe.recv()
                assert isinstance(outcome, Outcome)
                return outcome
            outcome = Outcome("hang", f"no end after {TIMEOUT:g} s")
        except (EOFError, OSError):
            self._process.join()
            outcome = Outcome("crash", f"exit code {self._process.exitcode}")
        self._process.kill()
        self._start()
        return outcome

    def close(self) -> None:
        """End the process."""
        self._pipe.send(None)
        self._process.join()


def fuzz(folder: Path, flipped: int, truncated: int, seed: int) -> Iterator[tuple[Case, Outcome]]:
    """Damage, read and judge so many streams."""
    watched = Watched()
    try:
        for case in damage(make_clips(folder), folder, flipped, truncated, seed):
            yield case, watched.read(case.path)
    finally:
        watched.close()


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flipped", type=int, default=500)
    parser.add_argument("--truncated", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="Folder for the damaged streams.  [default: none is kept]")
    arguments = parser.parse_args()
    table: dict[str, Counter[str]] = {}
    failures = 0
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        for case, outcome in fuzz(folder, arguments.flipped, arguments.truncated, arguments.seed):
            table.setdefault(case.name, Counter())[outcome.verdict] += 1
            if outcome.failed:
                failures += 1
                print(f"{case.path.name} ({case.name}): {outcome.verdict}, {outcome.detail}", file=sys.stderr)
    for name, verdicts in sorted(table.items()):
        print(f"{name:28}" + ", ".join(f"{verdict} {count}" for verdict, count in sorted(verdicts.items())))
    print(f"{sum(verdicts.total() for verdicts in table.values())} streams, {failures} failed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

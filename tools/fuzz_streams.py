#!/usr/bin/env python3
"""Damage small encoded streams at random and read each with its motion: none may crash or hang.

    tools/fuzz_streams.py --flipped 500 --truncated 100 --lost 500 --seed 0

Bits are flipped, the end is cut off, or whole packets are left out, 1, 8 or 20 of a hundred. Every stream is read in a
process that is watched. A stream passes when all frames that plain decoding and FFmpeg's tool give come out, with
rising timestamps and finite motion, or when the error is one of the package's own. What packets are lost must be told:
counted as missing or damaged, and the chain of motion started again. Prints a table and ends with 1 when any stream
failed.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from multiprocessing.connection import Connection
from pathlib import Path

import av
import av.error
import numpy as np
from av.video.stream import VideoStream

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "runtime"))

from streams import change_packets, encode, panning

from arseg_edge.errors import ArsegError
from arseg_edge.runtime.read_motion import motion_frames
from arseg_edge.runtime.source.incidents import Incident
from arseg_edge.runtime.source.open_source import open_source

KINDS = {
    "h264": ("libx264", "mp4", {}),
    "h264-b": ("libx264", "ts", {"b_frames": 2, "refs": 3}),
    "h264-raw": ("libx264", "h264", {}),
    "h264-intra": ("libx264", "mkv", {"gop": 1}),
    "hevc": ("libx265", "mkv", {}),
    "mpeg4": ("mpeg4", "avi", {"b_frames": 1}),
    "mpeg2": ("mpeg2video", "ts", {}),
    "vp9": ("libvpx-vp9", "webm", {"options": {"deadline": "realtime", "cpu-used": "8"}}),
    "av1": ("libsvtav1", "mkv", {"options": {"preset": "12", "svtav1-params": "lp=1"}}),
}
"""Encoder, container and settings; H.264, whose vectors are used, in four ways."""

FRAMES, HEIGHT, WIDTH = 24, 96, 128
GOP = 12
RATES = (1e-4, 1e-3)
"""Share of bits that are flipped."""
LOSSES = (0.01, 0.08, 0.2)
"""Share of packets that are lost, but one at least."""
OTHER_DECODERS = ("av1",)
"""Decoded by a library that gives up more in some versions than in others, so that FFmpeg's tool is no measure."""

TIMEOUT = 30.0
"""Seconds after which reading a stream of one second counts as a hang."""


@dataclass(frozen=True)
class Case:
    """One damaged stream."""

    name: str
    path: Path
    lost: int = 0
    """Packets that are missing between others."""


@dataclass(frozen=True)
class Outcome:
    """What came of it."""

    verdict: str
    """``whole``, ``partial``, ``error`` (typed); or a failure: ``crash``, ``hang``, ``lost``, ``silent``, ``wrong``."""
    detail: str = ""

    @property
    def failed(self) -> bool:
        """Whether this must not happen."""
        return self.verdict in ("crash", "hang", "lost", "silent", "wrong")


def make_clips(folder: Path) -> dict[str, bytes]:
    """Encode one clip of each kind."""
    pictures = panning(FRAMES, HEIGHT, WIDTH, 2, 1)
    clips = {}
    for name, (codec, suffix, settings) in KINDS.items():
        path = encode(folder / f"{name}.{suffix}", pictures, codec, **{"gop": GOP, **settings})  # type: ignore[arg-type]
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


def lose(clips: dict[str, bytes], folder: Path, lost: int, seed: int) -> Iterator[Case]:
    """Write so many streams without some of the packets between the first and the last, kinds and shares in turn."""
    chance = random.Random(seed)
    names = list(clips)
    whole = folder / "whole"
    whole.mkdir(exist_ok=True)
    for number in range(lost):
        clip = names[number % len(names)]
        if not (whole / clip).exists():
            (whole / clip).write_bytes(clips[clip])
        share = LOSSES[number // len(names) % len(LOSSES)]
        count = max(1, round(share * FRAMES))
        path = folder / f"lost-{number:04d}-{clip}"
        inner: Sequence[int] = range(1, FRAMES - 1)
        if "raw" in clip:
            # Without times, what is lost right before an IDR picture, where frame_num starts again, leaves no trace.
            inner = [each for each in inner if (each + 1) % GOP]
        change_packets(whole / clip, path, dict.fromkeys(chance.sample(inner, count)))
        yield Case(f"{share:.0%} lost {Path(clip).stem}", path, count)


def tool_count(path: Path) -> int:
    """Frames that FFmpeg's tool gives; 0 where it is not installed."""
    program = shutil.which("ffprobe")
    if program is None or path.stem.endswith(OTHER_DECODERS):
        return 0
    command = [program, "-v", "quiet", "-count_frames", "-select_streams", "v:0", "-show_entries"]
    command += ["stream=nb_read_frames", "-of", "csv=p=0", str(path)]
    found = subprocess.run(command, capture_output=True, text=True, check=False).stdout.replace(",", " ").split()
    return int(found[0]) if found and found[0].isdecimal() else 0


def plain_count(path: Path) -> int:
    """Frames that FFmpeg's decoder gives, as PyAV hands them out, damaged ones too, with errors passed over."""
    count = 0
    try:
        with av.open(str(path), metadata_errors="replace") as container:
            stream = container.streams.best("video")
            if not isinstance(stream, VideoStream) or stream.codec_context is None:
                return 0
            stream.thread_type, stream.codec_context.options = "SLICE", {"flags": "+output_corrupt"}
            for packet in container.demux(stream):
                try:
                    count += len(stream.codec_context.decode(packet))
                except av.error.FFmpegError:
                    continue
    except (av.error.FFmpegError, OSError, IndexError):
        pass  # the last is PyAV's own, at the end of streams to which another was added
    return count


def read(path: Path, lost: int = 0) -> Outcome:
    """Read a stream with its motion and judge what comes; ``lost`` packets of it are missing."""
    count, last = 0, None
    reasons: Counter[str | None] = Counter()
    incidents: dict[Incident, int] = {}
    try:
        with open_source(path) as source:
            for frame in motion_frames(source):
                reasons[frame.keyframe_reason] += 1
                if last is not None and frame.pts <= last:
                    return Outcome("wrong", f"frame {count} has pts {frame.pts} after {last}")
                if frame.rgb.ndim != 3 or frame.rgb.dtype != np.uint8:
                    return Outcome("wrong", f"frame {count} is {frame.rgb.dtype} {frame.rgb.shape}")
                if frame.motion is not None and (
                    frame.motion.shape != (*frame.rgb.shape[:2], 2) or not np.isfinite(frame.motion).all()
                ):
                    return Outcome("wrong", f"motion of frame {count} does not fit it or is not finite")
                count, last = count + 1, frame.pts
            incidents = source.incidents.counts()
    except ArsegError as error:
        if "\n" in str(error):
            return Outcome("wrong", f"message of several lines: {error}")
        outcome = Outcome("error", type(error).__name__)
    except Exception as error:
        return Outcome("wrong", f"{type(error).__name__}: {error}")
    else:
        outcome = Outcome("whole" if count == FRAMES else "partial")
    expected = max(plain_count(path), tool_count(path) if lost else 0)
    if count < expected:
        return Outcome("lost", f"{count} frames of {expected} that decode")
    if lost and outcome.verdict != "error":
        if not (incidents.get("missing", 0) or incidents.get("damaged", 0)):
            return Outcome("silent", f"{lost} packets lost, and nothing counted")
        if not (reasons["corrupt"] or reasons["discontinuity"] or reasons["lost-reference"]):
            return Outcome("silent", f"{lost} packets lost, and no chain started again: {dict(reasons)}")
    return outcome


def _serve(pipe: Connection) -> None:
    logging.disable()
    while (case := pipe.recv()) is not None:
        pipe.send(read(*case))


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

    def read(self, path: Path, lost: int = 0) -> Outcome:
        """As ``read``, with a crash or a hang as an outcome."""
        try:
            self._pipe.send((path, lost))
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


def fuzz(folder: Path, flipped: int, truncated: int, seed: int, *, lost: int = 0) -> Iterator[tuple[Case, Outcome]]:
    """Damage, read and judge so many streams."""
    watched = Watched()
    try:
        clips = make_clips(folder)
        for case in chain(damage(clips, folder, flipped, truncated, seed), lose(clips, folder, lost, seed)):
            yield case, watched.read(case.path, case.lost)
    finally:
        watched.close()


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flipped", type=int, default=500)
    parser.add_argument("--truncated", type=int, default=100)
    parser.add_argument("--lost", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="Folder for the damaged streams.  [default: none is kept]")
    arguments = parser.parse_args()
    table: dict[str, Counter[str]] = {}
    failures = 0
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        for case, outcome in fuzz(folder, arguments.flipped, arguments.truncated, arguments.seed, lost=arguments.lost):
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

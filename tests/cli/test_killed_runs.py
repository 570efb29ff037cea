"""Runs that are killed at any moment: what they leave behind can be read, and the next run ends well."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import av
import cv2
import pytest
from clips import street_clip

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of this kind are Unix's")

FRAMES, RATE = 4 * 96, 24
NAMES = ("overlay.mp4", "frames.jsonl", "maps")


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return street_clip(tmp_path_factory.mktemp("killed") / "street.mp4", 96, times=4)


def start(video: Path, bundle: Path, folder: Path) -> subprocess.Popen[str]:
    overlay, lines, maps = (str(folder / name) for name in NAMES)
    command = [sys.executable, "-m", "arseg_edge", "run", str(video), "-m", str(bundle), "--threads", "1"]
    return subprocess.Popen(
        [*command, "-o", overlay, "--frames", lines, "--labels", maps],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def times_in(overlay: Path) -> list[Fraction]:
    """Return the timestamps of an overlay, up to where a kill in the middle of a write has torn it; maybe none."""
    times: list[Fraction] = []
    try:
        with av.open(str(overlay)) as container:
            for frame in container.decode(video=0):
                assert frame.pts is not None
                assert frame.time_base is not None
                times.append(frame.pts * frame.time_base)
    except av.FFmpegError:
        pass
    return times


def check(overlay: Path, lines: Path, maps: Path) -> int:
    """Check that the outputs hold the first frames, each at most a second less than the others; return how many."""
    text = lines.read_text() if lines.exists() else ""
    assert text == "" or text.endswith("\n")
    records = [json.loads(line) for line in text.splitlines()]
    assert [record["index"] for record in records] == list(range(len(records)))
    shown = times_in(overlay)
    assert shown == [Fraction(index, RATE) for index in range(len(shown))]
    pictures = sorted(maps.glob("*.png"))
    assert [path.name for path in pictures] == [f"{index:06d}.png" for index in range(len(pictures))]
    assert all(cv2.imread(str(path)).shape == (360, 480, 3) for path in pictures[-3:])
    assert max(len(records), len(pictures)) - len(shown) <= RATE
    assert abs(len(records) - len(pictures)) <= 1
    return len(records)


def part(folder: Path, name: str) -> Path:
    """Return the part file of an output, or a name that does not exist."""
    return next(iter(folder.glob(f".{Path(name).stem}-*")), folder / "none")


def kill(video: Path, bundle: Path, folder: Path, number: signal.Signals, delay: float) -> int:
    """Kill a run ``delay`` seconds after its outputs were begun; return how many frames they hold."""
    process = start(video, bundle, folder)
    assert process.stderr is not None
    while process.poll() is None and not part(folder, "maps").exists():
        time.sleep(0.001)
    time.sleep(delay)
    process.send_signal(number)
    said = process.stderr.read()
    code = process.wait(60)
    process.stderr.close()
    assert "Traceback" not in said
    if number == signal.SIGKILL and code:
        assert code == -signal.SIGKILL
        return check(*(part(folder, name) if not (folder / name).exists() else folder / name for name in NAMES))
    assert code in (0, 128 + number), said  # 0 where the run had ended
    left = {path.name for path in folder.iterdir()}
    assert left == set(NAMES) if code == 0 else left <= set(NAMES)  # a video of no frames is not written
    return check(*(folder / name for name in NAMES))


def kills(video: Path, bundle: Path, folder: Path, count: int, seed: int) -> None:
    chance = random.Random(seed)
    held = []
    for turn in range(count):
        run = folder / str(turn)
        run.mkdir()
        number = chance.choice([signal.SIGKILL, signal.SIGTERM])
        held.append(kill(video, bundle, run, number, chance.uniform(0, 3)))
        if not any(path.name.startswith(".") for path in run.iterdir()):
            continue
        # To the same names: it says what it found, leaves it, and is itself not disturbed.
        before = {path for path in run.iterdir() if path.name.startswith(".") and not empty(path)}
        process = start(street_clip(folder / "short.mp4", 3), bundle, run)
        assert process.stderr is not None
        said = process.stderr.read()
        assert process.wait(60) == 0, said
        process.stderr.close()
        assert all(str(path) in said for path in before)
        assert {path for path in run.iterdir() if path.name.startswith(".")} == before
        assert check(*(run / name for name in NAMES)) == 3
    assert max(held) > 1


def empty(path: Path) -> bool:
    return not any(path.iterdir()) if path.is_dir() else not path.stat().st_size


def test_killed_a_few_times(video: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    kills(video, tiny_bundle, tmp_path, count=4, seed=3)


@pytest.mark.long
def test_killed_fifty_times_at_random_moments(video: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    kills(video, tiny_bundle, tmp_path, count=50, seed=1)

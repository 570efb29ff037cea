"""Commands that are told to stop: SIGTERM and SIGHUP end as Ctrl-C does, in time, and nothing is lost."""

from __future__ import annotations

import json
import os
import pty
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
from labelled_street import write_camvid_street

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of this kind are Unix's")

# Tests may run in the background, where children are born deaf to Ctrl-C.
HEARING = "import signal, runpy; signal.signal(signal.SIGINT, signal.default_int_handler); "
ARSEG = [sys.executable, "-c", HEARING + "runpy.run_module('arseg_edge', run_name='__main__')"]
FRAMES = 24 * 96


def spawn(*arguments: str | Path) -> subprocess.Popen[str]:
    command = [*ARSEG, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture(scope="module")
def long_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A minute and a half."""
    return street_clip(tmp_path_factory.mktemp("signals") / "street.mp4", 96, times=24)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_run_keeps_what_was_done(tiny_bundle: Path, long_video: Path, tmp_path: Path, number: signal.Signals) -> None:
    overlay, maps, lines = tmp_path / "overlay.mp4", tmp_path / "maps", tmp_path / "frames.jsonl"
    process = spawn("run", long_video, "-m", tiny_bundle, "-o", overlay, "--labels", maps, "--frames", lines)
    while process.poll() is None and not list(tmp_path.glob(".maps-*.part/000010.png")):
        pass
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert err.splitlines()[-1] == "interrupted"
    assert "Traceback" not in err
    assert "(interrupted)" in out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["frames.jsonl", "maps", "overlay.mp4"]
    records = [json.loads(line) for line in lines.read_text().splitlines()]
    assert 11 <= len(records) < FRAMES
    with av.open(str(overlay)) as container:
        shown = [frame.pts * frame.time_base for frame in container.decode(video=0)]
    assert shown == [Fraction(index, 24) for index in range(len(records))]
    assert sorted(path.name for path in maps.iterdir()) == [f"{index:06d}.png" for index in range(len(records))]
    assert all(cv2.imread(str(path)).shape == (360, 480, 3) for path in maps.iterdir())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_a_signal_that_is_ignored_stays_ignored(tiny_bundle: Path, tmp_path: Path, number: signal.Signals) -> None:
    video, lines = street_clip(tmp_path / "street.mp4", 96), tmp_path / "frames.jsonl"
    code = f"import signal; signal.signal({number:d}, signal.SIG_IGN); import runpy; "
    program = [sys.executable, "-c", code + "runpy.run_module('arseg_edge', run_name='__main__')"]
    process = subprocess.Popen([*program, "run", video, "-m", tiny_bundle, "--frames", lines])
    while process.poll() is None and not list(tmp_path.glob(".frames-*.part.jsonl")):
        pass
    process.send_signal(number)
    assert process.wait(60) == 0
    assert len(lines.read_text().splitlines()) == 96


def test_a_terminal_that_goes_away(tiny_bundle: Path, long_video: Path, tmp_path: Path) -> None:
    lines = tmp_path / "frames.jsonl"
    process, terminal = pty.fork()
    if process == 0:
        os.execv(ARSEG[0], [*ARSEG, "run", str(long_video), "-m", str(tiny_bundle), "--frames", str(lines)])
    while not any(path.stat().st_size for path in tmp_path.glob(".frames-*.part.jsonl")):
        os.read(terminal, 1)  # the bar
    os.close(terminal)
    _, status = os.waitpid(process, 0)
    assert os.waitstatus_to_exitcode(status) == 128 + signal.SIGHUP
    assert [path.name for path in tmp_path.iterdir()] == ["frames.jsonl"]
    assert 1 <= len([json.loads(line) for line in lines.read_text().splitlines()]) < FRAMES


# A main thread that sits in a library sees no signal. This one hashes for some minutes, without the interpreter's lock.
STUCK = """
import hashlib, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from arseg_edge.cli.interrupt import ended_by_signals, held_interrupt
from arseg_edge.runtime.sinks import FileSink, PendingPath

class Lines(FileSink):
    def __init__(self, path):
        self.pending = PendingPath(path)
        super().__init__(self.pending)
    def _write(self, result):
        with self.pending.temporary.open("a") as file:
            file.write(result)

with ended_by_signals(), held_interrupt(), Lines(sys.argv[1]) as sink:
    sink.append("done so far\\n")
    print("ready", flush=True)
    try:
        hashlib.pbkdf2_hmac("sha512", b"", b"", 1 << 30)
    except BaseException as error:
        print(error)
"""


@pytest.mark.parametrize(
    ("numbers", "code"),
    [
        ([signal.SIGTERM], 143),
        ([signal.SIGHUP], 129),
        ([signal.SIGINT, signal.SIGINT], 130),
        ([signal.SIGTERM, signal.SIGTERM], 143),
        ([signal.SIGINT, signal.SIGTERM], 130),
        ([signal.SIGTERM, signal.SIGINT, signal.SIGINT], 143),
    ],
)
def test_a_process_that_sits_in_a_library_ends_all_the_same(
    tmp_path: Path, numbers: list[signal.Signals], code: int
) -> None:
    process = subprocess.Popen([sys.executable, "-c", STUCK, tmp_path / "lines"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.5)  # until it hashes
    for number in numbers:
        process.send_signal(number)
        time.sleep(0.1)  # else two of a kind become one
    assert process.wait(60) == code
    assert process.stdout.read() == ""
    process.stdout.close()
    if len(numbers) < 3:  # a third one waits for nothing
        assert [path.name for path in tmp_path.iterdir()] == ["lines"]
        assert (tmp_path / "lines").read_text() == "done so far\n"


def test_an_evaluation_leaves_nothing(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: [train] brings it")
    folder = write_camvid_street(tmp_path / "CamVid", 48)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    command = [*ARSEG, "eval", str(folder), "--split", "val", "--plot", str(tmp_path / "plot.png")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": str(scratch)})
    assert process.stderr is not None
    while process.poll() is None and not list(scratch.glob("arseg-edge-*")):
        pass
    process.send_signal(signal.SIGTERM)
    said = process.stderr.read()
    assert process.wait(60) == 143, said
    assert said.splitlines()[-1] == "interrupted"
    process.stderr.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["CamVid", "scratch"]
    assert not list(scratch.glob("arseg-edge-*"))

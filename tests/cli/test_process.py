"""The command as a process of its own: imports, pipes and Ctrl-C."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import cv2
import pytest
from clips import street_clip
from command_line import FRAMES

ARSEG = [sys.executable, "-m", "arseg_edge"]
# Tests may run in the background, where children are born deaf to Ctrl-C.
HEARING = "import signal, runpy; signal.signal(signal.SIGINT, signal.default_int_handler); "
ARSEG_HEARING = [sys.executable, "-c", HEARING + "runpy.run_module('arseg_edge', run_name='__main__')"]


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    return spawn(ARSEG, *arguments)


def spawn(program: list[str], *arguments: str | Path) -> subprocess.Popen[str]:
    command = [*program, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture(scope="module")
def long_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A minute and a half."""
    return street_clip(tmp_path_factory.mktemp("long") / "street.mp4", 96, times=24)


def test_help_loads_neither_onnxruntime_nor_pytorch() -> None:
    code = (
        "import sys; from arseg_edge.cli import main\n"
        "try: main(['run', '--help'])\n"
        "finally: print(sorted({'onnxruntime', 'torch', 'onnx', 'av', 'cv2'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Usage: ")
    assert done.stderr.strip() == "[]"


def test_the_installed_command(tiny_bundle: Path, clip: Path, tmp_path: Path) -> None:
    process = start("run", clip, "-m", tiny_bundle, "--labels", tmp_path / "maps")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert f"{FRAMES} frames" in out
    assert len(list((tmp_path / "maps").iterdir())) == FRAMES


def test_an_error_is_one_line(tmp_path: Path, tiny_bundle: Path) -> None:
    process = start("run", tmp_path / "none.mp4", "-m", tiny_bundle)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (5, "")
    assert len(err.splitlines()) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C reaches whole consoles there")
def test_ctrl_c_keeps_what_was_done(tiny_bundle: Path, long_video: Path, tmp_path: Path) -> None:
    overlay, maps = tmp_path / "overlay.mp4", tmp_path / "maps"
    process = spawn(
        ARSEG_HEARING, "run", long_video, "-m", tiny_bundle, "-o", overlay, "--labels", maps, "--frames", "-"
    )
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(20)]
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.splitlines()[-1] == "interrupted"
    assert "(interrupted)" in err
    assert "Traceback" not in err

    records = [json.loads(line) for line in [*lines, *out.splitlines()]]
    frames = len(records)
    assert 20 <= frames < 24 * 96
    assert [record["index"] for record in records] == list(range(frames))
    with av.open(str(overlay)) as container:
        shown = [frame.pts * frame.time_base for frame in container.decode(video=0)]
    assert shown == [Fraction(index, 24) for index in range(frames)]
    pngs = sorted(maps.iterdir())
    assert len(pngs) == frames
    for index, png in enumerate(pngs):
        assert png.name == f"{index:06d}.png"
        assert cv2.imread(str(png)).shape == (360, 480, 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["maps", "overlay.mp4"]


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C reaches whole consoles there")
def test_ctrl_c_says_so_in_the_summary(tiny_bundle: Path, long_video: Path, tmp_path: Path) -> None:
    maps = tmp_path / "maps"
    process = spawn(ARSEG_HEARING, "run", long_video, "-m", tiny_bundle, "--labels", maps, "--json")
    while process.poll() is None and not list(tmp_path.glob(".maps-*.part/000010.png")):
        pass
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    facts = json.loads(out)
    assert facts["interrupted"] is True
    assert facts["outputs"] == [str(maps)]
    assert len(list(maps.iterdir())) == facts["frames"] >= 11


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C reaches whole consoles there")
def test_a_second_ctrl_c_strikes_at_once() -> None:
    code = (
        "import os, signal\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from arseg_edge.cli.interrupt import held_interrupt\n"
        "try:\n"
        "    with held_interrupt():\n"
        "        os.kill(os.getpid(), signal.SIGINT); print('held', flush=True)\n"
        "        os.kill(os.getpid(), signal.SIGINT); print('lost', flush=True)\n"
        "except KeyboardInterrupt:\n"
        "    print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["held", "True"]


def test_a_reader_that_has_seen_enough_ends_the_run(tiny_bundle: Path, long_video: Path) -> None:
    process = start("run", long_video, "-m", tiny_bundle, "--frames", "-")
    assert process.stdout is not None
    assert process.stderr is not None
    assert json.loads(process.stdout.readline())["index"] == 0
    process.stdout.close()
    assert process.wait(timeout=60) == 141
    assert process.stderr.read() == ""
    process.stderr.close()


def test_a_reader_that_has_seen_enough_leaves_the_other_outputs_to_be_completed(
    tiny_bundle: Path, clip: Path, tmp_path: Path
) -> None:
    overlay, maps = tmp_path / "overlay.mp4", tmp_path / "maps"
    process = start("run", clip, "-m", tiny_bundle, "--frames", "-", "-o", overlay, "--labels", maps)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.wait(timeout=60) == 0
    assert f"{FRAMES} frames in " in process.stderr.read()
    process.stderr.close()
    with av.open(str(overlay)) as container:
        assert container.streams.video[0].frames == FRAMES
    assert len(list(maps.iterdir())) == FRAMES
    assert sorted(path.name for path in tmp_path.iterdir()) == ["maps", "overlay.mp4"]


@pytest.mark.parametrize("command", [["info"], ["--help"], ["doctor", "--json"]])
def test_a_report_that_nobody_reads(command: list[str]) -> None:
    process = start(*command)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.wait(timeout=60) == 141
    assert process.stderr.read() == ""
    process.stderr.close()

"""What lies on the disk when a process is killed: outputs can be read while they grow, and the next run finds them."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from test_sinks import PALETTE, SINKS, frames_in, results

from arseg_edge.runtime.sinks import OverlaySink, PendingPath
from arseg_edge.runtime.sinks.pending import UnfinishedOutputWarning

PTS = [0, 1, 2, 6, 7, 37, 38, 297]


def part_of(folder: Path) -> Path:
    """Return the only hidden entry."""
    (part,) = (path for path in folder.iterdir() if path.name.startswith("."))
    return part


def times_of(video: bytes) -> list[int]:
    """Return the timestamps of a video, in 1/25 s."""
    with av.open(io.BytesIO(video)) as container:
        frames = list(container.decode(video=0))
    return [round(frame.pts * frame.time_base * 25) for frame in frames if frame.pts is not None and frame.time_base]


def boxes_of(video: bytes) -> list[str]:
    """Return the kinds of the outermost boxes of an MP4 file (ISO/IEC 14496-12, section 4.2)."""
    found, position = [], 0
    while position < len(video):
        found.append(video[position + 4 : position + 8].decode())
        position += int.from_bytes(video[position : position + 4], "big")
    return found


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_an_overlay_can_be_read_while_it_grows(tmp_path: Path, suffix: str) -> None:
    with OverlaySink(tmp_path / f"overlay{suffix}", PALETTE) as sink:
        for count, result in enumerate(results(PTS), start=1):
            sink.append(result)
            if count > 1:  # the last one's duration is not known before the next one comes
                assert times_of(part_of(tmp_path).read_bytes()) == PTS[: count - 1]
    assert times_of((tmp_path / f"overlay{suffix}").read_bytes()) == PTS


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_a_whole_overlay_is_a_plain_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"overlay{suffix}"
    with OverlaySink(path, PALETTE) as sink:
        for result in results(PTS):
            sink.append(result)
        assert "moof" in boxes_of(part_of(tmp_path).read_bytes())
    assert sorted(set(boxes_of(path.read_bytes())) - {"free", "wide"}) == ["ftyp", "mdat", "moov"]
    with av.open(str(path)) as container:
        assert container.streams.video[0].frames == len(PTS)
        container.seek(int(38 / 25 * av.time_base))
        assert np.any(next(container.decode(video=0)).to_ndarray())


# A process that writes five results to each kind of output, says so, and waits to be killed.
WRITER = """
import sys, time
from test_sinks import SINKS, results
names = sys.argv[2:]
from pathlib import Path
sinks = [SINKS[name](Path(sys.argv[1]) / name) for name in names]
for result in results(list(range(5))):
    for sink in sinks:
        sink.append(result)
print("written", flush=True)
time.sleep(600)
"""


def writer(folder: Path, *names: str) -> subprocess.Popen[str]:
    """Start such a process and wait until it has written."""
    here = Path(__file__).parent
    path = os.pathsep.join([str(here), str(here.parent), os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder), *names],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "written\n"
    process.stdout.close()
    return process


def warned(make: Callable[[], object]) -> list[str]:
    """Return what is said of unfinished outputs."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        make()
    return [str(each.message) for each in caught if each.category is UnfinishedOutputWarning]


def test_a_process_that_was_killed_left_readable_outputs_and_the_next_run_says_so(tmp_path: Path) -> None:
    names = sorted(SINKS)
    process = writer(tmp_path, *names)
    process.kill()
    process.wait()
    parts = sorted(path for path in tmp_path.iterdir())
    assert len(parts) == len(names)
    assert all(path.name.startswith(".") for path in parts)
    held = {"overlay.mp4": 4, "frames.jsonl": 5, "maps": 5}
    states = {"overlay.mp4": "MB, can be played", "frames.jsonl": "5 whole lines", "maps": "5 label maps"}
    for name in names:
        (part,) = (path for path in parts if path.name.startswith(f".{Path(name).stem}-"))
        assert frames_in(part) == held[name]
        (said,) = warned(lambda name=name: SINKS[name](tmp_path / name).close())  # type: ignore[misc]
        assert said.startswith(f"an unfinished output of an earlier run to '{tmp_path / name}' lies at {part} (last w")
        assert states[name] in said
        assert said.endswith("): rename it to keep it, or delete it")
        assert frames_in(part) == held[name]


@pytest.mark.parametrize("name", SINKS)
def test_another_run_to_the_same_name_is_told_and_left_alone(tmp_path: Path, name: str) -> None:
    process = writer(tmp_path, name)
    part = part_of(tmp_path)
    (said,) = warned(lambda: SINKS[name](tmp_path / name).discard())
    assert said.startswith(f"another run is writing to '{tmp_path / name}' at this moment, in {part}")
    assert part.exists()
    process.kill()
    process.wait()


def test_two_outputs_of_one_process_know_each_other_as_running(tmp_path: Path) -> None:
    first = PendingPath(tmp_path / "lines")
    (said,) = warned(lambda: PendingPath(tmp_path / "lines").discard())
    assert "another run is writing" in said
    first.commit()
    assert warned(lambda: PendingPath(tmp_path / "lines").discard()) == []
    assert [path.name for path in tmp_path.iterdir()] == ["lines"]


@pytest.mark.parametrize("directory", [False, True])
def test_a_leftover_that_holds_nothing_is_removed(tmp_path: Path, directory: bool) -> None:
    leftover = tmp_path / ".maps-0123abcd.part"
    leftover.mkdir() if directory else leftover.touch()
    assert warned(lambda: PendingPath(tmp_path / "maps", directory=directory).discard()) == []
    assert not list(tmp_path.iterdir())


def test_files_of_others_are_no_leftovers(tmp_path: Path) -> None:
    for name in (".maps-0123abcd.part.mp4", ".map-0123abcd.part", ".maps-0123abc.part", "maps-0123abcd.part", ".maps"):
        (tmp_path / name).write_text("mine")
    assert warned(lambda: PendingPath(tmp_path / "maps").discard()) == []
    assert len(list(tmp_path.iterdir())) == 5


def test_a_directory_that_was_there_before_takes_the_next_run(tmp_path: Path) -> None:
    maps = tmp_path / "maps"
    maps.mkdir()
    process = writer(tmp_path, "maps")
    process.kill()
    process.wait()
    leftover = part_of(maps)
    with pytest.warns(UnfinishedOutputWarning, match="5 label maps"):
        sink = SINKS["maps"](maps)
    for result in results():
        sink.append(result)
    sink.close()
    assert sorted(path.name for path in maps.iterdir()) == [leftover.name, "000000.png", "000001.png", "000002.png"]


@pytest.mark.parametrize(
    "name", ["a" * 251 + ".mp4", "ü" * 124 + ".jsonl", "b" * 255, "." + "c" * 254, "d." + "e" * 253]
)
def test_a_name_as_long_as_the_file_system_takes(tmp_path: Path, name: str) -> None:
    pending = PendingPath(tmp_path / name)
    pending.temporary.write_text("whole")
    assert len(warned(lambda: PendingPath(tmp_path / name).discard())) == 1
    pending.commit()
    assert (tmp_path / name).read_text() == "whole"
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc says which file a descriptor belongs to")
def test_what_is_written_goes_to_the_disk_as_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    original = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        original(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    sinks = [make(tmp_path / name) for name, make in SINKS.items()]
    wanted = {path.name for path in tmp_path.iterdir() if path.is_file()} | {"000000.png"}
    for sink in sinks:
        sink.append(next(results()))
    while not wanted <= set(synced):  # while the outputs are still being written
        time.sleep(0.01)
    for sink in sinks:
        sink.close()
    assert synced[-1] == tmp_path.name  # the names themselves

"""What lies on the disk when a process is killed: outputs can be read while they grow, and the next run finds them."""

from __future__ import annotations

import io
from pathlib import Path

import av
import numpy as np
import pytest
from test_sinks import PALETTE, results

from arseg_edge.runtime.sinks import OverlaySink

PTS = [3, 4, 5, 9, 10, 40, 41, 300]


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
        container.seek(int(41 / 25 * av.time_base))
        assert np.any(next(container.decode(video=0)).to_ndarray())

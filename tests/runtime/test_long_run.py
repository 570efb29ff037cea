"""Twenty thousand frames: what a run holds must not grow with what it has seen."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from clips import street_clip
from streams import encode, panning

import arseg_edge

FRAMES = 20_000
WARM = 1_000
"""Frames after which everything that stays has been allocated."""
EACH = 250
MEGABYTES = 20


def street(folder: Path) -> Path:
    """The sample street: vectors that surely point to the frame before."""
    return street_clip(folder / "street.mp4", 80, times=FRAMES // 80)


def b_frames(folder: Path) -> Path:
    """A view that pans to and fro: vectors that must be resolved, and decoding out of order."""
    there = panning(100, 96, 128, 1, 0)
    pictures = [*there, *reversed(there)]
    clip = encode(folder / "clip.h264", pictures, gop=50, b_frames=2, refs=3, options={"b-adapt": "0"})
    path = folder / "pan.h264"
    path.write_bytes(clip.read_bytes() * (FRAMES // len(pictures)))
    return path


@pytest.mark.long
@pytest.mark.skipif(not hasattr(psutil.Process, "num_fds"), reason="counts file descriptors, which are Unix's")
@pytest.mark.parametrize("make", [street, b_frames])
def test_a_long_run_holds_no_more_as_it_goes_on(
    tiny_bundle: Path, tmp_path: Path, make: Callable[[Path], Path]
) -> None:
    process = psutil.Process()
    memory: list[float] = []
    descriptors: list[int] = []
    threads: list[int] = []
    count = 0
    with arseg_edge.load(tiny_bundle, threads=1) as segmenter:
        for count, _ in enumerate(segmenter.stream(make(tmp_path)), 1):
            if count >= WARM and count % EACH == 0:
                gc.collect()
                memory.append(process.memory_info().rss / 1e6)
                descriptors.append(process.num_fds())
                threads.append(process.num_threads())
    print(f"{make.__name__}: {memory[0]:.0f} MB after {WARM} frames, then {min(memory):.0f} to {max(memory):.0f} MB")
    print(f"{min(descriptors)} to {max(descriptors)} descriptors, {min(threads)} to {max(threads)} threads")
    assert count == FRAMES
    assert max(memory) - min(memory) < MEGABYTES
    assert max(descriptors) == descriptors[0]
    assert max(threads) == threads[0]

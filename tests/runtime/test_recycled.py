"""Arrays whose memory is used again."""

from __future__ import annotations

import gc
import tracemalloc

import numpy as np
import pytest

from arseg_edge.runtime.motion import CHAINS, Chaining
from arseg_edge.runtime.motion.recycled import RecycledArrays
from arseg_edge.runtime.motion.vectors import BlockMotion


def address(array: np.ndarray) -> int:
    return int(array.__array_interface__["data"][0])


@pytest.mark.parametrize("dtype", [np.float32, np.int16])
def test_arrays_are_as_asked_for(dtype: type[np.generic]) -> None:
    array = RecycledArrays((3, 5, 2), dtype).empty()
    assert (array.shape, array.dtype) == ((3, 5, 2), dtype)
    assert array.flags.c_contiguous
    assert array.flags.writeable


def test_memory_comes_again_once_nothing_lies_on_it() -> None:
    arrays = RecycledArrays((4, 4), np.float32)
    first = arrays.empty()
    used = address(first)
    del first
    assert address(arrays.empty()) == used


def test_memory_does_not_come_again_while_anything_lies_on_it() -> None:
    arrays = RecycledArrays((4, 4), np.float32)
    whole = arrays.empty()
    whole[:] = 7
    parts = [whole[1:], whole.reshape(-1)[::2], whole.view(np.int32).T, memoryview(whole)]
    used = address(whole)
    del whole
    while parts:
        gc.collect()
        other = arrays.empty()
        assert address(other) != used
        other[:] = 0
        assert (np.asarray(parts.pop()).view(np.float32) == 7).all()
    assert used in [address(arrays.empty()), address(arrays.empty())]


def test_little_is_kept() -> None:
    arrays = RecycledArrays((1 << 20,), np.uint8)
    tracemalloc.start()
    try:
        many = [arrays.empty() for _ in range(20)]
        held = tracemalloc.get_traced_memory()[0]
        many.clear()
        assert held > 20 << 20
        assert tracemalloc.get_traced_memory()[0] < 5 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("chaining", list(CHAINS))
def test_motion_of_frames_that_are_gone_costs_no_new_memory(chaining: Chaining) -> None:
    chain = CHAINS[chaining]()
    chain.restart(16, 24)
    blocks = BlockMotion(np.ones((2, 3, 2), np.float32), np.zeros((2, 3), np.int8), 16, 24)
    held = chain.advance(blocks)
    others = {address(chain.advance(blocks)) for _ in range(10)}
    assert len(others) == 1
    assert address(held) not in others

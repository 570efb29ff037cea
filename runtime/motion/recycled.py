"""Memory of arrays, used again when the last one that lies on it is gone."""

from __future__ import annotations

import ctypes
import math
import weakref
from collections import deque
from typing import Any, Final

import numpy as np
import numpy.typing as npt

_IDLE: Final = 4
"""Arrays' memory that is kept while nobody uses it: as much as comes back between two frames."""


class RecycledArrays:
    """New arrays of one shape and dtype.

    The memory of large arrays otherwise goes back to the system every few frames, and what comes anew has to be
    cleared: milliseconds at once where NumPy asks for huge pages, as it does on Linux.
    """

    def __init__(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> None:
        self._shape, self._dtype = shape, np.dtype(dtype)
        self._bytes = math.prod(shape) * self._dtype.itemsize
        # Arrays come back on whichever thread lets go of them last; a deque bears that.
        self._idle: deque[memoryview] = deque(maxlen=_IDLE)

    def empty(self) -> npt.NDArray[Any]:
        """As ``numpy.empty``."""
        try:
            memory = self._idle.pop()
        except IndexError:
            memory = np.empty(self._bytes, np.uint8).data
        # An array on top of another one refers to the lowest, but never to what lies below this: so it lives exactly as
        # long as any array does that was made of it.
        holder = (ctypes.c_char * self._bytes).from_buffer(memory)
        weakref.finalize(holder, self._idle.append, memory).atexit = False
        return np.frombuffer(memoryview(holder), self._dtype).reshape(self._shape)

"""The native operators: a shared library that ONNX Runtime loads, built from the C++ beside this file.

It is optional. Every operator is in the model as a function of standard ONNX operators too, which run where the library
was not built, or where ``ARSEG_EDGE_NATIVE=0`` turns it off.
"""

from __future__ import annotations

import ctypes
import os
import sys
from dataclasses import dataclass
from pathlib import Path

_SUFFIX = {"win32": ".dll", "darwin": ".dylib"}.get(sys.platform, ".so")
_NAME = f"libarseg_ops{_SUFFIX}"


@dataclass(frozen=True)
class NativeState:
    """What there is of the native library, for reports.

    Attributes:
        path: where the library lies, whether in use or not; ``None`` where it was not built.
        enabled: whether sessions will use it.
        reason: one line on why they will not; empty where they will.
        simd: the level that its kernels will use: ``baseline``, ``avx2`` or ``avx512``; ``None`` if not in use.
    """

    path: Path | None
    enabled: bool
    reason: str
    simd: str | None


def library_path() -> Path | None:
    """The library to register with a session, or ``None`` where it is turned off or missing.

    ``ARSEG_EDGE_NATIVE=0`` turns it off; the variable is read at each call.
    """
    return None if _turned_off() else _find()


def state() -> NativeState:
    """Look at the library without registering it. Loads it into the process."""
    path = _find()
    if path is None:
        return NativeState(None, False, "not built: this install had no C++ compiler", None)
    if _turned_off():
        return NativeState(path, False, "turned off by ARSEG_EDGE_NATIVE=0", None)
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        return NativeState(path, False, f"does not load: {error}", None)
    library.arseg_simd.restype = ctypes.c_char_p
    level = library.arseg_simd()
    if level is None:
        wanted = os.environ.get("ARSEG_EDGE_SIMD", "")
        return NativeState(path, False, f"ARSEG_EDGE_SIMD={wanted} names a level that cannot run here", None)
    return NativeState(path, True, "", level.decode())


def _turned_off() -> bool:
    return os.environ.get("ARSEG_EDGE_NATIVE") == "0"


def _find() -> Path | None:
    # An editable install has the sources in one folder of this package's path and the library in another.
    candidates = (Path(folder) / _NAME for folder in __path__)
    return next((path for path in candidates if path.is_file()), None)

"""The native library, built from the C++ beside this file: kernels for ONNX Runtime, and parts of motion.

It is optional. Every operator is in the model as a function of standard ONNX operators too, and motion is in Python
too; they run where the library was not built, or where ``ARSEG_EDGE_NATIVE=0`` turns it off.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import metadata
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


def library() -> ctypes.CDLL | None:
    """The library itself, for its functions that are called from Python; ``None`` also where it does not load."""
    path = library_path()
    return None if path is None else _loaded(path)


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


@cache  # asked for each frame of a video
def _find() -> Path | None:
    return next((path for path in _candidates() if path.is_file()), None)


def _candidates() -> Iterator[Path]:
    # Installed, it lies beside this file; an editable install has it in another folder of this package's path.
    yield from (Path(folder) / _NAME for folder in __path__)
    checkout = Path(__file__).resolve().parents[2]
    if not (checkout / "CMakeLists.txt").is_file():
        return
    # A checkout holds the sources alone: the last that was built in it, else that of the installed package.
    built = (checkout / "build").glob(f"*/{_NAME}")
    yield from sorted(built, key=lambda path: path.stat().st_mtime, reverse=True)
    with contextlib.suppress(metadata.PackageNotFoundError):
        yield Path(str(metadata.distribution("arseg-edge").locate_file(f"arseg_edge/runtime/native/{_NAME}")))


@cache
def _loaded(path: Path) -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL(str(path))
    except OSError:
        return None

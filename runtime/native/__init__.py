"""The native library, built from the C++ beside this file: kernels for ONNX Runtime, parts of motion, moved labels.

It is optional. Every operator is also in the model, as a function of standard ONNX operators; motion and moved labels
are also in Python. These serve where the library was not built or ``ARSEG_EDGE_NATIVE=0`` turns it off. They also serve
where it does not load, is refused by ONNX Runtime, or was built from other sources; then one warning says why.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Final

INTERFACE: Final = 7
"""Of the sources beside this file, as ``interface.h`` has it; a library with another number is not used."""

_SUFFIX = {"win32": ".dll", "darwin": ".dylib"}.get(sys.platform, ".so")
_NAME = f"libarseg_ops{_SUFFIX}"


class NativeLibraryWarning(UserWarning):
    """The native library is there, but cannot be used."""


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
    """The library to register with a session, or ``None`` where it is turned off, missing, or cannot be used.

    ``ARSEG_EDGE_NATIVE=0`` turns it off; the variable is read at each call. A library that is there but cannot be used
    causes one :class:`NativeLibraryWarning`.
    """
    path = None if _turned_off() else _find()
    if path is None:
        return None
    reason = _examined(path).reason
    if reason:
        warn_once(path, reason)
        return None
    return path


def library() -> ctypes.CDLL | None:
    """The library itself, for its functions that are called from Python; ``None`` where there is no path to it."""
    path = library_path()
    return None if path is None else _examined(path).library


def state() -> NativeState:
    """Look at the library without registering it. Loads it into the process."""
    path = _find()
    if path is None:
        return NativeState(None, False, "not built: this install had no C++ compiler", None)
    if _turned_off():
        return NativeState(path, False, "turned off by ARSEG_EDGE_NATIVE=0", None)
    found = _examined(path)
    if found.library is None:
        return NativeState(path, False, found.reason, None)
    level = found.library.arseg_simd()
    if level is None:
        wanted = os.environ.get("ARSEG_EDGE_SIMD", "")
        return NativeState(
            path, False, f"is told to use ARSEG_EDGE_SIMD={wanted}, which cannot run here: unset it", None
        )
    return NativeState(path, True, "", level.decode())


@cache
def warn_once(path: Path, reason: str) -> None:
    """Tell, once for each library and reason, that what it does is done without it."""
    warnings.warn(
        f"the native library {path} is not used, everything runs more slowly: it {reason}",
        NativeLibraryWarning,
        stacklevel=3,
    )


@dataclass(frozen=True)
class _Examined:
    """A library, or the reason why there is none."""

    library: ctypes.CDLL | None
    reason: str


@cache
def _examined(path: Path) -> _Examined:
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        return _Examined(None, f"does not load ({' '.join(str(error).split())}): install arseg-edge again")
    try:
        interface = int(library.arseg_interface())
    except AttributeError:
        interface = 0
    if interface != INTERFACE:
        return _Examined(
            None,
            f"was built from other sources than these (its interface is {interface}, theirs {INTERFACE}): "
            "build it again, or install arseg-edge again",
        )
    library.arseg_simd.restype = ctypes.c_char_p
    return _Examined(library, "")


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

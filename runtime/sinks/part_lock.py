"""Telling a file that a running process writes from one that a process left behind when it was killed."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows, where nobody can tell
    _HAS_LOCKS = False
else:
    _HAS_LOCKS = True


class PartLock:
    """A lock on a file or a directory, which the operating system takes back however the process ends."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def release(self) -> None:
        """Give the lock back; a second call does nothing."""
        if self._descriptor >= 0:
            with contextlib.suppress(OSError):
                os.close(self._descriptor)
            self._descriptor = -1


def lock(path: Path, *, wait: bool = False) -> PartLock | None:
    """Return a lock on ``path``; None where it is gone, or there are no locks, or another process holds it.

    With ``wait`` another process is waited for.
    """
    if not _HAS_LOCKS:
        return None
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        os.close(descriptor)
        return None
    return PartLock(descriptor)

"""Bringing what is written onto the disk as it is written: a power cut then costs a second, not half a minute."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path
from typing import Final

_INTERVAL_SECONDS: Final = 0.5
"""Between the end of one turn and the next: with the turn itself about a second on a slow disk."""


class DiskSync:
    """Has the operating system write files to the disk, on a thread of its own, since that may take its time."""

    def __init__(self) -> None:
        self._written: set[Path] = set()
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def note(self, path: Path) -> None:
        """Say that ``path`` has been written to."""
        with self._lock:
            self._written.add(path)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="arseg-edge disk", daemon=True)
            self._thread.start()

    def stop(self, *, keep: bool) -> None:
        """End the thread; with ``keep``, return when all that was noted is on the disk."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()
        if keep:
            self._turn()

    def _run(self) -> None:
        while not self._stopped.wait(_INTERVAL_SECONDS):
            self._turn()

    def _turn(self) -> None:
        with self._lock:
            paths, self._written = self._written, set()
        for path in paths:
            sync(path)


def sync(path: Path) -> None:
    """Return when a file, or the names in a directory, are on the disk, where the system can say so."""
    # Some file systems cannot, and the results themselves are none the worse for it.
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY if path.is_dir() or os.name != "nt" else os.O_RDWR)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

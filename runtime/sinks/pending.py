"""Write beside the target, rename when whole."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from arseg_edge.errors import OutputError
from arseg_edge.runtime.sinks.durable import DiskSync, sync
from arseg_edge.runtime.sinks.part_lock import PartLock, lock

_LONGEST_NAME: Final = 255
"""Bytes that a name may have on the file systems in use."""
_LONGEST_SUFFIX: Final = 16


class UnfinishedOutputWarning(UserWarning):
    """An earlier run to the same name did not end as it should have, or another one has not ended yet."""


class Output:
    """Where a sink writes, by the name that errors give it; here one that is open already, as a stream."""

    def __init__(self, name: str) -> None:
        self.name = name

    def written(self, path: Path | None = None) -> None:
        """Be told that something was written, to ``path`` where that is not all of the output."""

    def commit(self) -> None:
        """Make the output final: a stream is."""

    def discard(self) -> None:
        """Take the output back: a stream cannot."""

    def failure(self, error: Exception) -> OutputError:
        """Return the error that says, in one line, that the output could not be written."""
        reason = getattr(error, "strerror", None) or str(error)
        return OutputError(f"cannot write {self.name!r}: {reason}; check free space and permissions")

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """Turn an ``OSError`` of the block into an ``OutputError``.

        Not ``BrokenPipeError``: whoever reads from the pipe has seen enough, and nothing is wrong.
        """
        try:
            yield
        except (OutputError, BrokenPipeError):
            raise
        except OSError as error:
            raise self.failure(error) from error


class PendingPath(Output):
    """A temporary file or directory that becomes ``target`` on ``commit`` and vanishes on ``discard``.

    ``temporary`` exists from the start, so a target that cannot be written is refused before any work is
    done, and ends like ``target``, so that formats chosen by suffix stay the same. A file that is already
    there is replaced by ``commit``, in one step, and untouched before it. A directory must be absent or
    empty; an empty one stays itself (it may be a mount point) and receives the files on ``commit``.

    A process that is killed leaves its temporary behind. Whoever writes to the same name next warns of it,
    says what it holds, by ``state``, and leaves it where it is; one that holds nothing is removed.

    Args:
        target: where the output shall be.
        directory: whether it is one.
        state: says of a leftover file, in a few words, in what state it is.

    Raises:
        OutputError: the target is of the wrong kind, lies in no directory, or cannot be written.
    """

    def __init__(
        self,
        target: str | os.PathLike[str],
        *,
        directory: bool = False,
        state: Callable[[Path], str] | None = None,
    ) -> None:
        super().__init__(os.fspath(target))
        # Through symbolic links, so that the link survives and what it points to is replaced.
        self.target = Path(os.path.realpath(target))
        self._lock: PartLock | None = None
        self._sync = DiskSync()
        with self.errors():
            self._refuse_wrong_kind(directory)
            home = self.target if self.target.is_dir() else self.target.parent
            self.temporary = self._made(home, directory)
        try:
            with self.errors():
                self._warn_of_others(home, state)
        except BaseException:
            self.discard()
            raise

    def written(self, path: Path | None = None) -> None:
        """Have the temporary, or ``path`` in it, brought onto the disk within a second."""
        self._sync.note(self.temporary if path is None else path)

    def commit(self) -> None:
        """Give the temporary its final name.

        Raises:
            OutputError: it cannot be renamed; the temporary is gone then.
        """
        try:
            with self.errors():
                self._sync.stop(keep=True)
                if self.target.is_dir():
                    for entry in sorted(self.temporary.iterdir()):
                        entry.replace(self.target / entry.name)
                    self.temporary.rmdir()
                    sync(self.target)
                else:
                    self.temporary.replace(self.target)
                sync(self.target.parent)
        except BaseException:
            self.discard()
            raise
        self._release()

    def discard(self) -> None:
        """Remove the temporary; whatever stood at the target stays."""
        self._sync.stop(keep=False)
        if self.temporary.is_dir():
            shutil.rmtree(self.temporary, ignore_errors=True)
        else:
            self.temporary.unlink(missing_ok=True)
        self._release()

    def _made(self, home: Path, directory: bool) -> Path:
        before, after = _part_name(self.target)
        while True:
            path = home / f"{before}{secrets.token_hex(4)}{after}"
            if directory:
                path.mkdir()
            else:
                path.touch(exist_ok=False)
            self._lock = lock(path, wait=True)
            # Another process may have taken it for a leftover before the lock was on it.
            if path.exists():
                return path
            self._release()

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _warn_of_others(self, home: Path, state: Callable[[Path], str] | None) -> None:
        if self._lock is None:
            return  # without locks nobody can tell what is left over from what is being written
        for path in sorted(home.iterdir()):
            if path == self.temporary or not _is_part(path, self.target):
                continue
            found = lock(path)
            if found is None:
                _warn(f"another run is writing to {self.name!r} at this moment, in {path}: the last one to end stays")
                continue
            try:
                if _remove_if_empty(path):
                    continue
                said = "" if state is None else f", {state(path)}"
                _warn(
                    f"an unfinished output of an earlier run to {self.name!r} lies at {path} (last written "
                    f"{_time_of(path)}{said}): rename it to keep it, or delete it"
                )
            finally:
                found.release()

    def _refuse_wrong_kind(self, directory: bool) -> None:
        if not self.target.parent.is_dir():
            raise self._refusal(f"there is no directory {str(self.target.parent)!r}", "create it first")
        if directory:
            if self.target.exists() and not self.target.is_dir():
                raise self._refusal("it is not a directory", "name a new or an empty directory")
            if self.target.is_dir() and not all(_is_part(path, self.target) for path in self.target.iterdir()):
                raise self._refusal("the directory is not empty", "name a new or an empty directory")
        elif self.target.is_dir():
            raise self._refusal("it is a directory", "name a file in it")
        elif self.target.exists() and not self.target.is_file():
            raise self._refusal("it is a device or a pipe", "name a regular file")

    def _refusal(self, what: str, remedy: str) -> OutputError:
        return OutputError(f"cannot write {self.name!r}: {what}; {remedy}")


def _part_name(target: Path) -> tuple[str, str]:
    """Return what stands before and after eight random characters in the names of temporaries for ``target``."""
    suffix = target.suffix if len(os.fsencode(target.suffix)) <= _LONGEST_SUFFIX else ""
    before, after = f".{target.stem}-", f".part{suffix}"
    if len(os.fsencode(before + after)) + 8 > _LONGEST_NAME:
        before = f".{hashlib.sha256(os.fsencode(target.name)).hexdigest()[:32]}-"
    return before, after


def _is_part(path: Path, target: Path) -> bool:
    """Say whether ``path`` is a temporary for ``target``, by its name."""
    before, after = _part_name(target)
    name = path.name
    return name.startswith(before) and name.endswith(after) and len(name) == len(before) + 8 + len(after)


def _remove_if_empty(path: Path) -> bool:
    """Remove a leftover that holds nothing; return whether it did."""
    with contextlib.suppress(OSError):
        if path.is_dir():
            path.rmdir()  # refuses one that holds something
            return True
        if path.stat().st_size == 0:
            path.unlink()
            return True
    return False


def _time_of(path: Path) -> str:
    newest = max((entry.stat().st_mtime for entry in path.iterdir()), default=0.0) if path.is_dir() else 0.0
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(max(newest, path.stat().st_mtime)))


def _warn(message: str) -> None:
    warnings.warn(message, UnfinishedOutputWarning, stacklevel=2)

"""Write beside the target, rename when whole."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from arseg_edge.errors import OutputError


class Output:
    """Where a sink writes, by the name that errors give it; here one that is open already, as a stream."""

    def __init__(self, name: str) -> None:
        self.name = name

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

    Raises:
        OutputError: the target is of the wrong kind, lies in no directory, or cannot be written.
    """

    def __init__(self, target: str | os.PathLike[str], *, directory: bool = False) -> None:
        super().__init__(os.fspath(target))
        # Through symbolic links, so that the link survives and what it points to is replaced.
        self.target = Path(os.path.realpath(target))
        with self.errors():
            self._refuse_wrong_kind(directory)
            home = self.target if self.target.is_dir() else self.target.parent
            self.temporary = home / f".{self.target.stem}-{secrets.token_hex(4)}.part{self.target.suffix}"
            if directory:
                self.temporary.mkdir()
            else:
                self.temporary.touch(exist_ok=False)

    def commit(self) -> None:
        """Give the temporary its final name.

        Raises:
            OutputError: it cannot be renamed; the temporary is gone then.
        """
        try:
            with self.errors():
                if self.target.is_dir():
                    for entry in sorted(self.temporary.iterdir()):
                        entry.replace(self.target / entry.name)
                    self.temporary.rmdir()
                else:
                    self.temporary.replace(self.target)
        except BaseException:
            self.discard()
            raise

    def discard(self) -> None:
        """Remove the temporary; whatever stood at the target stays."""
        if self.temporary.is_dir():
            shutil.rmtree(self.temporary, ignore_errors=True)
        else:
            self.temporary.unlink(missing_ok=True)

    def _refuse_wrong_kind(self, directory: bool) -> None:
        if not self.target.parent.is_dir():
            raise self._refusal(f"there is no directory {str(self.target.parent)!r}", "create it first")
        if directory:
            if self.target.exists() and not self.target.is_dir():
                raise self._refusal("it is not a directory", "name a new or an empty directory")
            if self.target.is_dir() and any(self.target.iterdir()):
                raise self._refusal("the directory is not empty", "name a new or an empty directory")
        elif self.target.is_dir():
            raise self._refusal("it is a directory", "name a file in it")
        elif self.target.exists() and not self.target.is_file():
            raise self._refusal("it is a device or a pipe", "name a regular file")

    def _refusal(self, what: str, remedy: str) -> OutputError:
        return OutputError(f"cannot write {self.name!r}: {what}; {remedy}")

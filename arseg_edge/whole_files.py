"""Writing files so that at every moment a whole one is there, whenever the process is killed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from os import fsync
from pathlib import Path
from typing import BinaryIO

from arseg_edge import at_stop
from arseg_edge.errors import OutputError


def replace_file(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Have ``write`` fill a new file, which then takes the place of ``path``; its folder is made.

    Raises ``OutputError`` where that cannot be done.
    """
    unfinished = path.with_name(f"{path.name}.unfinished")
    remove = partial(unfinished.unlink, missing_ok=True)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with at_stop.during(remove):
            try:
                with unfinished.open("wb") as file:
                    write(file)
                    file.flush()
                    fsync(file.fileno())
                unfinished.replace(path)
            except BaseException:
                remove()
                raise
    except OSError as error:
        reason = error.strerror or error
        raise OutputError(f"{path}: cannot be written ({reason}): free space or choose another folder") from None


def replace_text(path: Path, text: str) -> None:
    """Write text, as UTF-8, into a new file, which then takes the place of ``path``."""
    replace_file(path, lambda file: file.write(text.encode()))

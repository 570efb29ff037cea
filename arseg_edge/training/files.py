"""Writing files so that at every moment a whole one is there, whenever the process is killed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from arseg_edge.errors import OutputError


def replace_file(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Have ``write`` fill a new file, which then takes the place of ``path``; its folder is made.

    Raises ``OutputError`` where that cannot be done.
    """
    unfinished = path.with_name(f"{path.name}.unfinished")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with unfinished.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except OSError as error:
        reason = error.strerror or error
        raise OutputError(f"{path}: cannot be written ({reason}): free space or choose another folder") from None


def replace_text(path: Path, text: str) -> None:
    """Write text, as UTF-8, likewise."""
    replace_file(path, lambda file: file.write(text.encode()))

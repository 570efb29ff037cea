"""The names and colours of a converted model's classes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from arseg_edge.errors import UsageError
from arseg_edge.export.convert.beside import CONFIG, Beside
from arseg_edge.export.convert.class_output import MOST_CLASSES, ClassOutput
from arseg_edge.export.convert.request import Request
from arseg_edge.manifest import ClassInfo
from arseg_edge.palette import ClassSet, distinct_colours

BINARY: Final = ("background", "foreground")
_BLACK_ALONE: Final = (230, 25, 75)
"""Of one class beside a black background."""


def read_classes(text: str) -> ClassSet | int:
    """Return what ``--classes`` says: a number, or the classes of a ``dataset.yaml``.

    Raises:
        UsageError: no such file, or a number that cannot be.
        DatasetError: the file makes no sense.
    """
    from arseg_edge.datasets.description import FILE, read_description

    if text.isascii() and text.isdigit():
        if not 1 <= int(text) <= MOST_CLASSES:
            raise UsageError(f"--classes {text}: must be 1 to {MOST_CLASSES}, or a YAML file that names them")
        return int(text)
    path = Path(text) / FILE if Path(text).is_dir() else Path(text)
    if not path.is_file():
        raise UsageError(f"--classes {text}: no such file: name a YAML file with classes: [ground, plant], or how many")
    return read_description(path).classes


def known_count(request: Request, beside: Beside) -> int | None:
    """Return how many classes there are, where that is said; of a single one the background is not counted."""
    if isinstance(request.classes, ClassSet):
        return len(request.classes.names)
    if request.classes is not None:
        return request.classes
    return None if beside.names is None else len(beside.names)


def class_infos(
    request: Request, beside: Beside, output: ClassOutput, channels: int | None, name: str
) -> tuple[ClassInfo, ...]:
    """Return the classes of an output; ``channels`` is how many it has, None where it gives labels alone.

    Raises:
        UsageError: they are of another number, or nothing says how many there are.
    """
    given = request.classes
    names: Sequence[str] | None = given.names if isinstance(given, ClassSet) else None
    said = "--classes" if given is not None else CONFIG
    if given is None:
        names = beside.names
    count = len(names) if names is not None else given if isinstance(given, int) else None
    if output.kind == "score":
        if count == 1:
            names, count = (None if names is None else (BINARY[0], names[0])), 2
        channels = 2
    if channels is None and count is None:
        raise UsageError(
            f"{name}: output {output.name} holds labels, which do not say how many classes there are: give --classes, "
            "their number or a YAML file that names them"
        )
    wanted = count if channels is None else channels
    assert wanted is not None
    if count is not None and count != wanted:
        raise UsageError(
            f"{name}: output {output.name} has {wanted} classes, and {said} {count}: give --classes with those of this "
            "model"
        )
    if isinstance(given, ClassSet) and len(given.names) == wanted:
        colours = given.colours
    else:
        colours = ((0, 0, 0), _BLACK_ALONE) if wanted == 2 else distinct_colours(wanted)
    if names is None:
        names = BINARY if output.kind == "score" else [f"class {index}" for index in range(wanted)]
    return tuple(ClassInfo(_printable(each), colour) for each, colour in zip(names, colours, strict=True))


def _printable(name: str) -> str:
    """Return a name as a manifest takes it; files of others hold what they hold."""
    text = " ".join(name.split())
    return (text if text.isprintable() else ascii(text)[1:-1])[:200] or "unnamed"

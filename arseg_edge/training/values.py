"""The values of settings, as they come from flags (text) and from YAML (text, numbers, lists)."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

StillAt = Literal["last", "anywhere"]
"""Which frame of the clip that is made of a still is the still itself."""


@dataclass(frozen=True)
class DataSource:
    """A data set, or videos, to train on."""

    path: Path
    """Its folder, or a video; made absolute, since a file of settings may be used from another folder."""
    split: str | None = None
    """Which part; None where there is only one."""
    weight: float | None = None
    """In proportion to which pairs are drawn from it; None for all labelled frames to be as likely."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", self.path.expanduser().resolve())


@dataclass(frozen=True)
class Kind:
    """A kind of values: how one is read, and what it is in YAML."""

    metavar: str
    """What stands for it in ``--help``."""
    parse: Callable[[object], Any]
    """Raises ``ValueError`` with what to give instead."""
    plain: Callable[[Any], object] = lambda value: value
    """The inverse, to what YAML has: text, numbers, lists, mappings."""


def whole(least: int, most: int | None = None) -> Kind:
    """Whole numbers from ``least`` to ``most``."""
    limits = f"of at least {least}" if most is None else f"from {least} to {most}"

    def parse(given: object) -> int:
        try:
            number = int(given) if isinstance(given, str) else given
        except ValueError:
            number = None
        if type(number) is not int or number < least or (most is not None and number > most):
            raise ValueError(f"give a whole number {limits}")
        return number

    return Kind("N", parse)


def number(least: float, most: float = math.inf, *, above: bool = False) -> Kind:
    """Numbers from ``least`` to ``most``; ``above`` leaves ``least`` itself out."""
    limits = f"{'above' if above else 'of at least'} {least:g}{'' if most == math.inf else f', {most:g} at most'}"

    def parse(given: object) -> float:
        try:
            value = math.nan if isinstance(given, bool) else float(given)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            value = math.nan
        if not (least < value if above else least <= value) or not value <= most or math.isinf(value):
            raise ValueError(f"give a number {limits}")
        return value

    return Kind("X", parse)


def choice(*names: str) -> Kind:
    """One of some words."""

    def parse(given: object) -> str:
        if given not in names:
            raise ValueError(f"choose {', '.join(names[:-1])} or {names[-1]}")
        return str(given)

    return Kind("|".join(names), parse)


def choice_or_path(*names: str) -> Kind:
    """One of some words, or a path."""

    def parse(given: object) -> str | Path:
        return given if isinstance(given, str) and given in names else _path(given)

    return Kind(f"{'|'.join(names)}|PATH", parse, str)


def optional(kind: Kind, word: str) -> Kind:
    """Values of a kind, or a word that stands for None."""

    def parse(given: object) -> Any:
        if given is None or given == word:
            return None
        try:
            return kind.parse(given)
        except ValueError as error:
            raise ValueError(f"{error}, or {word}") from None

    return Kind(f"{kind.metavar}|{word}", parse, lambda value: word if value is None else kind.plain(value))


def several(kind: Kind) -> Kind:
    """Any number of values of a kind; in YAML a list, or one of them."""

    def parse(given: object) -> tuple[Any, ...]:
        values = []
        for each in given if isinstance(given, list | tuple) else (given,):
            try:
                values.append(kind.parse(each))
            except ValueError as error:
                raise ValueError(f"{each!r}: {error}") from None
        return tuple(values)

    return Kind(kind.metavar, parse, lambda values: [kind.plain(each) for each in values])


def _flag(given: object) -> bool:
    if not isinstance(given, bool):
        raise ValueError("give true or false")
    return given


def _text(given: object) -> str:
    if not isinstance(given, str) or not given:
        raise ValueError("give text, in quotes where it is a number")
    return given


def _path(given: object) -> Path:
    if not isinstance(given, str | os.PathLike) or not str(given):
        raise ValueError("give a path")
    return Path(given).expanduser().resolve()


def _rate(given: object) -> Fraction:
    try:
        rate = Fraction(0) if isinstance(given, bool) else Fraction(str(given))
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if rate <= 0:
        raise ValueError("give frames a second, like 25 or 30000/1001")
    return rate


def _size(given: object) -> tuple[int, int]:
    sides = re.fullmatch(r"(\d+)x(\d+)", given) if isinstance(given, str) else None
    height, width = (int(sides[1]), int(sides[2])) if sides else (0, 0)
    if min(height, width) < 32:
        raise ValueError("give HEIGHTxWIDTH, 32 each at least, such as 320x416")
    return height, width


_WEIGHT = number(0, above=True)
_SOURCE_KEYS = ("path", "split", "weight")


def _source(given: object) -> DataSource:
    if isinstance(given, dict):
        unknown = [str(key) for key in given if key not in _SOURCE_KEYS]
        if unknown or "path" not in given:
            raise ValueError(f"give {', '.join(_SOURCE_KEYS)}, not {', '.join(unknown) or 'a mapping without path'}")
        split, weight = given.get("split"), given.get("weight")
        return DataSource(
            _path(given["path"]),
            None if split is None else _text(split),
            None if weight is None else _WEIGHT.parse(weight),
        )
    if not isinstance(given, str) or not given:
        raise ValueError("give PATH, PATH:SPLIT or PATH:SPLIT=WEIGHT")
    if Path(given).expanduser().exists():  # whatever its name has in it
        return DataSource(_path(given))
    rest, equals, last = given.rpartition("=")
    path, weight = (rest, _WEIGHT.parse(last)) if equals else (given, None)
    rest, colon, last = path.rpartition(":")
    # Of C:\data, C is no path.
    named = colon and re.fullmatch(r"[\w-]+", last) and not Path(path).expanduser().exists()
    return DataSource(_path(rest if named else path), last if named else None, weight)


def _videos(given: object) -> DataSource:
    if isinstance(given, str) and given and not Path(given).expanduser().exists():
        path, equals, weight = given.rpartition("=")
        if equals and path:
            return DataSource(_path(path), None, _WEIGHT.parse(weight))
    if isinstance(given, dict) and "split" not in given:
        return _source(given)
    if not isinstance(given, str | os.PathLike) or not str(given):
        raise ValueError("give a video, or a folder of videos, as PATH or PATH=WEIGHT")
    return DataSource(_path(given))


def _plain_source(source: DataSource) -> object:
    parts = {"path": str(source.path), "split": source.split, "weight": source.weight}
    return {key: value for key, value in parts.items() if value is not None}


FLAG = Kind("", _flag)
TEXT = Kind("TEXT", _text)
PATH = Kind("PATH", _path, str)
RATE = Kind("RATE", _rate, str)
SIZE = Kind("HxW", _size, lambda size: f"{size[0]}x{size[1]}")
VIDEOS = Kind("PATH[=WEIGHT]", _videos, _plain_source)
SOURCE = Kind("PATH[:SPLIT][=WEIGHT]", _source, _plain_source)

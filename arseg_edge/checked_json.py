"""JSON from elsewhere as dataclasses: each field's type says what it must be, and its annotation in which range.

::

    @dataclass(frozen=True)
    class Feature:
        channels: Annotated[int, Between(1, 65536)]

Where a value does not fit, the message names the key. Keys that no field has are let through, and those whose field has
a default may be missing.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

T = TypeVar("T")


class Rule(Protocol):
    """What a value must be beside being of its type."""

    def broken_by(self, value: Any) -> str | None:
        """Return what the value should have been, or None where it is."""


@dataclass(frozen=True)
class Between:
    """A number from ``low`` to ``high``, both included."""

    low: float
    high: float

    def broken_by(self, value: float) -> str | None:
        """Return what the number should have been, or None where it is."""
        return None if self.low <= value <= self.high else f"a number from {self.low:g} to {self.high:g}"


@dataclass(frozen=True)
class Count:
    """From ``low`` to ``high`` entries of a list or an object."""

    low: int
    high: int

    def broken_by(self, value: typing.Sized) -> str | None:
        """Return how many there should have been, or None where they are."""
        return None if self.low <= len(value) <= self.high else f"{self.low} to {self.high} entries"


@dataclass(frozen=True)
class Printable:
    """Text of at most ``longest`` characters that can be shown: no control characters, no halves of characters."""

    longest: int = 200
    shortest: int = 1

    def broken_by(self, value: str) -> str | None:
        """Return what the text should have been, or None where it is."""
        fits = self.shortest <= len(value) <= self.longest and value.isprintable()
        return None if fits else f"text of {self.shortest} to {self.longest} characters that can be printed"


@dataclass(frozen=True)
class Matching:
    """Text of the form ``pattern``, a regular expression, which ``what`` says in words."""

    pattern: str
    what: str

    def broken_by(self, value: str) -> str | None:
        """Return what the text should have been, or None where it is."""
        return None if re.fullmatch(self.pattern, value) else self.what


def read_json(text: str | bytes) -> dict[str, Any]:
    """Return the object that ``text``, in UTF-8, holds.

    Numbers that Python cannot hold as they are, such as ``1e999``, are left to :func:`decode`, which refuses them
    and can name their key.

    Raises:
        ValueError: not JSON, not an object, nested too deeply, or with a key twice in one object.
    """
    try:
        if isinstance(text, bytes):
            text = text.decode()
        found = json.loads(
            text, parse_constant=_refuse_constant, parse_int=_integer, object_pairs_hook=_object_of_different_keys
        )
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 at byte {error.start}") from None
    if not isinstance(found, dict):
        raise ValueError("not an object")
    return found


def decode(kind: type[T], value: object, where: str) -> T:
    """Return ``value``, parsed JSON, as ``kind``, with every key, type and range checked on the way.

    Args:
        kind: a dataclass whose fields are of scalars, ``Literal``, optional, tuples, dictionaries, and dataclasses.
        value: what :func:`read_json` gave.
        where: the document's name, for messages.

    Raises:
        ValueError: a key is missing, or a value is not what its field says; one line, with the key.
    """
    result = _decode(kind, value, where)
    return typing.cast(T, result)


def check(value: Any, where: str) -> None:
    """Check a dataclass that was made here as :func:`decode` will when it is read again.

    Raises:
        ValueError: it would be refused.
    """
    decode(type(value), json.loads(json.dumps(dataclasses.asdict(value))), where)


class _Unusable:
    """A number that is too long to be one."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return f"{self._text[:20]}… ({len(self._text)} digits)"


def _integer(text: str) -> int | _Unusable:
    # Python reads numbers of any length, slowly, and floats cannot hold them.
    return int(text) if len(text) <= 20 else _Unusable(text)


def _refuse_constant(constant: str) -> float:
    """Refuse NaN and Infinity, which Python writes and reads and JSON does not have."""
    raise ValueError(f"{constant} is no number in JSON")


def _object_of_different_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {shown(key)} stands twice in one object")
        found[key] = value
    return found


def shown(value: object) -> str:
    """Return a value for a message: short, on one line, however deep it is."""
    if isinstance(value, list | dict):
        return f"{'a list' if isinstance(value, list) else 'an object'} of {len(value)}"
    text = repr(value)
    return text if len(text) < 60 else text[:57] + "..."


def _decode(kind: Any, value: object, where: str) -> Any:
    def fail(expected: str) -> ValueError:
        return ValueError(f"{where} is {shown(value)}, not {expected}")

    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        result = _decode(arguments[0], value, where)
        rules: tuple[Rule, ...] = kind.__metadata__
        for rule in rules:
            expected = rule.broken_by(result)
            if expected is not None:
                raise fail(expected)
        return result
    if dataclasses.is_dataclass(kind):
        return _decode_dataclass(kind, value, where, fail)
    if origin in (typing.Union, types.UnionType):
        (inner,) = (argument for argument in arguments if argument is not type(None))
        return None if value is None else _decode(inner, value, where)
    if origin is Literal:
        if value not in arguments:
            raise fail(" or ".join(map(repr, arguments)))
        return value
    if origin is tuple:
        if not isinstance(value, list):
            raise fail("a list")
        kinds = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else list(arguments)
        if len(kinds) != len(value):
            raise fail(f"a list of {len(kinds)}")
        return tuple(_decode(each, item, where) for each, item in zip(kinds, value, strict=True))
    if origin is dict:
        if not isinstance(value, Mapping):
            raise fail("an object")
        keys = [_decode(arguments[0], key, f"{where}: a key") for key in value]
        return {key: _decode(arguments[1], value[key], f"{where}: {key}") for key in keys}
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        if not math.isfinite(value):
            raise fail("a finite number")
        return float(value)
    if isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
        return value
    raise fail(f"a value of type {kind.__name__}")


def _decode_dataclass(kind: Any, value: object, where: str, fail: typing.Callable[[str], ValueError]) -> Any:
    if not isinstance(value, Mapping):
        raise fail("an object")
    hints = typing.get_type_hints(kind, include_extras=True)
    optional = {field.name for field in dataclasses.fields(kind) if field.default is not dataclasses.MISSING}
    missing = [key for key in hints if key not in value and key not in optional]
    if missing:
        raise ValueError(f"{where} lacks {', '.join(missing)}")
    return kind(**{key: _decode(hints[key], value[key], f"{where}: {key}") for key in hints if key in value})

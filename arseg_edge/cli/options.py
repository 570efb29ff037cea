"""What several commands share: the argument BUNDLE, ``--json``, and how values are read and results printed."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from arseg_edge.demo import demo_bundle
from arseg_edge.errors import UsageError

if TYPE_CHECKING:
    from arseg_edge.runtime.schedule.keyframes import Guards

model_argument = click.argument("bundle", type=click.Path(path_type=Path), default=demo_bundle)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON on standard output.")


def parse_provider(text: str) -> str | tuple[str, dict[str, str]]:
    """Return what ``--provider`` names: a name, or a name with options.

    Raises:
        UsageError: an option without a value.
    """
    name, colon, rest = text.partition(":")
    if not colon:
        return name
    options = {}
    for item in rest.split(","):
        key, equals, value = item.partition("=")
        if not equals or not key:
            raise UsageError(f"--provider {text}: {item!r} is not key=value: write NAME:key=value,key=value")
        options[key] = value
    return name, options


def parse_size(text: str, otherwise: str = "") -> tuple[int, int]:
    """Return (height, width) of ``HxW``; ``otherwise`` is what else could be written, for the message.

    >>> parse_size("720x960")
    (720, 960)
    """
    height, _, width = text.partition("x")
    if not (height.isascii() and height.isdigit() and width.isascii() and width.isdigit()):
        raise UsageError(f"--size {text!r}: write HEIGHTxWIDTH, such as 720x960{otherwise}")
    return int(height), int(width)


def parse_guards(texts: Sequence[str]) -> Guards | None:
    """Return what ``--guard`` says, each time it is given: NAME=SHARE, or off for none of them.

    >>> parse_guards(["mismatch=0.3", "cut=1"])
    Guards(intra=0.7, mismatch=0.3, cut=1.0)

    Raises:
        UsageError: no such guard, or no share of the picture.
    """
    from arseg_edge.runtime.schedule.keyframes import Guards

    if list(texts) == ["off"]:
        return None
    names = [each.name for each in fields(Guards)]
    shares: dict[str, float] = {}
    for text in texts:
        name, _, share = text.partition("=")
        try:
            if name not in names:
                raise ValueError
            shares[name] = float(share)
        except ValueError:
            raise UsageError(
                f"--guard {text!r}: write NAME=SHARE with {', '.join(names[:-1])} or {names[-1]}, such as "
                "mismatch=0.3; or off, alone"
            ) from None
    return Guards(**shares)


def print_json(data: Any) -> None:
    """Print ``data`` as JSON on standard output; numbers that are not finite, which JSON lacks, as null."""
    click.echo(json.dumps(_finite(data), indent=2, allow_nan=False))


def _finite(data: Any) -> Any:
    if isinstance(data, Mapping):
        return {key: _finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data


def print_table(rows: Sequence[tuple[str, ...]], *, header: tuple[str, ...] | None = None) -> None:
    """Print rows in columns as wide as their widest cell, on standard output."""
    everything = [header, *rows] if header else rows
    widths = [max(len(row[column]) for row in everything) for column in range(len(everything[0]))]
    for row in everything:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        if row is header:
            click.echo("  ".join("-" * width for width in widths))

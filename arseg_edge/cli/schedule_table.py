"""What each schedule brings and costs, as a table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from arseg_edge.cli.options import print_table

if TYPE_CHECKING:
    from arseg_edge.evaluation.schedules import Row


def print_schedules(rows: Sequence[Row], score: str) -> None:
    """Print a line for each schedule; ``score`` says what is measured."""
    header = ("schedule", score, "frames: HR", "LR", "moved", "arithmetic", "consistency")
    cells = [
        (
            row.title,
            _cell(row.score),
            *(f"{100 * share:.1f} %" for share in row.branches),
            f"{100 * row.arithmetic:.1f} %",
            _cell(row.consistency),
        )
        for row in rows
    ]
    print_table(cells, header=header)
    click.echo("arithmetic: multiply-accumulates of the networks, of those that HR on every frame has")


def _cell(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2f}"

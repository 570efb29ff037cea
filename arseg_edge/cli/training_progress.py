"""How far training is, on standard error: a line that is written over on a terminal, a line an epoch elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from arseg_edge.training.state import Measure, Row

_WIDTH: Final = 24
_REDRAW_SECONDS: Final = 0.2


class TrainingProgress:
    """Told of pairs, steps and epochs; ``check_interrupt`` is called with each."""

    def __init__(self, epochs: int, check_interrupt: Callable[[], None]) -> None:
        self._epochs = epochs
        self._check_interrupt = check_interrupt
        self._terminal = sys.stderr.isatty()
        self._drawn = 0.0
        self._tenth = 0
        self._start: tuple[int, float] | None = None
        """Of the steps of this process, not of those before it."""
        self._left = ""

    def pairs(self, done: int, total: int) -> None:
        """Show how many pairs of a data set are made."""
        if self._terminal:
            self._draw(f"{done} of {total} pairs made", done, total)
        elif 10 * done // total != self._tenth:
            self._tenth = 10 * done // total
            click.echo(f"[{done}/{total}] pairs made", err=True)
        self._check_interrupt()

    def videos(self, done: int, total: int) -> None:
        """Show how many videos have been read."""
        if self._terminal:
            self._draw(f"{done} of {total} videos read", done, total)
        else:
            click.echo(f"[{done}/{total}] videos read", err=True)
        self._check_interrupt()

    def step(self, done: int, total: int) -> None:
        """Show how many steps are done, and how long the others will take."""
        now = time.monotonic()
        if self._start is None:
            self._start = done, now
        elif done > self._start[0]:
            self._left = f"{_duration((now - self._start[1]) / (done - self._start[0]) * (total - done))} left"
        if self._terminal:
            self._draw(f"step {done} of {total}, {self._left}", done, total)
        self._check_interrupt()

    def row(self, row: Row) -> None:
        """Show what an epoch came to."""
        parts = [f"{name} {value:.4f}" for name, value in row.losses.items()]
        if row.score is not None:
            parts.append(shown_score(row.measure, row.score))
        if self._left and not self._terminal:
            parts.append(self._left)
        self.close()
        click.echo(f"epoch {row.epoch} of {self._epochs}: {', '.join(parts)}", err=True)

    def close(self) -> None:
        """Remove the line that is written over."""
        if self._terminal:
            click.echo("\r\033[K", err=True, nl=False)

    def _draw(self, what: str, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._drawn >= _REDRAW_SECONDS:
            self._drawn = now
            bar = "█" * (_WIDTH * done // total) + "·" * (_WIDTH - _WIDTH * done // total)
            click.echo(f"\r\033[K{bar} {what}", err=True, nl=False)


def shown_score(measure: Measure, score: float) -> str:
    """Return what validation came to, for a person."""
    return f"mIoU {score:.2f}" if measure == "miou" else f"agreement {score:.2f} %"


def _duration(seconds: float) -> str:
    """Return hours and minutes, minutes and seconds, or seconds."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"

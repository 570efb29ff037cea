"""The curves of a run, as CSV and as a picture."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from matplotlib.figure import Figure

from arseg_edge.training.state import Row
from arseg_edge.whole_files import replace_file, replace_text


def write_curves(rows: Sequence[Row], folder: Path) -> None:
    """Write ``curves.csv`` and ``curves.png``, in place of those of before.

    Raises:
        OutputError: they cannot be written.
    """
    replace_text(folder / "curves.csv", as_csv(rows))
    replace_file(folder / "curves.png", partial(_figure(rows).savefig, format="png", dpi=100))


def as_csv(rows: Sequence[Row]) -> str:
    """Return the curves as CSV, a line an epoch; without times, so that equal runs have equal files."""
    parts = _parts(rows)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["epoch", "step", "learning_rate", *parts, *_measures(rows)])
    for row in rows:
        losses = [row.losses.get(part, "") for part in parts]
        table.writerow([row.epoch, row.step, row.learning_rate, *losses, "" if row.score is None else row.score])
    return text.getvalue()


def _parts(rows: Sequence[Row]) -> list[str]:
    """The names of the losses, in the order in which they came."""
    return list(dict.fromkeys(part for row in rows for part in row.losses))


def _measures(rows: Sequence[Row]) -> list[str]:
    """The one measure of a run; none where there are no rows."""
    return list(dict.fromkeys(row.measure for row in rows))


_TITLES: Final[Mapping[str, str]] = {
    "miou": "mIoU in validation, %",
    "agreement": "pixels labelled as HR does, in validation, %",
}


def _figure(rows: Sequence[Row]) -> Figure:
    # Drawn after every epoch: a layout of its own finding would take most of the time.
    figure = Figure(figsize=(10, 4))
    losses, scores = figure.subplots(1, 2, gridspec_kw={"left": 0.06, "right": 0.98, "top": 0.96, "bottom": 0.12})
    for part in _parts(rows):
        known = [row for row in rows if part in row.losses]
        losses.plot([row.epoch for row in known], [row.losses[part] for row in known], label=part)
    losses.set(xlabel="epoch", ylabel="loss", ylim=(0, None))
    losses.legend()
    judged = [(row.epoch, row.score) for row in rows if row.score is not None]
    scores.plot([epoch for epoch, _ in judged], [value for _, value in judged], "o-", markersize=3)
    scores.set(xlabel="epoch", ylabel=", ".join(_TITLES[each] for each in _measures(rows)))
    for axes in (losses, scores):
        axes.grid(alpha=0.3)
    return figure

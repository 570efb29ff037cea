"""The curves of a run, as CSV and as a picture."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from functools import partial
from pathlib import Path

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
    table.writerow(["epoch", "step", "learning_rate", *parts, "miou"])
    for row in rows:
        losses = [row.losses.get(part, "") for part in parts]
        table.writerow([row.epoch, row.step, row.learning_rate, *losses, "" if row.miou is None else row.miou])
    return text.getvalue()


def _parts(rows: Sequence[Row]) -> list[str]:
    """The names of the losses, in the order in which they came."""
    return list(dict.fromkeys(part for row in rows for part in row.losses))


def _figure(rows: Sequence[Row]) -> Figure:
    # Drawn after every epoch: a layout of its own finding would take most of the time.
    figure = Figure(figsize=(10, 4))
    losses, miou = figure.subplots(1, 2, gridspec_kw={"left": 0.06, "right": 0.98, "top": 0.96, "bottom": 0.12})
    for part in _parts(rows):
        known = [row for row in rows if part in row.losses]
        losses.plot([row.epoch for row in known], [row.losses[part] for row in known], label=part)
    losses.set(xlabel="epoch", ylabel="loss", ylim=(0, None))
    losses.legend()
    judged = [(row.epoch, row.miou) for row in rows if row.miou is not None]
    miou.plot([epoch for epoch, _ in judged], [value for _, value in judged], "o-", markersize=3)
    miou.set(xlabel="epoch", ylabel="mIoU on the validation split, %")
    for axes in (losses, miou):
        axes.grid(alpha=0.3)
    return figure

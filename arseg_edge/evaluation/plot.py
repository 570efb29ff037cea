"""The evaluation as a picture: mIoU by distance, and IoU by class."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Final

import numpy as np

from arseg_edge.errors import OutputError, UsageError
from arseg_edge.evaluation.by_distance import AR, HR, LR, ZERO_MOTION, EvaluationReport
from arseg_edge.whole_files import replace_file

NAMES: Final = {HR: "HR on every frame", LR: "LR alone", AR: "AR", ZERO_MOTION: "AR, zero motion"}
_COLOURS: Final = {HR: "#444444", LR: "#d9822b", AR: "#1f6fb4", ZERO_MOTION: "#8fb8d8"}


def check_matplotlib() -> None:
    """Raise UsageError where matplotlib is not installed: known before long work, not after."""
    if importlib.util.find_spec("matplotlib") is None:
        raise UsageError('--plot needs matplotlib, which is not installed: pip install "arseg-edge[train]"')


def plot(report: EvaluationReport, path: Path) -> None:
    """Write the picture; the suffix of ``path`` says of which kind (``.png``, ``.svg``, ``.pdf``).

    Raises:
        OutputError: the file cannot be written, or matplotlib does not know its kind.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.2), layout="constrained")
    distances, classes = figure.subplots(1, 2, width_ratios=(1, 1.4))
    width = 0.8 / len(report.methods)
    for number, (name, scores) in enumerate(report.methods.items()):
        label = f"{NAMES[name]} ({scores.mean:.1f})"
        distances.plot(np.arange(len(scores.by_distance)), scores.by_distance, "o-", color=_COLOURS[name], label=label)
        places = np.arange(len(report.classes.names)) + (number - (len(report.methods) - 1) / 2) * width
        classes.bar(places, np.nan_to_num(scores.by_class), width, color=_COLOURS[name])
    distances.set(xlabel="frames since the keyframe", ylabel="mIoU, %", title=f"{report.model} on {report.dataset}")
    distances.legend(title="mean over the distances")
    distances.grid(alpha=0.3)
    classes.set(ylabel="IoU over all frames, %", ylim=(0, 100))
    classes.set_xticks(np.arange(len(report.classes.names)), report.classes.names, rotation=40, ha="right")
    try:
        replace_file(path, lambda file: figure.savefig(file, format=path.suffix.removeprefix("."), dpi=130))
    except ValueError as error:
        raise OutputError(f"{path}: cannot be written ({error}): choose another --plot") from None

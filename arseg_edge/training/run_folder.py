"""The folder of a run: weights, state, curves, and what is needed to train the same again.

::

    best.pth      the weights of the best validation
    state.pt      what a run that was killed goes on from
    curves.csv, curves.png
    config.yaml   all settings; ``arseg-edge train hr --config config.yaml`` trains the same again
    command.txt   the command line
    inputs.json   what the pairs and the teacher were, so that nothing else is taken for them
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import yaml  # type: ignore[import-untyped]

from arseg_edge.errors import UsageError
from arseg_edge.training.config import read_mapping, read_settings
from arseg_edge.training.settings import HrSettings, LrSettings
from arseg_edge.whole_files import replace_text

STATE: Final = "state.pt"
BEST: Final = "best.pth"
CONFIG: Final = "config.yaml"
COMMAND: Final = "command.txt"
INPUTS: Final = "inputs.json"
CURVES: Final = ("curves.csv", "curves.png")

_AGAIN: Final = "give another --output, or --restart to train anew"


def enter_folder(folder: Path, settings: HrSettings, command: str | None, *, restart: bool) -> None:
    """Write down the settings of a run that begins, or see that it is the one that goes on.

    Raises:
        UsageError: the folder has the state of a run with other settings; the message names them.
        OutputError: it cannot be written.
    """
    if restart:
        for name in (STATE, BEST, CONFIG, COMMAND, INPUTS, *CURVES):
            (folder / name).unlink(missing_ok=True)
    if (folder / STATE).exists():
        _check_settings(folder, settings)
    text = yaml.safe_dump(settings.plain(), sort_keys=False, allow_unicode=True)
    replace_text(folder / CONFIG, f"# arseg-edge train {settings.name} --config {CONFIG} --output FOLDER\n{text}")
    if command is not None:
        replace_text(folder / COMMAND, f"{command}\n")


def check_inputs(folder: Path, inputs: Mapping[str, object]) -> None:
    """Write down what a run begins with, or see that it is what it began with.

    Raises:
        UsageError: something has changed since; the message names it.
        OutputError: the file cannot be written.
    """
    path = folder / INPUTS
    if (folder / STATE).exists():
        try:
            before = json.loads(path.read_text(encoding="utf-8"))
            changed = [name for name in inputs if inputs[name] != before.get(name)]
        except (OSError, ValueError, AttributeError):
            raise UsageError(f"{path}: missing or damaged, but {folder / STATE} is there: {_AGAIN}") from None
        if changed:
            raise UsageError(f"{folder}: since this run began, {' and '.join(changed)} changed: {_AGAIN}")
    replace_text(path, json.dumps(inputs, indent=2) + "\n")


def _check_settings(folder: Path, settings: HrSettings) -> None:
    if ("hr" in read_mapping(folder / CONFIG)) != isinstance(settings, LrSettings):
        raise UsageError(f"{folder}: holds a run of another kind than train {settings.name}: give another --output")
    before = read_settings(type(settings), {}, folder / CONFIG)
    differing = settings.differences(before)
    if differing:
        name = differing[0]
        was, now = before.plain()[name], settings.plain()[name]
        others = f" (and {', '.join(differing[1:])} differs too)" if differing[1:] else ""
        raise UsageError(f"{folder}: this run began with {name} {was!r}, not {now!r}{others}: {_AGAIN}")

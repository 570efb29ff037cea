"""All that a run needs to go on after it was killed, in one file that is replaced in one go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from arseg_edge.errors import CheckpointError, reason_of
from arseg_edge.whole_files import replace_file

Measure = Literal["miou", "agreement"]
"""What weights are chosen by: the mIoU with labels, or the share of pixels whose label is HR's."""


@dataclass(frozen=True)
class Row:
    """One line of the curves."""

    epoch: int
    """From 1."""
    step: int
    """Steps done at its end."""
    learning_rate: float
    losses: Mapping[str, float]
    """Mean of each part over the epoch."""
    measure: Measure
    """What the score is."""
    score: float | None
    """In validation, 0 to 100; None where it was not measured."""
    seconds: float
    """Since training began, without the time it was stopped."""


@dataclass(frozen=True)
class State:
    """The file, and what it is the state of: weights, their running average, the optimiser's moments."""

    path: Path
    network: nn.Module
    average: nn.Module | None
    optimiser: torch.optim.Optimizer

    def load(self, device: torch.device) -> tuple[int, list[Row], dict[str, float]]:
        """Take everything back; return steps done, the curves, and the sums of the losses of the epoch so far.

        Without a file nothing is done yet. Raises ``CheckpointError`` for the state of another run.
        """
        if not self.path.exists():
            return 0, [], {}
        try:
            held = torch.load(self.path, map_location=device, weights_only=True)
            self.network.load_state_dict(held["network"])
            self.optimiser.load_state_dict(held["optimiser"])
            if self.average is not None:
                self.average.load_state_dict(held["average"])
            return held["step"], [Row(**row) for row in held["rows"]], held["sums"]
        except Exception as error:  # damaged files make torch.load raise anything
            raise CheckpointError(
                f"{self.path} is not the state of this run ({reason_of(error, 120)}): choose another folder, or remove "
                "the file to start again"
            ) from error

    def save(self, step: int, rows: list[Row], sums: Mapping[str, float]) -> None:
        """Write the file; raises ``OutputError`` where that cannot be done."""
        held = {
            "step": step,
            "network": self.network.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "rows": [asdict(row) for row in rows],
            "sums": dict(sums),
        }
        replace_file(self.path, lambda file: torch.save(held, file))

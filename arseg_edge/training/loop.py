"""The loop that HR and LR training share: optimise, average, validate, and be ready to be killed at any moment.

The learning rate, the batch and the augmentation of a step follow from its number. With everything else in one
file (``state.py``), a run that is taken up again ends with the same bits as one that was never stopped.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from arseg_edge.errors import TrainingError, UsageError
from arseg_edge.export.checkpoint import state_dict_for
from arseg_edge.export.families import Family
from arseg_edge.training.augment import Augmentation
from arseg_edge.training.batches import Batch, Mixture, batches
from arseg_edge.training.curves import write_curves
from arseg_edge.training.networks import place
from arseg_edge.training.state import Measure, Row, State
from arseg_edge.whole_files import replace_file

Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class LoopSettings:
    """How the weights are found."""

    epochs: int = 100
    """An epoch is as many steps as it takes to see every item of the caches once on average."""
    batch_size: int = 8
    learning_rate: float = 1e-3
    """Reached after the warm-up; falls to 0 along a cosine."""
    optimiser: Literal["adam", "adamw", "sgd"] = "adam"
    weight_decay: float = 0.0
    warm_up_steps: int = 0
    average_decay: float = 0.0
    """Of the running average of the weights, a step; 0 keeps none. Where there is one, it is what comes out."""
    precision: Precision = "float32"
    """Of convolutions; ``bfloat16`` pays where the device has instructions for it."""
    seed: int = 0
    validate_every: int = 5
    """Epochs between two validations; the last one is always followed by one."""
    save_every: int = 200
    """Steps between two saves of the state."""
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        """Raises ``UsageError`` for numbers that make no sense."""
        for name, least in (("epochs", 1), ("batch_size", 2), ("validate_every", 1), ("save_every", 1)):
            if getattr(self, name) < least:
                raise UsageError(f"{name} {getattr(self, name)}: must be at least {least}")
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise UsageError(f"learning rate {self.learning_rate}: must be above 0")
        if not 0 <= self.average_decay < 1:
            raise UsageError(f"average decay {self.average_decay}: must be from 0 to below 1")


class Task(Protocol):
    """What is trained: a network, what it should minimise, and how it is judged."""

    @property
    def family(self) -> Family:
        """What the network is of."""

    @property
    def network(self) -> nn.Module:
        """Its parameters that require gradients are trained."""

    def losses(self, batch: Batch, epoch: int) -> dict[str, Tensor]:
        """Return the parts of the loss of a batch, whose sum is minimised."""

    @property
    def measure(self) -> Measure:
        """What ``validate`` returns."""

    def validate(self, network: nn.Module, epoch: int) -> float | None:
        """Return the score, 0 to 100, of a copy of the network in evaluation mode."""


@dataclass(frozen=True)
class Outcome:
    """What training came to."""

    best: Path
    """The weights of the best validation, a state dict."""
    score: float
    """Of that validation, 0 to 100."""
    measure: Measure
    """What the score is."""
    rows: tuple[Row, ...]
    """The curves."""


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[None]:
    """Return a context in which convolutions run at ``precision``."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


def run(
    task: Task,
    mixture: Mixture,
    settings: LoopSettings,
    folder: Path,
    device: torch.device,
    on_step: Callable[[int, int], None] | None = None,
    on_row: Callable[[Row], None] | None = None,
) -> Outcome:
    """Train, or go on where ``folder`` holds the state of the same run.

    Args:
        task: what to train.
        mixture: what to train it on.
        settings: how.
        folder: gets ``state.pt``, ``best.pth``, and the curves.
        device: where.
        on_step: is told how many steps are done, and how many there are. It may raise ``KeyboardInterrupt``: the
            state is saved, so that not even the last steps are lost.
        on_row: is told each new line of the curves.

    Raises:
        TrainingError: the loss is no finite number any more; the best weights so far stay.
        CheckpointError: ``folder`` holds the state of something else.
        OutputError: a file cannot be written.
    """
    network = place(task.network, device)
    average = copy.deepcopy(network).eval() if settings.average_decay else None
    optimiser = _optimiser(network, settings)
    per_epoch = max(1, math.ceil(len(mixture) / settings.batch_size))
    steps = per_epoch * settings.epochs
    state = State(folder / "state.pt", network, average, optimiser)
    start, rows, sums = state.load(device)
    best_path = folder / "best.pth"
    began = time.monotonic() - (rows[-1].seconds if rows else 0)
    if rows:  # killed between state and curves
        write_curves(rows, folder)

    for step, batch in batches(mixture, start, steps, settings.batch_size, settings.augmentation, settings.seed):
        epoch = step // per_epoch
        network.train()
        rate = learning_rate(settings, step, steps)
        for group in optimiser.param_groups:
            group["lr"] = rate
        torch.manual_seed(settings.seed * 2**32 + step)
        parts = task.losses(batch.to(device), epoch)
        loss = torch.stack(list(parts.values())).sum()
        if not math.isfinite(loss.item()):
            values = ", ".join(f"{name} {part.item():g}" for name, part in parts.items())
            kept = f"{best_path} holds the best weights so far" if best_path.exists() else "no weights were kept yet"
            raise TrainingError(
                f"step {step}: the loss is no finite number ({values}); {kept}: train anew with a lower learning rate"
            )
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimiser.step()
        if average is not None:
            _move(average, network, min(settings.average_decay, (1 + step) / (10 + step)))
        for name, part in parts.items():
            sums[name] = sums.get(name, 0.0) + part.item()
        done = step + 1
        if done % per_epoch == 0:
            last = done == steps
            score = None
            if last or (epoch + 1) % settings.validate_every == 0:
                judged = average if average is not None else copy.deepcopy(network).eval()
                score = task.validate(judged, epoch)
                if score is None or not any(row.score is not None and row.score >= score for row in rows):
                    weights = state_dict_for(task.family.classes, judged)
                    replace_file(best_path, partial(torch.save, weights))
            means = {name: total / per_epoch for name, total in sums.items()}
            rows.append(Row(epoch + 1, done, rate, means, task.measure, score, time.monotonic() - began))
            sums.clear()
            state.save(done, rows, sums)
            write_curves(rows, folder)
            if on_row is not None:
                on_row(rows[-1])
        elif done % settings.save_every == 0:
            state.save(done, rows, sums)
        try:
            if on_step is not None:
                on_step(done, steps)
        except KeyboardInterrupt:
            state.save(done, rows, sums)
            raise
    best = max(row.score for row in rows if row.score is not None)
    return Outcome(best_path, best, task.measure, tuple(rows))


def learning_rate(settings: LoopSettings, step: int, steps: int) -> float:
    """Return the rate of a step: a linear warm-up, then half a cosine down to 0."""
    if step < settings.warm_up_steps:
        return settings.learning_rate * (step + 1) / settings.warm_up_steps
    passed = (step - settings.warm_up_steps) / max(1, steps - settings.warm_up_steps)
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * passed))


def _optimiser(network: nn.Module, settings: LoopSettings) -> torch.optim.Optimizer:
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    # Biases and the scales of normalisation are not decayed.
    groups: list[dict[str, Any]] = [
        {"params": [each for each in trained if each.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [each for each in trained if each.ndim <= 1], "weight_decay": 0.0},
    ]
    if settings.optimiser == "sgd":
        return torch.optim.SGD(groups, settings.learning_rate, momentum=0.9)
    kind = torch.optim.AdamW if settings.optimiser == "adamw" else torch.optim.Adam
    return kind(groups, settings.learning_rate)


@torch.no_grad()
def _move(average: nn.Module, network: nn.Module, decay: float) -> None:
    # Not by their names: a layer that has two would be moved twice.
    for mean, value in zip(_tensors(average), _tensors(network), strict=True):
        if mean.is_floating_point():
            mean.lerp_(value, 1 - decay)
        else:
            mean.copy_(value)


def _tensors(network: nn.Module) -> Iterator[Tensor]:
    return chain(network.parameters(), network.buffers())

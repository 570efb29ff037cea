"""The loop: schedule, optimisers, running average, the best weights, and what is done when things go wrong."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from arseg_edge.errors import CheckpointError, TrainingError, UsageError
from arseg_edge.export.checkpoint import read_checkpoint
from arseg_edge.export.families import Family, edge_family
from arseg_edge.palette import ClassSet, distinct_colours
from arseg_edge.training import curves
from arseg_edge.training.augment import Augmentation
from arseg_edge.training.batches import Batch, Mixture
from arseg_edge.training.loop import LoopSettings, Outcome, learning_rate, run
from arseg_edge.training.state import Measure

CPU = torch.device("cpu")
FAMILY = edge_family(ClassSet(("a", "b"), distinct_colours(2)))
PER_EPOCH = 3
PLAIN = LoopSettings(epochs=4, batch_size=2, learning_rate=0.05, validate_every=1, seed=7)


@pytest.fixture(autouse=True)
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing curves takes longer than all else; ``test_curves.py`` looks at them."""
    monkeypatch.setattr(curves, "_figure", lambda rows: Figure(figsize=(0.1, 0.1)))


class Numbers(Mixture):
    """Batches of random pictures; three of them are an epoch."""

    def __len__(self) -> int:
        return 2 * PER_EPOCH

    def batch(self, step: int, size: int, augmentation: Augmentation, seed: int) -> Batch:
        pictures = np.random.default_rng((seed, step)).integers(0, 256, (size, 4, 4, 3), np.uint8)
        return Batch(torch.from_numpy(pictures), torch.zeros(size, 4, 4, dtype=torch.uint8), None, None)


MIXTURE = Numbers((), ())


class Small(nn.Module):
    """A convolution and a batch norm, from fixed numbers; a layer that has two names, and one that is frozen."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(3, 4, 1)
        self.norm = nn.BatchNorm2d(4)
        self.last = nn.Conv2d(4, 1, 1)
        self.also_last = self.last
        self.frozen = nn.Conv2d(1, 1, 1).requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.frozen(self.last(self.norm(self.first(x))))


@dataclass
class SmallTask:
    """Make the output 1; ``scores`` are what validation after validation finds."""

    scores: list[float | None] = field(default_factory=lambda: [10.0, 20.0, 30.0, 40.0])
    network: nn.Module = field(default_factory=Small)
    family: Family = FAMILY
    break_at: int = -1
    steps: int = 0
    judged: list[dict[str, Tensor]] = field(default_factory=list)
    measure: Measure = "miou"

    def losses(self, batch: Batch, epoch: int) -> dict[str, Tensor]:
        found = self.network(batch.image.permute(0, 3, 1, 2) / 255)
        error = (found - 1).square().mean()
        self.steps += 1
        return {"main": error * (math.nan if self.steps - 1 == self.break_at else 1.0), "other": 0.5 * error}

    def validate(self, network: nn.Module, epoch: int) -> float | None:
        assert not network.training
        self.judged.append({key: value.clone() for key, value in network.state_dict().items()})
        return self.scores[epoch]


def go(
    task: SmallTask, settings: LoopSettings, folder: Path, on_step: Callable[[int, int], None] | None = None
) -> Outcome:
    return run(task, MIXTURE, settings, folder, CPU, on_step)


def test_rate_rises_in_a_line_and_falls_along_half_a_cosine() -> None:
    settings = LoopSettings(learning_rate=0.2, warm_up_steps=10)
    rates = np.array([learning_rate(settings, step, 110) for step in range(110)])
    np.testing.assert_allclose(rates[:10], np.linspace(0.02, 0.2, 10))
    np.testing.assert_allclose(rates[10:], 0.1 * (1 + np.cos(np.pi * np.arange(100) / 100)))
    assert learning_rate(LoopSettings(learning_rate=0.2), 0, 110) == 0.2


def first_step(settings: LoopSettings, folder: Path) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return weight and bias of the first layer before the first step, and after it."""
    task = SmallTask()
    before = [parameter.detach().clone() for parameter in task.network.first.parameters()]  # type: ignore[union-attr]
    after: list[Tensor] = []

    def stop(done: int, total: int) -> None:
        after.extend(parameter.detach().clone() for parameter in task.network.first.parameters())  # type: ignore[union-attr]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        go(task, settings, folder, stop)
    return before[0], before[1], after[0], after[1]


def gradients() -> tuple[Tensor, Tensor]:
    task = SmallTask()
    sum(task.losses(MIXTURE.batch(0, 2, PLAIN.augmentation, PLAIN.seed), 0).values()).backward()  # type: ignore[union-attr]
    first = task.network.first
    return first.weight.grad, first.bias.grad  # type: ignore[union-attr, return-value]


@pytest.mark.parametrize("optimiser", ["adam", "adamw", "sgd"])
def test_first_step_of_each_optimiser(optimiser: str, tmp_path: Path) -> None:
    settings = replace(PLAIN, optimiser=optimiser, weight_decay=0.1, warm_up_steps=4)
    weight, bias, new_weight, new_bias = first_step(settings, tmp_path)
    of_weight, of_bias = gradients()
    rate = 0.05 / 4
    if optimiser == "sgd":
        expected = weight - rate * (of_weight + 0.1 * weight), bias - rate * of_bias
    else:
        # In Adam's first step the moments cancel: each number moves by the rate, against its gradient's sign.
        total = of_weight + 0.1 * weight if optimiser == "adam" else of_weight
        decayed = weight if optimiser == "adam" else weight * (1 - rate * 0.1)
        expected = decayed - rate * total / (total.abs() + 1e-8), bias - rate * of_bias / (of_bias.abs() + 1e-8)
    torch.testing.assert_close(new_weight, expected[0])
    torch.testing.assert_close(new_bias, expected[1])


def test_running_average_is_what_is_judged_and_kept(tmp_path: Path) -> None:
    settings = replace(PLAIN, average_decay=0.5)
    task = SmallTask()
    names = [name for name in task.network.state_dict() if "num_batches" not in name]
    means = {name: task.network.state_dict()[name].double().numpy().copy() for name in names}
    expected = {}

    def on_step(done: int, total: int) -> None:
        decay = min(0.5, done / (done + 9))
        for name in names:
            value = task.network.state_dict()[name].double().numpy()
            means[name] = decay * means[name] + (1 - decay) * value
        if done == 2 * PER_EPOCH:
            expected.update({name: value.copy() for name, value in means.items()})

    outcome = go(task, settings, tmp_path, on_step)
    for name in names:
        np.testing.assert_allclose(task.judged[1][name], expected[name], rtol=1e-5, atol=1e-6)
    assert task.judged[1]["norm.num_batches_tracked"] == 2 * PER_EPOCH
    kept = read_checkpoint(outcome.best)
    assert kept.tensors.keys() == task.network.state_dict().keys()
    for name in names:
        np.testing.assert_allclose(kept.tensors[name], means[name], rtol=1e-5, atol=1e-6)
    assert kept.classes == FAMILY.classes


def test_frozen_weights_stay(tmp_path: Path) -> None:
    task = SmallTask()
    before = {name: value.clone() for name, value in task.network.state_dict().items()}
    go(task, replace(PLAIN, weight_decay=0.1, optimiser="adamw", average_decay=0.9), tmp_path)
    for state in (task.network.state_dict(), task.judged[-1]):
        assert torch.equal(state["frozen.weight"], before["frozen.weight"])
        assert torch.equal(state["frozen.bias"], before["frozen.bias"])
        assert not torch.equal(state["first.weight"], before["first.weight"])


@pytest.mark.parametrize(
    ("scores", "best"), [([10, 30, 20, 25], 1), ([30, 30, 20, 25], 0), ([None, None, 5, 4], 2), ([1, 2, 3, 3.5], 3)]
)
def test_best_weights_are_kept(scores: list[float | None], best: int, tmp_path: Path) -> None:
    task = SmallTask(scores)
    outcome = go(task, PLAIN, tmp_path)
    assert outcome.score == scores[best]
    assert [row.score for row in outcome.rows] == scores
    for name, value in read_checkpoint(outcome.best).tensors.items():
        assert torch.equal(value, task.judged[best][name])


def test_rows_and_curves(tmp_path: Path) -> None:
    told: list[int] = []
    task = SmallTask([None, 20.0, None, 40.0])
    losses: list[float] = []
    original = task.losses

    def noted(batch: Batch, epoch: int) -> dict[str, Tensor]:
        parts = original(batch, epoch)
        losses.append(parts["main"].item())
        return parts

    task.losses = noted  # type: ignore[method-assign]
    settings = replace(PLAIN, validate_every=2)
    outcome = run(task, MIXTURE, settings, tmp_path, CPU, on_row=lambda row: told.append(row.epoch))
    assert told == [row.epoch for row in outcome.rows] == [1, 2, 3, 4]
    assert len(task.judged) == 2
    with (tmp_path / "curves.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert list(lines[0]) == ["epoch", "step", "learning_rate", "main", "other", "miou"]
    assert [line["miou"] for line in lines] == ["", "20.0", "", "40.0"]
    for number, line in enumerate(lines):
        mean = np.mean(losses[number * PER_EPOCH : (number + 1) * PER_EPOCH])
        assert float(line["main"]) == pytest.approx(mean) == pytest.approx(2 * float(line["other"]))
        assert int(line["step"]) == (number + 1) * PER_EPOCH
        assert float(line["learning_rate"]) == learning_rate(settings, int(line["step"]) - 1, 4 * PER_EPOCH)


def test_nan_stops_with_the_step_and_the_last_good_weights(tmp_path: Path) -> None:
    task = SmallTask(break_at=2 * PER_EPOCH + 1)
    with pytest.raises(TrainingError) as raised:
        go(task, PLAIN, tmp_path)
    message = str(raised.value)
    assert "step 7: the loss is no finite number (main nan, other 0." in message
    assert f"{tmp_path / 'best.pth'} holds the best weights so far" in message
    assert "\n" not in message
    for name, value in read_checkpoint(tmp_path / "best.pth").tensors.items():
        assert torch.equal(value, task.judged[1][name])
    with pytest.raises(TrainingError, match=r"step 0: .* no weights were kept yet"):
        go(SmallTask(break_at=0), PLAIN, tmp_path / "other")


@pytest.mark.parametrize("stops", [(1,), (2, 3, 7), (3, 6, 9, 12)])
def test_interrupted_run_ends_as_one_that_was_not(stops: tuple[int, ...], tmp_path: Path) -> None:
    settings = replace(PLAIN, average_decay=0.9, warm_up_steps=2)
    expected = go(SmallTask(), settings, tmp_path / "whole")

    def stop(done: int, total: int) -> None:
        if done in stops:
            raise KeyboardInterrupt

    for _ in stops:
        with pytest.raises(KeyboardInterrupt):
            go(SmallTask(), settings, tmp_path / "parts", stop)
    found = go(SmallTask(), settings, tmp_path / "parts", lambda done, total: None)
    for name in ("best.pth", "curves.csv"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert [replace(row, seconds=0) for row in found.rows] == [replace(row, seconds=0) for row in expected.rows]
    again = go(SmallTask(), settings, tmp_path / "parts", lambda done, total: pytest.fail("there is nothing left"))
    assert again.rows == found.rows


def test_curves_that_were_not_written_any_more_are_written(tmp_path: Path) -> None:
    go(SmallTask(), PLAIN, tmp_path)
    before = (tmp_path / "curves.csv").read_text()
    (tmp_path / "curves.csv").unlink()
    go(SmallTask(), PLAIN, tmp_path)
    assert (tmp_path / "curves.csv").read_text() == before


def test_state_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state.pt").write_bytes(b"no state")
    with pytest.raises(CheckpointError, match=r"state\.pt is not the state of this run") as raised:
        go(SmallTask(), PLAIN, tmp_path)
    assert "\n" not in str(raised.value)
    go(SmallTask(), PLAIN, tmp_path / "small")
    other = SmallTask(network=nn.Conv2d(3, 1, 1))
    with pytest.raises(CheckpointError, match=r"state\.pt is not the state of this run"):
        go(other, PLAIN, tmp_path / "small")


@pytest.mark.parametrize(
    "changes",
    [{"epochs": 0}, {"batch_size": 1}, {"validate_every": 0}, {"learning_rate": math.nan}, {"average_decay": 1.0}],
)
def test_settings_that_make_no_sense(changes: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=next(iter(changes)).replace("learning_rate", "learning rate").split("_")[0]):
        replace(PLAIN, **changes)  # type: ignore[arg-type]

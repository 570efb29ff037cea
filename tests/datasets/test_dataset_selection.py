from __future__ import annotations

import doctest
from fractions import Fraction
from pathlib import Path

import pytest

from arseg_edge.datasets import Dataset, LabelledSequence, hold_out, selection, without
from arseg_edge.errors import DatasetError, UsageError
from arseg_edge.palette import ClassSet

LABEL = Path("label.png")
DATASET = Dataset(
    "yard",
    ClassSet(("ground",), ((0, 0, 0),)),
    tuple(LabelledSequence(f"{place}_{i}", (LABEL,), {0: LABEL}, Fraction(15)) for place in "ab" for i in range(5)),
    {0: 0},
    frozenset({255}),
)


def names(dataset: Dataset) -> list[str]:
    return [sequence.name for sequence in dataset.sequences]


def test_the_examples_run() -> None:
    outcome = doctest.testmod(selection)
    assert (outcome.attempted > 0, outcome.failed) == (True, 0)


def test_every_so_many_th_is_held_out() -> None:
    train, held = hold_out(DATASET, 4)
    assert names(held) == ["a_2", "b_1"]
    assert names(train) == ["a_0", "a_1", "a_3", "a_4", "b_0", "b_2", "b_3", "b_4"]
    assert (train.name, held.name) == ("yard", "yard, held out")
    assert train.classes is held.classes is DATASET.classes


def test_neighbours_are_held_out_together() -> None:
    train, held = hold_out(DATASET, 2, together=2)
    assert names(held) == ["a_2", "a_3", "b_1", "b_2"]
    assert names(train) == ["a_0", "a_1", "a_4", "b_0", "b_3", "b_4"]
    # Of an unfinished group as well.
    assert names(hold_out(DATASET, 3, together=3)[1]) == ["a_3", "a_4", "b_0"]
    assert names(hold_out(DATASET, 2, together=4)[1]) == ["a_4", "b_0", "b_1", "b_2"]


@pytest.mark.parametrize(("every", "together", "complaint"), [
    (4, 3, "hold out every 4, 3 together, of 10 sequences: give 2 to 3"),
    (1, 2, "hold out every 1, 2 together, of 10 sequences: give 2 to 5"),
    (2, 6, "hold 6 of 10 sequences together: give 1 to 5"),
    (2, 0, "hold 0 of 10 sequences together: give 1 to 5"),
])  # fmt: skip
def test_too_many_are_held_together(every: int, together: int, complaint: str) -> None:
    with pytest.raises(UsageError, match=f"yard: {complaint}"):
        hold_out(DATASET, every, together)


@pytest.mark.parametrize("every", [-1, 0, 1, 11])
def test_nothing_would_be_held_out_or_left(every: int) -> None:
    with pytest.raises(UsageError, match=f"yard: hold out every {every} of 10 sequences: give 2 to 10"):
        hold_out(DATASET, every)


def test_sequences_are_left_out_by_name_or_pattern() -> None:
    assert names(without(DATASET, [])) == names(DATASET)
    assert names(without(DATASET, ["a_1", "b_[^0]"])) == ["a_0", "a_2", "a_3", "a_4", "b_0"]
    assert names(without(DATASET, ["a_."])) == [f"b_{i}" for i in range(5)]


def test_a_name_goes_before_a_pattern() -> None:
    clip = LabelledSequence("a_.", (LABEL,), {0: LABEL}, Fraction(15))
    dataset = Dataset("yard", DATASET.classes, (*DATASET.sequences, clip), {0: 0}, frozenset())
    assert names(without(dataset, ["a_."])) == names(DATASET)


def test_what_matches_nothing_or_everything() -> None:
    with pytest.raises(UsageError, match=r"'a_9': matches no sequence; there is a_.*, for one: correct it"):
        without(DATASET, ["a_0", "a_9"])
    with pytest.raises(UsageError, match=r"'a_\[': neither a name nor a regular expression"):
        without(DATASET, ["a_["])
    with pytest.raises(DatasetError, match="yard: no sequence in it"):
        without(DATASET, [".*"])

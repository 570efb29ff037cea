"""Parts of a data set."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import replace

from arseg_edge.datasets.sequence import Dataset, LabelledSequence
from arseg_edge.errors import UsageError


def matching(names: Iterable[str], wanted: str) -> frozenset[str]:
    """Return the name that is ``wanted``, or else all that it matches in full as a regular expression.

    >>> sorted(matching(["a_1", "a_2", "b_1"], "a_.*"))
    ['a_1', 'a_2']

    Raises:
        UsageError: it is neither a name nor a regular expression, or matches nothing.
    """
    names = list(names)
    if wanted in names:
        return frozenset({wanted})
    try:
        found = frozenset(name for name in names if re.fullmatch(wanted, name))
    except re.error as error:
        raise UsageError(f"{wanted!r}: neither a name nor a regular expression ({error}); correct it") from None
    if not found:
        near = difflib.get_close_matches(wanted, names, n=1, cutoff=0) or ["none at all"]
        raise UsageError(f"{wanted!r}: matches no sequence; there is {near[0]}, for one: correct it")
    return found


def without(dataset: Dataset, names: Iterable[str]) -> Dataset:
    """Return the data set without the sequences of these names or regular expressions (matched in full).

    Raises:
        UsageError: one of them matches nothing.
        DatasetError: nothing is left.
    """
    present = [sequence.name for sequence in dataset.sequences]
    excluded: frozenset[str] = frozenset().union(*(matching(present, name) for name in names))
    return replace(dataset, sequences=tuple(s for s in dataset.sequences if s.name not in excluded))


def is_held(place: int, every: int, together: int = 1) -> bool:
    """Whether that place in a row is one that is parted off, the middle one of each group."""
    return place // together % every == every // 2


def hold_out(dataset: Dataset, every: int, together: int = 1) -> tuple[Dataset, Dataset]:
    """Part off every so many-th sequence, for validation; return what is left and what was parted off.

    The same sequences every time, the middle one of each group: of 10, ``every=4`` parts off the 3rd and the 7th.
    With ``together`` above 1, that many neighbours count as one: of stills that were taken in a row, those parted
    off then have neighbours that are not trained on either.

    Raises:
        UsageError: ``every`` is below 2, or larger than the number of sequences (or of groups of ``together``).
    """
    count = len(dataset.sequences)
    if not 1 <= together <= count // 2:
        raise UsageError(f"{dataset.name}: hold {together} of {count} sequences together: give 1 to {count // 2}")
    if not 2 <= every <= count // together:
        each = f"{every}" if together == 1 else f"{every}, {together} together,"
        raise UsageError(f"{dataset.name}: hold out every {each} of {count} sequences: give 2 to {count // together}")
    left: list[LabelledSequence] = []
    held: list[LabelledSequence] = []
    for i, sequence in enumerate(dataset.sequences):
        (held if is_held(i, every, together) else left).append(sequence)
    parted = replace(dataset, name=f"{dataset.name}, held out", sequences=tuple(held))
    return replace(dataset, sequences=tuple(left)), parted

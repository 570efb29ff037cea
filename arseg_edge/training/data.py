"""What a run is trained and judged on: data sets opened, checked against the family, and made into pairs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from arseg_edge.datasets import Dataset, hold_out, open_dataset, without
from arseg_edge.datasets.encode import Encoding
from arseg_edge.datasets.selection import matching
from arseg_edge.errors import UsageError
from arseg_edge.export.families import Family
from arseg_edge.runtime.inference.cpu_budget import usable_cores
from arseg_edge.training.batches import Mixture
from arseg_edge.training.cache import PairCache, PairSettings, make_pairs
from arseg_edge.training.settings import HrSettings
from arseg_edge.training.values import DataSource

_HELD_EVERY = 10
_HELD_NEIGHBOURS = 0.5
"""Of held-out stills that follow another held-out one, validation sees every second pair with that as keyframe: the
motion of simulated clips is too exact to choose by alone."""
_VALIDATION_SEED = 1
"""Pairs for validation are the same in every run, whatever its seed, and no others than for training."""


@dataclass(frozen=True)
class OpenedData:
    """Data sets that fit together, and what to validate on."""

    train: tuple[Dataset, ...]
    validation: Dataset


def open_data(settings: HrSettings) -> OpenedData:
    """Open the data sets of a run.

    Raises:
        DatasetError: a data set that is broken, or of which nothing is left.
        SourceError: a video that cannot be read.
        UsageError: data sets of different classes, an exclusion that matches nothing, nothing to validate on.
    """
    train = [open_dataset(source.path, source.split) for source in settings.data]
    for source, dataset in zip(settings.data[1:], train[1:], strict=True):
        _check_same_classes(settings.data[0], train[0], source, dataset)
    train = _exclude(train, settings.exclude)
    if settings.validation is not None:
        validation = open_dataset(settings.validation.path, settings.validation.split)
        _check_same_classes(settings.data[0], train[0], settings.validation, validation)
        _check_apart(settings.validation, train, validation)
    else:
        count = len(train[0].sequences)
        if count < 2:
            raise UsageError(
                f"{settings.data[0].path}: it has one sequence, of which none can be held out: give --validation"
            )
        every = settings.hold_out or min(_HELD_EVERY, count // settings.hold_together)
        train[0], validation = hold_out(train[0], every, settings.hold_together)
    return OpenedData(tuple(train), validation)


def fitting_family(family: Family, settings: HrSettings, data: OpenedData) -> Family:
    """Return the family for the classes of the data.

    Raises:
        UsageError: its outputs are others.
    """
    classes = data.train[0].classes
    if family.for_classes is not None:
        return family.for_classes(classes)
    # Outputs beyond the classes, such as CamVid's twelfth, are never right and soon never chosen.
    if family.classes.names[: len(classes.names)] != classes.names:
        raise UsageError(
            f"{settings.data[0].path}: its classes ({', '.join(classes.names)}) are not those of {family.name} "
            f"({', '.join(family.classes.names)}): train the family edge, which takes any"
        )
    return family


@dataclass(frozen=True)
class Pairs:
    """The pairs of a run."""

    train: tuple[PairCache, ...]
    weights: tuple[float, ...]
    """In proportion to which they are drawn from."""
    held: PairCache
    """For validation."""

    def mixture(self, *, keyframes: bool) -> Mixture:
        """Return what batches are drawn from, with keyframes and motion or without."""
        return Mixture(self.train, self.weights, keyframes)


def make_all_pairs(
    settings: HrSettings, data: OpenedData, cache: Path, progress: Callable[[int, int], None] | None = None
) -> Pairs:
    """Encode and decode what is not in ``cache`` yet; ``progress`` is told how many pairs of how many are there.

    Raises:
        DatasetError, SourceError: as ``make_pairs`` does.
        CodecError: no such encoder.
    """
    encoding = Encoding(settings.codec, settings.bitrate, settings.interval, settings.frame_rate)
    variants = settings.variants if len(settings.variants) > 1 else settings.variants * len(data.train)
    made = PairSettings(
        encoding,
        distance=settings.distance,
        stills=settings.stills,
        passing=settings.passing,
        neighbours=settings.neighbours,
    )
    jobs = [(dataset, replace(made, variants=count)) for dataset, count in zip(data.train, variants, strict=True)]
    judged = replace(
        made,
        variants=settings.validation_variants,
        distance=None,
        seed=_VALIDATION_SEED,
        neighbours=_HELD_NEIGHBOURS if settings.neighbours else 0.0,
    )
    jobs.append((data.validation, judged))
    processes = settings.processes or usable_cores()
    *train, held = (make_pairs(dataset, each, cache, processes, progress) for dataset, each in jobs)
    weights = tuple(
        float(len(pairs)) if source.weight is None else source.weight
        for pairs, source in zip(train, settings.data, strict=True)
    )
    return Pairs(tuple(train), weights, held)


def _check_same_classes(first: DataSource, one: Dataset, second: DataSource, other: Dataset) -> None:
    if one.classes.names != other.classes.names:
        raise UsageError(
            f"{second.path}: its classes ({', '.join(other.classes.names)}) are not those of {first.path} "
            f"({', '.join(one.classes.names)}): name them alike and in the same order"
        )


def _check_apart(source: DataSource, train: Sequence[Dataset], validation: Dataset) -> None:
    trained = {path.resolve() for dataset in train for path in _labels(dataset)}
    both = [path for path in _labels(validation) if path.resolve() in trained]
    if both:
        raise UsageError(f"{source.path}: {both[0]} would be trained on too: exclude it, or validate on other data")


def _labels(dataset: Dataset) -> list[Path]:
    return [path for sequence in dataset.sequences for path in sequence.labels.values()]


def _exclude(datasets: Sequence[Dataset], patterns: Sequence[str]) -> list[Dataset]:
    """Leave sequences out; each pattern must match in one data set at least."""
    excluded: list[set[str]] = [set() for _ in datasets]
    for pattern in patterns:
        failures = []
        for names, dataset in zip(excluded, datasets, strict=True):
            try:
                names |= matching([sequence.name for sequence in dataset.sequences], pattern)
            except UsageError as error:
                failures.append(error)
        if len(failures) == len(datasets):
            raise UsageError(f"exclude: {failures[0]}")
    return [without(dataset, names) for dataset, names in zip(datasets, excluded, strict=True)]

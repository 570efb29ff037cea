"""What a run is trained and judged on: data sets and videos, checked against the family, and made into pairs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from arseg_edge.datasets import Dataset, hold_out, open_dataset, without
from arseg_edge.datasets.encode import Encoding
from arseg_edge.datasets.selection import is_held, matching
from arseg_edge.datasets.videos import find_videos
from arseg_edge.errors import UsageError
from arseg_edge.export.families import Family
from arseg_edge.operators import Chaining
from arseg_edge.palette import ClassSet
from arseg_edge.runtime.inference.cpu_budget import usable_cores
from arseg_edge.training.batches import Mixture
from arseg_edge.training.cache import PairCache, PairSettings, make_pairs
from arseg_edge.training.settings import HrSettings, LrSettings
from arseg_edge.training.stretches import StretchSettings, make_stretches
from arseg_edge.training.values import DataSource

_HELD_EVERY = 10
_HELD_NEIGHBOURS = 0.5
"""Of held-out stills that follow another held-out one, validation sees every second pair with that as keyframe: the
motion of simulated clips is too exact to choose by alone."""
_VALIDATION_SEED = 1
"""Pairs for validation are the same in every run, whatever its seed, and no others than for training."""


@dataclass(frozen=True)
class OpenedData:
    """Data sets that fit together, videos, and what to validate on."""

    train: tuple[Dataset, ...]
    validation: Dataset | None
    """None where that is videos."""
    videos: tuple[tuple[Path, ...], ...] = ()
    """To train on, of each source of videos."""
    held_videos: tuple[Path, ...] = ()
    """To validate on; none where ``validation`` says on what, or where it is a part of the only video."""


def open_data(settings: HrSettings) -> OpenedData:
    """Open the data sets of a run, and find its videos.

    Raises:
        DatasetError: a data set that is broken, or of which nothing is left; a folder without videos.
        SourceError: a video that cannot be read.
        UsageError: data sets of different classes, an exclusion that matches nothing, nothing to validate on.
    """
    train = [open_dataset(source.path, source.split) for source in settings.data]
    for source, dataset in zip(settings.data[1:], train[1:], strict=True):
        _check_same_classes(settings.data[0], train[0], source, dataset)
    videos = [_videos_of(source) for source in settings.sources[len(settings.data) :]]
    _check_named_once(settings.sources[len(settings.data) :], videos)
    train, videos = _exclude(train, videos, settings.exclude)
    held: tuple[Path, ...] = ()
    validation: Dataset | None = None
    if settings.validation is not None:
        validation = open_dataset(settings.validation.path, settings.validation.split)
        if train:
            _check_same_classes(settings.data[0], train[0], settings.validation, validation)
        _check_apart(settings.validation, train, validation)
    elif videos:
        videos, held = _hold_videos_out(videos, settings)
    else:
        count = len(train[0].sequences)
        if count < 2:
            raise UsageError(
                f"{settings.data[0].path}: it has one sequence, of which none can be held out: give --validation"
            )
        every = settings.hold_out or min(_HELD_EVERY, count // settings.hold_together)
        train[0], validation = hold_out(train[0], every, settings.hold_together)
    return OpenedData(tuple(train), validation, tuple(tuple(each.values()) for each in videos), held)


_Videos = Mapping[str, Path]
"""Videos of one source, by their names below its folder."""


def _videos_of(source: DataSource) -> _Videos:
    found = find_videos(source.path)
    return {
        (source.path.name if each == source.path else each.relative_to(source.path).as_posix()): each for each in found
    }


def _check_named_once(sources: Sequence[DataSource], videos: Sequence[_Videos]) -> None:
    """Refuse a video that is met twice: it would be trained on and held back."""
    named: dict[Path, DataSource] = {}
    for source, each in zip(sources, videos, strict=True):
        for path in each.values():
            first = named.setdefault(path.resolve(), source)
            if first is not source:
                raise UsageError(f"{path}: it is named twice, by {first.path} and by {source.path}: leave one out")


def _hold_videos_out(videos: Sequence[_Videos], settings: HrSettings) -> tuple[list[_Videos], tuple[Path, ...]]:
    """Return the videos that are left, and those held back: every so many-th of all, none where there is only one."""
    everything = [(number, name) for number, each in enumerate(videos) for name in each]
    count = len(everything)
    if count < 2:
        return list(videos), ()
    if settings.hold_together > count // 2:
        raise UsageError(f"hold_together {settings.hold_together}: there are {count} videos: give 1 to {count // 2}")
    every = settings.hold_out or min(_HELD_EVERY, count // settings.hold_together)
    if not 2 <= every <= count // settings.hold_together:
        raise UsageError(f"hold_out {every}: there are {count} videos: give 2 to {count // settings.hold_together}")
    parted = {each for place, each in enumerate(everything) if is_held(place, every, settings.hold_together)}
    left: list[_Videos] = [
        {name: path for name, path in each.items() if (number, name) not in parted}
        for number, each in enumerate(videos)
    ]
    return left, tuple(videos[number][name] for number, name in everything if (number, name) in parted)


def fitting_family(family: Family, settings: HrSettings, data: OpenedData) -> Family:
    """Return the family for the classes of the data, which has some.

    Raises:
        UsageError: its outputs are others.
    """
    classes, path = _classes_of(settings, data)
    if family.for_classes is not None:
        return family.for_classes(classes)
    # Outputs beyond the classes, such as CamVid's twelfth, are never right and soon never chosen.
    if family.classes.names[: len(classes.names)] != classes.names:
        raise UsageError(
            f"{path}: its classes ({', '.join(classes.names)}) are not those of {family.name} "
            f"({', '.join(family.classes.names)}): train the family edge, which takes any"
        )
    return family


def _classes_of(settings: HrSettings, data: OpenedData) -> tuple[ClassSet, Path]:
    """Return the classes of the labels, and where they are from."""
    if data.train:
        return data.train[0].classes, settings.data[0].path
    assert data.validation is not None
    assert settings.validation is not None
    return data.validation.classes, settings.validation.path


@dataclass(frozen=True)
class Pairs:
    """The pairs of a run."""

    train: tuple[PairCache, ...]
    weights: tuple[float, ...]
    """In proportion to which they are drawn from."""
    held: PairCache | tuple[PairCache, ...]
    """For validation: of a data set, or of videos."""

    def mixture(self, *, keyframes: bool) -> Mixture:
        """Return what batches are drawn from, with keyframes and motion or without."""
        return Mixture(self.train, self.weights, keyframes)


def make_all_pairs(
    settings: HrSettings,
    data: OpenedData,
    cache: Path,
    progress: Callable[[int, int], None] | None = None,
    *,
    chaining: Chaining = "subpixel",
    on_videos: Callable[[int, int], None] | None = None,
) -> Pairs:
    """Make what is not in ``cache`` yet.

    Args:
        settings: of the run.
        data: what it opened.
        cache: the folder.
        progress: is told how many pairs of how many of a data set are made.
        chaining: of the motion of videos, which is the family's.
        on_videos: is told how many videos of how many are read.

    Raises:
        DatasetError, SourceError: as ``make_pairs`` and ``make_stretches`` do.
        CodecError: no such encoder.
    """
    encoding = Encoding(settings.codec, settings.bitrate, settings.interval, settings.frame_rate)
    variants = settings.variants if len(settings.variants) > 1 else settings.variants * len(settings.sources)
    made = PairSettings(
        encoding,
        distance=settings.distance,
        stills=settings.stills,
        passing=settings.passing,
        neighbours=settings.neighbours,
    )
    processes = settings.processes or usable_cores()
    train = [
        make_pairs(dataset, replace(made, variants=count), cache, processes, progress)
        for dataset, count in zip(data.train, variants, strict=False)
    ]
    weights = [
        float(len(pairs)) if source.weight is None else source.weight
        for pairs, source in zip(train, settings.data, strict=True)
    ]
    held: PairCache | tuple[PairCache, ...] = ()
    if data.validation is not None:
        judged = replace(
            made,
            variants=settings.validation_variants,
            distance=None,
            seed=_VALIDATION_SEED,
            neighbours=_HELD_NEIGHBOURS if settings.neighbours else 0.0,
        )
        held = make_pairs(data.validation, judged, cache, processes, progress)
    if isinstance(settings, LrSettings) and settings.videos:
        taken = StretchSettings(settings.interval, chaining, settings.stretches, distance=settings.distance)
        for source, videos, count in zip(settings.videos, data.videos, variants[len(data.train) :], strict=True):
            read = make_stretches(videos, replace(taken, variants=count), cache, processes, on_videos)
            if data.validation is None and not data.held_videos:
                left, last = read[0].part_off()
                parts, held = [left], (last,)
            else:
                parts = [each.all for each in read]
            total = sum(len(each) for each in parts)
            train += parts
            weights += [len(each) * (1.0 if source.weight is None else source.weight / total) for each in parts]
        if data.held_videos:
            judged_stretches = replace(taken, variants=settings.validation_variants, distance=None)
            read = make_stretches(data.held_videos, judged_stretches, cache, processes, on_videos)
            held = tuple(each.all for each in read)
    return Pairs(tuple(train), tuple(weights), held)


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


def _exclude(
    datasets: Sequence[Dataset], videos: Sequence[_Videos], patterns: Sequence[str]
) -> tuple[list[Dataset], list[_Videos]]:
    """Leave sequences and videos out; each pattern must match in one of the sources at least."""
    present = [[sequence.name for sequence in each.sequences] for each in datasets] + [list(each) for each in videos]
    excluded: list[set[str]] = [set() for _ in present]
    for pattern in patterns:
        failures = []
        for names, known in zip(excluded, present, strict=True):
            try:
                names |= matching(known, pattern)
            except UsageError as error:
                failures.append(error)
        if len(failures) == len(present):
            raise UsageError(f"exclude: {failures[0]}")
    left = [without(dataset, names) for dataset, names in zip(datasets, excluded, strict=False)]
    kept: list[_Videos] = []
    for each, names in zip(videos, excluded[len(datasets) :], strict=True):
        kept.append({name: path for name, path in each.items() if name not in names})
        if not kept[-1]:
            raise UsageError(f"exclude: no video of {len(each)} is left, {next(iter(each))} for one: correct it")
    return left, kept

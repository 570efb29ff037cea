"""Pairs, made once and kept: encoding and decoding costs more than a training step."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from arseg_edge import at_stop
from arseg_edge.datasets import Dataset
from arseg_edge.datasets.encode import Encoding
from arseg_edge.errors import OutputError
from arseg_edge.training.pairs import Item, LabelledFrame, Pair, list_items, make_pair
from arseg_edge.training.processes import spread
from arseg_edge.training.values import StillAt


@dataclass(frozen=True)
class PairSettings:
    """What pairs are made like."""

    encoding: Encoding = field(default_factory=Encoding)
    variants: int = 6
    """Pairs of each labelled frame, which differ in distance and, for stills, in the camera's motion."""
    distance: int | None = None
    """Frames to the keyframe; None draws 1 to interval − 1 evenly."""
    seed: int = 0
    stills: StillAt = "last"
    """Which frame of the clip that is made of a still is the still itself (``make_pair``)."""
    passing: int = 0
    """The most things cut out of other stills that pass in such a clip."""
    neighbours: float = 0.0
    """How often the keyframe of a still is the still that it follows, where there is one."""


@dataclass(frozen=True)
class PairCache:
    """The pairs of a data set or of a video, as files."""

    folder: Path
    items: int
    variants: int
    first: int = 0
    """The item that counts as the first."""

    def __len__(self) -> int:
        """Labelled frames, or stretches of a video."""
        return self.items

    def read(self, item: int, variant: int) -> Pair:
        """Return one of the pairs of one labelled frame."""
        with np.load(pair_path(self.folder, self.first + item, variant)) as arrays:
            values = {field.name: arrays[field.name] for field in fields(Pair)}
        return Pair(**{**values, "distance": int(values["distance"])})

    def read_frame(self, item: int, variant: int) -> LabelledFrame:
        """Return the labelled frame of a pair alone."""
        with np.load(pair_path(self.folder, self.first + item, variant)) as arrays:
            return LabelledFrame(arrays["image"], arrays["labels"])


def make_pairs(
    dataset: Dataset,
    settings: PairSettings,
    directory: Path,
    processes: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> PairCache:
    """Make the pairs of ``dataset`` under ``directory``, where they are not there already.

    What they are made from and like names the folder, so that nothing stale is ever read; a run that was
    killed is taken up where it stopped. ``progress`` is told how many pairs of how many are there.

    Raises:
        DatasetError, SourceError: a label or a frame that cannot be used, a clip too short for the interval.
        CodecError: no such encoder, or one that does not take the frames.
        OutputError: ``directory`` cannot be written.
    """
    items = list_items(dataset, settings.encoding.interval)
    folder = directory / f"{dataset.name}-{_digest(dataset, items, settings)}".replace(" ", "-")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made ({error.strerror}): choose another --cache") from None
    wanted = [(item, variant) for item in range(len(items)) for variant in range(settings.variants)]
    missing = [each for each in wanted if not pair_path(folder, *each).exists()]
    make = partial(_make, dataset, items, settings, folder)
    done = len(wanted) - len(missing)
    with contextlib.closing(spread(make, missing, processes, at_once=4)) as made:
        for _ in made:
            done += 1
            if progress is not None:
                progress(done, len(wanted))
    return PairCache(folder, len(items), settings.variants)


def _make(dataset: Dataset, items: list[Item], settings: PairSettings, folder: Path, which: tuple[int, int]) -> None:
    cv2.setNumThreads(1)
    item, variant = which
    rng = np.random.default_rng((settings.seed, item, variant))
    pair = make_pair(
        dataset,
        items[item],
        settings.encoding,
        rng,
        settings.distance,
        stills=settings.stills,
        passing=settings.passing,
        neighbours=settings.neighbours,
    )
    write_pair(pair_path(folder, item, variant), pair)


def write_pair(path: Path, pair: Pair) -> None:
    """Write a pair where :meth:`PairCache.read` finds it, whole or not at all.

    Raises:
        OutputError: it cannot be written.
    """
    arrays: dict[str, Any] = {field.name: np.asarray(getattr(pair, field.name)) for field in fields(Pair)}
    unfinished = path.with_suffix(f".{os.getpid()}")
    try:
        with at_stop.during(partial(unfinished.unlink, missing_ok=True)):
            with unfinished.open("wb") as file:
                np.savez(file, **arrays)
            unfinished.replace(path)
    except OSError as error:
        raise OutputError(
            f"{path}: cannot be written ({error.strerror}): free space or choose another --cache"
        ) from None


def pair_path(folder: Path, item: int, variant: int) -> Path:
    """Return the file of one of the pairs of one item."""
    return folder / f"{item:05d}-{variant:02d}.npz"


def _digest(dataset: Dataset, items: list[Item], settings: PairSettings) -> str:
    """Of everything that the pairs follow from, files by their name, size and time of change."""
    sources = []
    for item in items:
        frames = item.sequence.frames if isinstance(item.sequence.frames, tuple) else (item.sequence.frames,)
        for path in (*frames[: item.index + 1], item.sequence.labels[item.index]):
            state = path.stat()
            sources.append((str(path.resolve()), item.index, state.st_size, state.st_mtime_ns))
    meaning = {
        "classes": dataset.classes.names,
        "values": sorted(dataset.label_values.items()),
        "ignored": sorted(dataset.ignored_values),
        "colours": sorted(dataset.label_colours.items()),
    }
    described = {"sources": sources, "settings": asdict(settings), **meaning}
    return hashlib.sha256(json.dumps(described, default=str).encode()).hexdigest()[:16]

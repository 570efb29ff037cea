"""Training from settings to weights: ``arseg-edge train`` as functions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, cast

import torch
from torch import Tensor, nn

from arseg_edge.datasets import warn_of_absent
from arseg_edge.errors import CheckpointError, UsageError
from arseg_edge.export.bundle_weights import is_bundle, read_ar, read_hr
from arseg_edge.export.checkpoint import Checkpoint, family_of, load_ar, load_hr
from arseg_edge.export.families import Family, find_family
from arseg_edge.export.models.resizing import resize
from arseg_edge.lr_size import lr_size
from arseg_edge.training.augment import Augmentation
from arseg_edge.training.batch_statistics import restate_statistics
from arseg_edge.training.cache import PairCache
from arseg_edge.training.data import OpenedData, Pairs, fitting_family, make_all_pairs, open_data
from arseg_edge.training.device import find_device, find_precision, reproducible
from arseg_edge.training.hr import HrTask
from arseg_edge.training.loop import LoopSettings, Outcome, Precision, Task, run
from arseg_edge.training.losses import LossSettings
from arseg_edge.training.lr import FusionSettings, LrTask, make_student
from arseg_edge.training.networks import head, normalise, place
from arseg_edge.training.run_folder import check_inputs, enter_folder
from arseg_edge.training.settings import HrSettings, LrSettings
from arseg_edge.training.state import Row


@dataclass(frozen=True)
class Watcher:
    """Who is told how far things are."""

    on_pairs: Callable[[int, int], None] | None = None
    """How many pairs of how many of a data set are made."""
    on_step: Callable[[int, int], None] | None = None
    """How many steps of how many are done; may raise ``KeyboardInterrupt``, and nothing is lost."""
    on_row: Callable[[Row], None] | None = None
    """Each new line of the curves."""
    on_videos: Callable[[int, int], None] | None = None
    """How many videos of how many of a source are read."""


_MEASURED: Final = 24
"""Images that statistics are measured on where the teacher brings none."""


def train_hr(
    settings: HrSettings,
    folder: Path,
    *,
    restart: bool = False,
    command: str | None = None,
    watcher: Watcher | None = None,
) -> Outcome:
    """Train HR, alone, or go on where ``folder`` has the state of the same run.

    Args:
        settings: what on and how; ``HrSettings.of(family, …)`` has the family's recipe.
        folder: gets weights, state, curves and settings (``run_folder.py``).
        restart: forget the run that ``folder`` may have.
        command: the command line, to be written down.
        watcher: is told how far things are.

    Raises:
        UsageError: settings that make no sense together or with the data, or are not those that the run began with.
        DatasetError, SourceError: data that cannot be used.
        CodecError: no such encoder.
        ProviderError: no such device.
        TrainingError: the loss is no finite number any more; the best weights so far stay.
        CheckpointError: the state is damaged.
        OutputError: ``folder`` or the cache cannot be written.
    """
    with _begin(settings, folder, restart, command, watcher or Watcher()) as begun:
        torch.manual_seed(settings.seed)
        network = cast(nn.Module, begun.family.build_hr())
        pairs = begun.pairs({})
        assert isinstance(pairs.held, PairCache), "HR learns from labels, and is judged by them"
        task = HrTask(begun.family, network, begun.loss, pairs.held, begun.device, begun.precision)
        return begun.run(task, pairs, keyframes=False)


def train_lr(
    settings: LrSettings,
    folder: Path,
    *,
    restart: bool = False,
    command: str | None = None,
    watcher: Watcher | None = None,
) -> Outcome:
    """Train LR and CReFF from the HR network that ``settings`` name, as ``train_hr`` does, with labels or without.

    Raises:
        CheckpointError: an HR checkpoint of another family or of other classes, or one that cannot be read.
        BundleError: a bundle that is broken.
        Others: as ``train_hr``.
    """
    if settings.hr is None:
        raise UsageError("no teacher: set hr to the checkpoint that train hr made, or to a bundle")
    if not settings.sources:
        raise UsageError("nothing to train on: give videos, or data with labels")
    if settings.hr.parent == folder.resolve():
        raise UsageError(f"{settings.hr}: the teacher lies in the output folder: choose another output")
    checkpoint = read_hr(settings.hr, settings.family)
    start = read_ar(settings.start, settings.family, settings.scale) if isinstance(settings.start, Path) else None
    with _begin(settings, folder, restart, command, watcher or Watcher(), checkpoint) as begun:
        if checkpoint.classes is not None and checkpoint.classes.names != begun.family.classes.names:
            raise CheckpointError(
                f"{settings.hr}: trained for the classes {', '.join(checkpoint.classes.names)}, but the data has "
                f"{', '.join(begun.family.classes.names)}: train HR on this data"
            )
        torch.manual_seed(settings.seed)
        teacher = cast(nn.Module, load_hr(begun.family, checkpoint)).requires_grad_(False)
        pairs = begun.pairs({"hr": checkpoint.sha256, "start": start and start.sha256})
        if is_bundle(settings.hr):
            restate_statistics(teacher, _images(begun.family, pairs))
        student = make_student(begun.family, teacher, settings.start == "teacher", fused=settings.fusion_from == 0)
        if start is not None:
            student.load_state_dict(cast(nn.Module, load_ar(begun.family, start)).state_dict())
            head(student).load_state_dict(head(teacher).state_dict())
            if is_bundle(settings.start):
                restate_statistics(student.eval(), _images(begun.family, pairs, settings.scale))
        task = LrTask(
            begun.family,
            student,
            place(teacher, begun.device),
            begun.loss,
            FusionSettings(settings.scale, settings.fusion_from, settings.similarity, settings.fusion, settings.motion),
            pairs.held,
            begun.device,
            begun.precision,
            settings.soft_labels if settings.videos else 0.0,
        )
        return begun.run(task, pairs, keyframes=True)


def _images(family: Family, pairs: Pairs, scale: float = 1.0) -> Iterator[Tensor]:
    """Yield some of the images to train on, evenly spread over them, as large as LR sees them at ``scale``."""
    frames = [(cache, item) for cache in pairs.train for item in range(len(cache))]
    for cache, item in frames[:: -(-len(frames) // _MEASURED)]:
        image = normalise(family, torch.from_numpy(cache.read_frame(item, 0).image)[None])
        yield image if scale == 1 else resize(image, lr_size(image.shape[2], image.shape[3], scale))


@dataclass(frozen=True)
class _Begun:
    """What HR and LR training have in common."""

    settings: HrSettings
    folder: Path
    data: OpenedData
    family: Family
    loss_stride: int
    device: torch.device
    precision: Precision
    restart: bool
    command: str | None
    watcher: Watcher

    @property
    def loss(self) -> LossSettings:
        chosen = self.settings
        return LossSettings(self.loss_stride, chosen.hard_examples, chosen.region, chosen.auxiliary)

    def pairs(self, inputs: Mapping[str, object]) -> Pairs:
        """Enter the folder and make the pairs, if they and ``inputs`` are what the run there began with."""
        for dataset in self.data.train:
            warn_of_absent(dataset, "the labels to train on")
        if self.data.validation is not None:
            warn_of_absent(replace(self.data.validation, assumes_ignored=False), "the labels to validate on")
        enter_folder(self.folder, self.settings, self.command, restart=self.restart)
        cache = self.settings.cache or self.folder.resolve().parent / "pairs"
        pairs = make_all_pairs(
            self.settings,
            self.data,
            cache,
            self.watcher.on_pairs,
            chaining=self.family.chaining,
            on_videos=self.watcher.on_videos,
        )
        held = [each.folder.name for each in pairs.held] if isinstance(pairs.held, tuple) else pairs.held.folder.name
        folders = {"data": [each.folder.name for each in pairs.train], "validation": held}
        check_inputs(self.folder, {**inputs, **folders})
        return pairs

    def run(self, task: Task, pairs: Pairs, *, keyframes: bool) -> Outcome:
        chosen = self.settings
        loop = LoopSettings(
            epochs=chosen.epochs,
            batch_size=chosen.batch_size,
            learning_rate=chosen.learning_rate,
            optimiser=chosen.optimiser,
            weight_decay=chosen.weight_decay,
            warm_up_steps=chosen.warm_up,
            average_decay=chosen.average,
            precision=self.precision,
            seed=chosen.seed,
            validate_every=chosen.validate_every,
            save_every=chosen.save_every,
            augmentation=Augmentation(
                chosen.crop, chosen.zoom_out, chosen.zoom_in, chosen.rotation, chosen.flip, chosen.colour
            ),
        )
        mixture = pairs.mixture(keyframes=keyframes)
        return run(task, mixture, loop, self.folder, self.device, self.watcher.on_step, self.watcher.on_row)


def loss_stride_for(family: Family, settings: HrSettings) -> int:
    """Return the stride of the loss that ``settings`` name, or else the family's: 2 where it and the crop allow that.

    Raises:
        UsageError: the one that they name does not divide what the family enlarges by.
    """
    if settings.loss_stride is None:
        return 1 if any(length % 2 for length in (family.enlargement, *settings.crop)) else 2
    if family.enlargement % settings.loss_stride:
        raise UsageError(
            f"loss_stride {settings.loss_stride}: must divide the {family.enlargement} by which {family.name} "
            "enlarges: choose another, or leave it out"
        )
    return settings.loss_stride


@contextmanager
def _begin(
    settings: HrSettings,
    folder: Path,
    restart: bool,
    command: str | None,
    watcher: Watcher,
    teacher: Checkpoint | None = None,
) -> Iterator[_Begun]:
    device = find_device(settings.device)
    known = find_family(settings.family)
    loss_stride = loss_stride_for(known, settings)
    data = open_data(settings)
    if data.train or data.validation is not None:
        family = fitting_family(known, settings, data)
    else:
        assert teacher is not None, "HR learns from labels alone"
        family = family_of(settings.family, teacher, None)
    precision = find_precision(settings.precision, device)
    with reproducible(device, settings.threads):
        yield _Begun(settings, folder, data, family, loss_stride, device, precision, restart, command, watcher)

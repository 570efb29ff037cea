"""Everything that a run of training needs to know; what each setting takes and means is in ``setting_table.py``.

Nothing here needs PyTorch.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar, Final, Literal, TypeVar

from arseg_edge.errors import UsageError
from arseg_edge.training.recipes import recipe
from arseg_edge.training.setting_table import SETTINGS
from arseg_edge.training.values import DataSource, StillAt

S = TypeVar("S", bound="HrSettings")

EDGE: Final = "edge"
_STILLS_RATE: Final = Fraction(15)


@dataclass(frozen=True, kw_only=True)
class HrSettings:
    """A run that trains HR; the defaults are those of ``edge``, ``of`` has the other families'.

    Raises:
        UsageError: settings that contradict one another.
    """

    name: ClassVar[Literal["hr", "lr"]] = "hr"
    stills: ClassVar[StillAt] = "last"
    """HR learns from stills as they were taken."""
    passing: ClassVar[int] = 0
    neighbours: ClassVar[float] = 0.0

    family: str = EDGE
    data: tuple[DataSource, ...] = ()
    exclude: tuple[str, ...] = ()
    hold_out: int | None = None
    hold_together: int = 1
    validation: DataSource | None = None
    validation_variants: int = 2

    codec: str = "libx264"
    bitrate: int = 1_500_000
    frame_rate: Fraction = _STILLS_RATE
    interval: int = 12
    variants: tuple[int, ...] = (6,)
    distance: int | None = None

    crop: tuple[int, int] = (320, 416)
    zoom_out: float = 0.6
    zoom_in: float = 1.8
    rotation: float = 4.0
    flip: bool = True
    colour: float = 0.3

    loss_stride: int | None = None
    hard_examples: float | None = None
    region: float = 1.0
    auxiliary: float = 1.0

    epochs: int = 220
    batch_size: int = 8
    optimiser: Literal["adam", "adamw", "sgd"] = "adamw"
    learning_rate: float = 2e-3
    weight_decay: float = 0.02
    warm_up: int = 100
    average: float = 0.999
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    validate_every: int = 10
    seed: int = 0

    save_every: int = 200
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int | None = None
    processes: int | None = None
    cache: Path | None = None

    def __post_init__(self) -> None:
        for name in ("cache", "hr", "start"):
            if isinstance(path := getattr(self, name, None), Path):
                object.__setattr__(self, name, path.expanduser().resolve())
        sources = self.sources
        weighted = [source for source in sources if source.weight is not None]
        if weighted and len(weighted) != len(sources):
            name = " and ".join(name for name in ("data", "videos") if getattr(self, name, ()))
            raise UsageError(f"{name}: {len(weighted)} of {len(sources)} have a weight: give it to all of them or none")
        if len(self.variants) not in (1, len(sources)) and sources:
            raise UsageError(f"variants: {len(self.variants)} for {len(sources)} data sets: give one or one for each")
        if self.validation is not None and self.hold_out is not None:
            raise UsageError("validation and hold_out: both say what to validate on: give one of them")
        if self.validation is not None and self.hold_together > 1:
            raise UsageError("validation and hold_together: nothing is held out then: give one of them")
        if self.zoom_out > self.zoom_in:
            raise UsageError(f"zoom_out {self.zoom_out:g} is above zoom_in {self.zoom_in:g}: swap them")
        if self.distance is not None and self.distance >= self.interval:
            raise UsageError(f"distance {self.distance}: must be below the interval, which is {self.interval}")
        if self.loss_stride is not None and any(side % self.loss_stride for side in self.crop):
            height, width = self.crop
            raise UsageError(f"crop {height}x{width}: must be a multiple of loss_stride, which is {self.loss_stride}")

    @property
    def sources(self) -> tuple[DataSource, ...]:
        """All that is learnt from."""
        return self.data

    @classmethod
    def of(cls: type[S], family: str = EDGE, **changes: Any) -> S:
        """Return the settings of a family's recipe, with changes.

        >>> settings = HrSettings.of("camvid-psp18", epochs=5)
        >>> settings.epochs, settings.optimiser, settings.learning_rate
        (5, 'adam', 0.001)
        """
        labels = bool(changes.get("data")) or not changes.get("videos")
        own = recipe(family, cls.name, changes.get("epochs"), labels=labels)
        return cls(**{**own, "family": family, **changes})

    def differences(self: S, other: S) -> list[str]:
        """Return the names of the settings that matter for the result and that differ."""
        names = [each.name for each in fields(self)]
        return [name for name in names if SETTINGS[name].matters and getattr(self, name) != getattr(other, name)]

    def plain(self) -> dict[str, object]:
        """Return all settings as YAML has them."""
        names = [each.name for each in fields(self)]
        return {name: SETTINGS[name].kind.plain(getattr(self, name)) for name in names}


@dataclass(frozen=True, kw_only=True)
class LrSettings(HrSettings):
    """A run that trains LR and CReFF from HR, with labels or without; defaults are as for :class:`HrSettings`.

    Raises:
        UsageError: settings that contradict one another.
    """

    name: ClassVar[Literal["hr", "lr"]] = "lr"
    stills: ClassVar[StillAt] = "anywhere"
    """Neither keyframes nor frames should always be the better ones."""
    passing: ClassVar[int] = 3
    """Some things go their own way, and the keyframe is wrong about them."""
    neighbours: ClassVar[float] = 0.25
    """What a second changes on a road, no simulated camera shows. More of them cost on near frames what they bring on
    far ones."""

    videos: tuple[DataSource, ...] = ()
    stretches: int = 100

    hr: Path | None = None
    soft_labels: float = 1.0
    scale: float = 0.5
    fusion_from: int = 0
    similarity: float = 1.0
    fusion: Literal["attention", "sum"] = "attention"
    motion: bool = True
    start: Literal["teacher", "scratch"] | Path = "teacher"

    @property
    def sources(self) -> tuple[DataSource, ...]:
        """All that is learnt from: data sets, then videos."""
        return (*self.data, *self.videos)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.videos and not self.soft_labels and not self.similarity:
            raise UsageError(
                "soft_labels and similarity are 0: nothing is left to learn from videos: raise one of them"
            )
        if self.fusion_from >= self.epochs:
            raise UsageError(f"fusion_from {self.fusion_from}: must be below the epochs, which are {self.epochs}")

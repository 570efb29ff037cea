"""What every data set comes down to: sequences of frames, some of them with labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from arseg_edge.datasets.label_picture import read_label_picture
from arseg_edge.errors import DatasetError, SourceError
from arseg_edge.palette import ClassSet, Colour
from arseg_edge.runtime.source import images
from arseg_edge.runtime.source.open_source import open_source

IGNORED: Final = 255
"""The label of pixels that belong to no class: no loss, no score."""
_UNKNOWN: Final = np.int16(-1)


@dataclass(frozen=True)
class LabelledSequence:
    """Consecutive frames of one camera, with labels for at least one of them.

    Raises:
        DatasetError: no frame, no label, or a label for a frame that does not exist.
    """

    name: str
    """Unique in the data set."""
    frames: tuple[Path, ...] | Path
    """Images in display order (one: a still), or a video file."""
    labels: Mapping[int, Path]
    """Frame index → label image."""
    frame_rate: Fraction
    """Frames a second; nominal for a still."""
    follows: str | None = None
    """Of a still: the name of the one that the same drive passed a second before, or less."""

    def __post_init__(self) -> None:
        if not self.frames or not self.labels:
            raise DatasetError(f"sequence {self.name}: it has no {'labels' if self.frames else 'frames'}; leave it out")
        if isinstance(self.frames, tuple):
            self.check_indices(len(self.frames))

    @property
    def is_still(self) -> bool:
        """Whether this is one image, without frames before it."""
        return isinstance(self.frames, tuple) and len(self.frames) == 1

    def read_frames(self) -> Iterator[NDArray[np.uint8]]:
        """Yield all frames in display order, RGB uint8 [H, W, 3].

        Raises:
            DatasetError: an image cannot be read.
            SourceError: the video cannot be read, or (CodecError) nothing here decodes it.
        """
        if isinstance(self.frames, tuple):
            yield from map(read_image, self.frames)
            return
        with open_source(self.frames) as source:
            for frame in source.frames():
                yield frame.rgb

    def check_indices(self, frame_count: int) -> None:
        """Raise DatasetError for a label of a frame beyond ``frame_count``."""
        for index, path in sorted(self.labels.items()):
            if not 0 <= index < frame_count:
                raise DatasetError(
                    f"{path}: labels frame {index}, but sequence {self.name} has frames 0 to {frame_count - 1}; "
                    "rename or remove it"
                )


@dataclass(frozen=True)
class Dataset:
    """Labelled sequences and what the values in their label images mean.

    Raises:
        DatasetError: no sequence at all, or two of the same name.
    """

    name: str
    classes: ClassSet
    sequences: tuple[LabelledSequence, ...]
    label_values: Mapping[int, int]
    """Value in a grey label image, 0 to 255 → class index."""
    ignored_values: frozenset[int]
    """Values in a grey label image that become ``IGNORED``."""
    label_colours: Mapping[Colour, int] = field(default_factory=dict)
    """Colour in a coloured label image → class index, or ``IGNORED``."""
    assumes_ignored: bool = False
    """Whether 255 is among the ignored values because nothing says what it is."""

    def __post_init__(self) -> None:
        if not self.sequences:
            raise DatasetError(f"{self.name}: no sequence in it; add some or choose another split")
        name, count = Counter(sequence.name for sequence in self.sequences).most_common(1)[0]
        if count > 1:
            raise DatasetError(f"{self.name}: {count} sequences are named {name!r}; rename all but one")

    def before(self, still: LabelledSequence) -> LabelledSequence | None:
        """Return the still that ``still`` follows; None where there is none, or none in this part of the data."""
        return next((other for other in self.sequences if other.name == still.follows and other.is_still), None)

    def read_labels(self, path: Path) -> NDArray[np.uint8]:
        """Return uint8 [H, W], a class index or ``IGNORED`` for every pixel.

        Raises:
            DatasetError: the file cannot be read, or holds a value or colour without a meaning.
        """
        picture = read_label_picture(path)
        if picture.ndim == 2:
            codes: NDArray[np.integer] = picture
            table = np.full(1 << 8, _UNKNOWN)
            table[list(self.label_values)] = list(self.label_values.values())
            table[list(self.ignored_values)] = IGNORED
        else:
            red, green, blue = (picture[..., channel].astype(np.int32) for channel in range(3))
            codes = red << 16 | green << 8 | blue
            table = np.full(1 << 24, _UNKNOWN)
            for (r, g, b), label in self.label_colours.items():
                table[r << 16 | g << 8 | b] = label
        labels = table[codes]
        unknown = labels == _UNKNOWN
        if unknown.any():
            y, x = (int(i) for i in np.argwhere(unknown)[0])
            raise DatasetError(f"{path}: {self._complaint(picture[y, x])}, first at x={x}, y={y}; correct or ignore it")
        return np.asarray(labels, np.uint8)

    def _complaint(self, value: NDArray[np.uint8]) -> str:
        if value.ndim:
            colour = tuple(int(channel) for channel in value)
            return f"colour {colour} is that of no class ({', '.join(self.classes.names)}) and not ignored"
        values = ((number, self.classes.names[index]) for number, index in sorted(self.label_values.items()))
        known = ", ".join(f"{number} {name}" for number, name in values)
        ignored = ", ".join(str(number) for number in sorted(self.ignored_values)) or "none"
        return f"label value {int(value)} is outside the class list ({known}; ignored: {ignored})"


def read_image(path: Path) -> NDArray[np.uint8]:
    """Return an image as RGB uint8 [H, W, 3], turned upright where the file says so.

    Raises:
        DatasetError: the file is missing, not readable or not an image.
    """
    try:
        return images.read_image(path)
    except SourceError as error:
        raise DatasetError(str(error)) from None

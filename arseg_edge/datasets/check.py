"""What is checked once, when a data set is opened, so that nothing of it fails hours later."""

from __future__ import annotations

from pathlib import Path

import av

from arseg_edge.datasets.label_picture import png_size
from arseg_edge.datasets.sequence import Dataset, LabelledSequence, read_image
from arseg_edge.errors import DatasetError
from arseg_edge.runtime.source.open_source import open_source
from arseg_edge.runtime.source.track import video_track


def check_dataset(dataset: Dataset) -> None:
    """Look at every labelled frame without reading its pixels, where the file format allows that.

    Raises:
        DatasetError: an image and its label differ in size, a label is not a PNG, a label is of a frame beyond the end
            of its video, or a file cannot be read.
        SourceError: a video cannot be read, or (CodecError) nothing here decodes it.
    """
    for sequence in dataset.sequences:
        if isinstance(sequence.frames, tuple):
            for index, label in sequence.labels.items():
                image = sequence.frames[index]
                _check_size(image, png_size(image) or read_image(image).shape[:2], label)
        else:
            _check_video(sequence, sequence.frames)


def _check_video(sequence: LabelledSequence, video: Path) -> None:
    with open_source(video) as source:
        size = source.height, source.width
    sequence.check_indices(_frame_count(video))
    for label in sequence.labels.values():
        _check_size(video, size, label)


def _frame_count(video: Path) -> int:
    """Exact, where the container says it or the packets tell; that of a source is an estimate."""
    with av.open(f"file:{video}") as container:
        stream = video_track(container, str(video)).stream
        return stream.frames or sum(1 for packet in container.demux(stream) if packet.size)


def _check_size(image: Path, size: tuple[int | None, ...], label: Path) -> None:
    label_size = png_size(label)
    if label_size is None:
        raise DatasetError(f"{label}: labels must be a PNG; convert it")
    if size != label_size:
        (height, width), (label_height, label_width) = size, label_size
        raise DatasetError(
            f"{label}: {label_width}×{label_height} pixels, but {image} has {width}×{height}; "
            "resize one of them (labels to the nearest value)"
        )

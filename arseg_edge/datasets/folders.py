"""Finding images and their labels in folders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from arseg_edge.errors import DatasetError
from arseg_edge.runtime.source.picture_files import IMAGE_SUFFIXES, natural_order


def listing(folder: Path) -> list[Path]:
    """Return what a folder holds in natural order (2 before 10), without hidden files.

    Raises:
        DatasetError: no such folder, or it cannot be read.
    """
    try:
        return sorted((path for path in folder.iterdir() if not path.name.startswith(".")), key=natural_order)
    except OSError as error:
        raise DatasetError(f"{folder}: {error.strerror}; check the path and its permissions") from None


def images_by_stem(folder: Path, endings: Sequence[str] = ("",)) -> dict[str, Path]:
    """Return the images of a folder in natural order, by name.

    The name is that of the file without extension and the first of ``endings`` that it ends with; images with none
    of them are left out.

    Raises:
        DatasetError: no such folder, or two images of one name (``a.png`` and ``a.jpg``).
    """
    found: dict[str, Path] = {}
    for path in listing(folder):
        ending = next((ending for ending in endings if path.stem.endswith(ending)), None)
        if ending is None or path.suffix.lower() not in IMAGE_SUFFIXES:
            continue
        name = path.stem.removesuffix(ending)
        if name in found:
            raise DatasetError(f"{path}: {found[name].name} has the same name; remove one of the two")
        found[name] = path
    return found


def check_pairs(images: Mapping[str, Path], labels: Mapping[str, Path], images_in: Path, labels_in: Path) -> None:
    """Raise DatasetError where an image has no label, a label no image, or where there is nothing at all."""
    if not images and not labels:
        raise DatasetError(f"{images_in}: no images in this split; add some to it and {labels_in}, or choose another")
    for stem in sorted(images.keys() ^ labels.keys()):
        if stem in images:
            raise DatasetError(f"{images[stem]}: no label for it in {labels_in}; add it or remove the image")
        raise DatasetError(f"{labels[stem]}: no image for it in {images_in}; add it or remove the label")

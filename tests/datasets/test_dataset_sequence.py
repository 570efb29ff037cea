from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from dataset_pictures import write_picture

from arseg_edge.datasets import IGNORED, Dataset, LabelledSequence, read_image
from arseg_edge.datasets.encode import Encoding, encode_clip
from arseg_edge.errors import DatasetError, SourceError
from arseg_edge.palette import ClassSet
from arseg_edge.runtime.sinks.palette_png import palette_png

LABEL = Path("label.png")
CLASSES = ClassSet(("ground", "plant"), ((128, 64, 128), (0, 100, 0)))


def still(name: str) -> LabelledSequence:
    return LabelledSequence(name, (Path(f"{name}.png"),), {0: LABEL}, Fraction(15))


DATASET = Dataset(
    "yard",
    CLASSES,
    (still("a"),),
    {3: 0, 7: 1},
    frozenset({9}),
    {(128, 64, 128): 0, (0, 100, 0): 1, (0, 0, 0): IGNORED},
)


def test_a_still_is_one_image() -> None:
    assert still("a").is_still
    assert not LabelledSequence("b", (LABEL, LABEL), {0: LABEL}, Fraction(15)).is_still
    assert not LabelledSequence("c", Path("c.mp4"), {0: LABEL}, Fraction(15)).is_still


@pytest.mark.parametrize(
    ("frames", "labels", "problem"),
    [
        ((), {0: LABEL}, "sequence x: it has no frames"),
        ((LABEL,), {}, "sequence x: it has no labels"),
        ((LABEL, LABEL), {2: LABEL}, "label.png: labels frame 2, but sequence x has frames 0 to 1"),
        ((LABEL, LABEL), {-1: LABEL}, "label.png: labels frame -1"),
    ],
)
def test_what_is_no_sequence(frames: tuple[Path, ...], labels: dict[int, Path], problem: str) -> None:
    with pytest.raises(DatasetError, match=problem):
        LabelledSequence("x", frames, labels, Fraction(15))


def test_what_is_no_dataset() -> None:
    with pytest.raises(DatasetError, match="yard: no sequence in it"):
        Dataset("yard", CLASSES, (), {}, frozenset())
    with pytest.raises(DatasetError, match="yard: 2 sequences are named 'a'"):
        Dataset("yard", CLASSES, (still("a"), still("b"), still("a")), {}, frozenset())


def test_values_become_classes(tmp_path: Path) -> None:
    path = write_picture(tmp_path / "label.png", np.array([[3, 7], [9, 3]], np.uint8))
    labels = DATASET.read_labels(path)
    assert labels.dtype == np.uint8
    assert labels.tolist() == [[0, 1], [IGNORED, 0]]


def test_colours_become_classes(tmp_path: Path) -> None:
    picture = np.array([[(128, 64, 128), (0, 100, 0)], [(0, 0, 0), (128, 64, 128)]], np.uint8)
    assert DATASET.read_labels(write_picture(tmp_path / "label.png", picture)).tolist() == [[0, 1], [IGNORED, 0]]


def test_a_palette_counts_by_its_colours(tmp_path: Path) -> None:
    table = np.zeros((256, 3), np.uint8)
    table[[4, 5]] = CLASSES.colours
    path = tmp_path / "label.png"
    path.write_bytes(palette_png(np.array([[4, 5, 0]], np.uint8), table))
    assert DATASET.read_labels(path).tolist() == [[0, 1, IGNORED]]


def test_a_value_of_no_class_is_named_with_its_file_and_place(tmp_path: Path) -> None:
    grey, colour = np.full((4, 6), 3, np.uint8), np.full((4, 6, 3), (128, 64, 128), np.uint8)
    grey[2, 5], colour[1, 4] = 8, (1, 2, 3)
    path = write_picture(tmp_path / "grey.png", grey)
    with pytest.raises(DatasetError) as raised:
        DATASET.read_labels(path)
    assert str(raised.value) == (
        f"{path}: label value 8 is outside the class list (3 ground, 7 plant; ignored: 9), first at x=5, y=2; "
        "correct or ignore it"
    )
    path = write_picture(tmp_path / "colour.png", colour)
    with pytest.raises(DatasetError) as raised:
        DATASET.read_labels(path)
    assert str(raised.value) == (
        f"{path}: colour (1, 2, 3) is that of no class (ground, plant) and not ignored, first at x=4, y=1; "
        "correct or ignore it"
    )


def test_images_are_rgb(tmp_path: Path) -> None:
    picture = np.zeros((4, 6, 3), np.uint8)
    picture[...] = (200, 100, 50)
    assert (read_image(write_picture(tmp_path / "ä.png", picture)) == picture).all()
    assert (
        read_image(write_picture(tmp_path / "grey.png", picture[..., 0])).tolist() == np.full((4, 6, 3), 200).tolist()
    )


def test_what_is_no_image(tmp_path: Path) -> None:
    for name, content in (("text.png", b"no image"), ("empty.png", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DatasetError, match=f"{name}: not an image that OpenCV can read"):
            read_image(tmp_path / name)
    with pytest.raises(DatasetError, match=r"absent.png: No such file or directory"):
        read_image(tmp_path / "absent.png")


def test_frames_are_read_from_images_and_videos_alike(tmp_path: Path) -> None:
    pictures = [np.full((32, 48, 3), 40 * index, np.uint8) for index in range(5)]
    paths = tuple(write_picture(tmp_path / f"{index}.png", picture) for index, picture in enumerate(pictures))
    encode_clip(pictures, tmp_path / "clip.mp4", Encoding())
    images = list(LabelledSequence("images", paths, {0: LABEL}, Fraction(15)).read_frames())
    video = list(LabelledSequence("video", tmp_path / "clip.mp4", {0: LABEL}, Fraction(15)).read_frames())
    assert [(frame == picture).all() for frame, picture in zip(images, pictures, strict=True)] == [True] * 5
    assert [frame.shape for frame in video] == [(32, 48, 3)] * 5
    assert np.abs(np.stack(video).astype(int) - np.stack(pictures)).max() < 8  # coded with losses
    with pytest.raises(SourceError, match=r"absent.mp4"):
        list(LabelledSequence("video", tmp_path / "absent.mp4", {0: LABEL}, Fraction(15)).read_frames())

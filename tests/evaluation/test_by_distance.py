"""The evaluation, with predictors whose labels are known, and on the sample street against a loop written out."""

from __future__ import annotations

import math
from collections import Counter
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from clips import street_clip
from labelled_street import street_truth, write_png
from numpy.typing import NDArray

import arseg_edge
from arseg_edge.bundle import read_bundle
from arseg_edge.datasets import Dataset, LabelledSequence
from arseg_edge.datasets.encode import Encoding
from arseg_edge.demo import demo_bundle
from arseg_edge.errors import DatasetError, UsageError
from arseg_edge.evaluation.bundle_predictor import BundlePredictor
from arseg_edge.evaluation.by_distance import evaluate
from arseg_edge.evaluation.predictor import Frame, Labels, Motion
from arseg_edge.operators import Chaining
from arseg_edge.palette import CAMVID_11, ClassSet
from arseg_edge.runtime import read_motion

INTERVAL, FRAMES, SIZE = 4, 9, (64, 96)
GREYS = (40, 120, 200)
"""The grey level of each class in the painted pictures."""
PAINTED = ClassSet(("wall", "floor", "door"), ((1, 1, 1), (2, 2, 2), (3, 3, 3)))


class Painted:
    """Sees the painted classes without fail; AR gives the keyframe's labels, LR "floor" everywhere."""

    name, interval, scale = "painted", INTERVAL, 0.5
    chaining: Chaining = "subpixel"

    def __init__(self, classes: ClassSet = PAINTED) -> None:
        self.classes = classes
        self.gives_lr = True
        self.calls: Counter[str] = Counter()
        self.motion: list[float] = []
        self._kept: Labels | None = None

    def keyframe(self, rgb: Frame) -> Labels:
        self.calls["keyframe"] += 1
        self._kept = self._seen(rgb)
        return self._kept

    def hr(self, rgb: Frame) -> Labels:
        self.calls["hr"] += 1
        return self._seen(rgb)

    def ar(self, rgb: Frame, motion: Motion) -> Labels:
        self.calls["ar"] += 1
        self.motion.append(float(np.abs(motion).max()))
        assert self._kept is not None
        return self._kept

    def lr(self, rgb: Frame) -> Labels:
        self.calls["lr"] += 1
        return np.full(rgb.shape[:2], self.classes.names.index("floor"), np.uint8)

    def _seen(self, rgb: Frame) -> Labels:
        nearest = np.abs(rgb.mean(-1)[..., None] - GREYS).argmin(-1)
        order = np.array([self.classes.names.index(name) for name in PAINTED.names])
        return order[nearest].astype(np.uint8)


def painted_truth(index: int) -> NDArray[np.uint8]:
    """A door that moves to the right over wall and floor, a block of 16 a frame; the lower rows are not labelled."""
    truth = np.zeros(SIZE, np.uint8)
    truth[32:] = 1
    left = 16 * (index % 6)
    truth[16:48, left : left + 16] = 2
    return truth


def with_ignored(truth: NDArray[np.uint8]) -> NDArray[np.uint8]:
    labels = truth.copy()
    labels[56:] = 255
    return labels


def painted(
    folder: Path, labelled: tuple[int, ...], frames: int = FRAMES, values: tuple[int, ...] = (0, 1, 2)
) -> Dataset:
    """Return a data set of one sequence; ``values`` are what the label files hold for wall, floor and door."""
    meaning = np.array(values, np.uint8)
    pictures, labels = [], {}
    for index in range(frames):
        truth = painted_truth(index)
        grey = np.array(GREYS, np.uint8)[truth]
        pictures.append(write_png(folder / f"{index}.png", np.repeat(grey[..., None], 3, 2)))
        if index in labelled:
            stored = np.where(with_ignored(truth) == 255, 255, meaning[truth]).astype(np.uint8)
            labels[index] = write_png(folder / f"{index}-labels.png", stored)
    sequence = LabelledSequence("door", tuple(pictures), labels, Fraction(10))
    label_values = {value: place for place, value in enumerate(values)}
    return Dataset("painted", PAINTED, (sequence,), label_values, frozenset({255}))


def naive_scores(pairs: list[tuple[NDArray[np.uint8], NDArray[np.uint8]]]) -> list[float]:
    """Return the IoU in percent of the classes in the truth."""
    truth, labels = (np.concatenate([pair[place].ravel() for pair in pairs]) for place in (0, 1))
    labels, truth = labels[truth != 255], truth[truth != 255]
    return [
        100 * float(((truth == number) & (labels == number)).sum() / ((truth == number) | (labels == number)).sum())
        for number in np.unique(truth)
    ]


def test_every_method_at_every_distance(tmp_path: Path) -> None:
    predictor = Painted()
    steps: list[tuple[int, int]] = []
    report = evaluate(
        predictor, painted(tmp_path, tuple(range(FRAMES))), Encoding(interval=INTERVAL), zero_motion=True,
        progress=lambda what, done, total: steps.append((done, total)),
    )  # fmt: skip
    assert steps == [(done, 4) for done in range(5)]
    assert (report.shifts, report.frame_rates, report.encoded) == ((0, 1, 2, 3), (Fraction(10),), 1)
    at_distance: dict[int, list[int]] = {distance: [] for distance in range(INTERVAL)}
    for shift in range(INTERVAL):
        for index in range(shift, FRAMES):
            at_distance[(index - shift) % INTERVAL].append(index)
    truth = {index: with_ignored(painted_truth(index)) for index in range(FRAMES)}
    for distance, indices in at_distance.items():
        lr = [(truth[index], np.ones(SIZE, np.uint8)) for index in indices]
        ar = [(truth[index], painted_truth(index - distance)) for index in indices]
        for name, expected in (("lr", lr), ("ar", ar), ("ar-zero-motion", ar)):
            assert report.methods[name].by_distance[distance] == pytest.approx(np.mean(naive_scores(expected)))
        pixels = sum(int((truth[index] != 255).sum()) for index in indices)
        assert [int(scores.pixels[distance]) for scores in report.methods.values()] == [pixels] * 4
    hr, ar_scores = report.methods["hr"], report.methods["ar"]
    np.testing.assert_array_equal(hr.by_distance, [100.0] * INTERVAL)
    assert ar_scores.by_distance[0] == 100
    assert ar_scores.mean == pytest.approx(ar_scores.by_distance.mean())
    assert ar_scores.mean_after_keyframe == pytest.approx(ar_scores.by_distance[1:].mean())
    everything = [(truth[i], painted_truth(i - d)) for d, indices in at_distance.items() for i in indices]
    assert ar_scores.together == pytest.approx(np.mean(naive_scores(everything)))
    assert ar_scores.by_class.tolist() == pytest.approx(naive_scores(everything))
    # HR on every frame keeps exactly what the truth keeps; one class everywhere keeps everything.
    assert hr.consistency == pytest.approx(report.truth_consistency)
    assert report.methods["lr"].consistency == 100
    # Frames but keyframes run AR twice, once with the motion and once with none.
    assert predictor.motion[1::2] == [0.0] * (len(predictor.motion) // 2)
    assert max(predictor.motion[::2]) > 4


def test_a_predictor_without_lr_alone(tmp_path: Path) -> None:
    predictor = Painted()
    predictor.gives_lr = False
    report = evaluate(predictor, painted(tmp_path, (4, 8)), Encoding(interval=INTERVAL), shifts=1)
    assert list(report.methods) == ["hr", "ar"]
    assert predictor.calls["lr"] == 0


def test_report_as_json(tmp_path: Path) -> None:
    report = evaluate(Painted(), painted(tmp_path, (4, 8)), Encoding(interval=INTERVAL, bit_rate=500_000), shifts=2)
    facts = report.as_dict()
    methods = facts.pop("methods")
    assert math.isnan(facts.pop("truth_consistency"))
    assert facts == {
        "model": "painted", "scale": 0.5, "dataset": "painted", "sequences": 1, "encoded": 1, "codec": "libx264",
        "bit_rate": 500_000, "frame_rates": [10.0], "interval": 4, "shifts": [0, 2],
        "absent_classes": [], "schedules": [],
        "labelled_pixels_by_distance": [2 * 56 * 96, 0, 2 * 56 * 96, 0],
    }  # fmt: skip
    assert set(methods) == {"hr", "lr", "ar"}
    assert methods["hr"]["iou_by_class"] == {"wall": 100.0, "floor": 100.0, "door": 100.0}
    assert methods["hr"]["miou_by_distance"] == pytest.approx([100.0, math.nan, 100.0, math.nan], nan_ok=True)
    assert methods["hr"]["miou_mean"] == methods["hr"]["miou_mean_after_keyframe"] == 100.0


def test_networks_run_only_where_a_label_needs_them(tmp_path: Path) -> None:
    predictor = Painted()
    report = evaluate(predictor, painted(tmp_path, (6,)), Encoding(interval=INTERVAL))
    # Of frames 5 and 6, at shifts 0 to 3: both after keyframe 4; 5 itself and 6; 5 after 2, and 6 itself; both after 3.
    assert predictor.calls == {"keyframe": 1 + 1 + 2 + 1, "hr": 2 + 1 + 1 + 2, "ar": 2 + 1 + 1 + 2, "lr": 8}
    assert report.methods["ar"].pixels.tolist() == [56 * 96] * INTERVAL
    assert report.methods["hr"].compared.tolist() == [56 * 96] * INTERVAL
    assert math.isnan(report.truth_consistency)


def test_a_still_is_met_at_every_distance(tmp_path: Path) -> None:
    predictor = Painted()
    report = evaluate(predictor, painted(tmp_path, (0,), frames=1), Encoding(interval=INTERVAL))
    assert report.methods["ar"].pixels.tolist() == [56 * 96] * INTERVAL
    assert (report.methods["hr"].by_distance > 97).all()
    assert predictor.calls == {"keyframe": 4, "hr": 3, "ar": 3, "lr": 4}
    # The frames before it were never seen by a camera.
    assert math.isnan(report.methods["hr"].consistency)


def test_classes_are_matched_by_name(tmp_path: Path) -> None:
    classes = ClassSet(("nothing", "door", "wall", "floor"), ((0, 0, 0),) * 4)
    data = painted(tmp_path, (4,), values=(30, 10, 20))
    report = evaluate(Painted(classes), data, Encoding(interval=INTERVAL), shifts=1)
    np.testing.assert_array_equal(report.methods["hr"].by_class, [np.nan, 100, 100, 100])


def test_a_class_that_the_model_lacks(tmp_path: Path) -> None:
    predictor = Painted(ClassSet(("wall", "floor"), ((0, 0, 0),) * 2))
    with pytest.raises(DatasetError, match=r"painted: class 'door' is none of painted's \(wall, floor\)"):
        evaluate(predictor, painted(tmp_path, (4,)), Encoding(interval=INTERVAL))


def test_labels_of_another_size(tmp_path: Path) -> None:
    data = painted(tmp_path, (4,))
    write_png(tmp_path / "4-labels.png", np.zeros((32, 48), np.uint8))
    with pytest.raises(DatasetError, match=r"4-labels\.png: labels of 32x48 .* for a frame of 64x96"):
        evaluate(Painted(), data, Encoding(interval=INTERVAL))


def test_a_sequence_shorter_than_the_interval_is_named_at_once(tmp_path: Path) -> None:
    predictor = Painted()
    with pytest.raises(DatasetError, match="sequence door: 9 frames are fewer than the interval of 12"):
        evaluate(predictor, painted(tmp_path, (4,)), Encoding(interval=12))
    assert not predictor.calls


@pytest.mark.parametrize("shifts", [0, 5])
def test_shifts_that_cannot_be(tmp_path: Path, shifts: int) -> None:
    with pytest.raises(UsageError, match=f"{shifts} shifts at an interval of 4"):
        evaluate(Painted(), painted(tmp_path, (4,)), Encoding(interval=INTERVAL), shifts=shifts)


def test_the_sample_street_against_a_loop_written_out(tmp_path: Path) -> None:
    """The predictor, the distances, the mapping and the counting, all at once, on the deployed thing."""
    count, interval = 17, 4
    bundle, video = demo_bundle(), street_clip(tmp_path / "street.mp4", count)
    truth = street_truth(count)
    labels = {index: write_png(tmp_path / f"{index}.png", truth[index]) for index in range(2, count)}
    sequence = LabelledSequence("street", video, labels, Fraction(24))
    names = {index: index for index in range(len(CAMVID_11.names))}
    data = Dataset("street", CAMVID_11, (sequence,), names, frozenset())
    predictor = BundlePredictor(read_bundle(bundle), threads=1)
    report = evaluate(predictor, data, Encoding(interval=interval), shifts=1, adaptive_interval=interval)
    assert (report.encoded, report.frame_rates) == (0, ())

    pairs: dict[tuple[str, int], list[tuple[NDArray[np.uint8], NDArray[np.uint8]]]] = {}
    with arseg_edge.load(bundle, threads=1) as ar, arseg_edge.load(bundle, threads=1) as hr:
        for frame in read_motion(video, interval, guards=None):
            fused = ar.step(frame.rgb, motion=frame.motion, keyframe=frame.is_keyframe).labels
            if frame.index in labels:
                found = truth[frame.index]
                pairs.setdefault(("ar", frame.distance), []).append((found, fused))
                pairs.setdefault(("hr", frame.distance), []).append((found, hr.step(frame.rgb, keyframe=True).labels))
    assert len(pairs) == 2 * interval
    for (name, distance), each in pairs.items():
        assert report.methods[name].by_distance[distance] == pytest.approx(np.mean(naive_scores(each)))
    assert report.methods["hr"].mean > report.methods["lr"].mean
    rows = {row.name: row for row in report.schedules}
    assert rows["ar"].score == report.methods["ar"].together
    deployed = {
        "adaptive-file": {"interval": interval},
        "adaptive-live": {"interval": interval, "lookahead": False},
        "adaptive-live-lr": {"interval": interval, "lookahead": False, "lr_every": 3},
    }
    for name, settings in deployed.items():
        with arseg_edge.load(bundle, threads=1, **settings) as segmenter:  # type: ignore[arg-type]
            results = list(segmenter.stream(video))
        shares = [np.mean([each.branch == branch for each in results]) for branch in ("hr", "lr", "moved")]
        assert rows[name].branches == pytest.approx(shares)
        labelled = [(truth[each.index], each.labels) for each in results if each.index in labels]
        assert rows[name].score == pytest.approx(np.mean(naive_scores(labelled)))
    # Labels that are moved along are steadier than those that are made anew.
    assert rows["adaptive-file"].consistency > rows["hr"].consistency > rows["lr"].consistency
    assert 90 < report.truth_consistency < 100

"""AR against HR without labels: counts against a loop written out, and what is made of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from clips import STREET, street_clip

import arseg_edge
from arseg_edge.bundle import read_bundle
from arseg_edge.demo import demo_bundle
from arseg_edge.errors import SourceError, UsageError
from arseg_edge.evaluation.advice import advise
from arseg_edge.evaluation.agreement import Comparison, ScaleAgreement, compare
from arseg_edge.evaluation.bundle_predictor import BundlePredictor
from arseg_edge.evaluation.schedules import Row
from arseg_edge.evaluation.scores import Scores
from arseg_edge.evaluation.stream_times import StreamTimes
from arseg_edge.palette import ClassSet
from arseg_edge.runtime import read_motion
from arseg_edge.schedule_choice import AGREEMENT

BUNDLE = demo_bundle()


def predictors(bundle: Path) -> list[BundlePredictor]:
    opened = read_bundle(bundle)
    return [BundlePredictor(opened, threads=1, scale=branch.scale) for branch in opened.manifest.scales]


def test_counts_against_a_loop_written_out(tmp_path: Path) -> None:
    video = str(street_clip(tmp_path / "street.mp4", 15))
    steps: list[str] = []
    found = compare(predictors(BUNDLE), video, longest=5, progress=steps.append)
    agreeing, pixels = np.zeros(5), np.zeros(5)
    car = np.zeros(2)
    with arseg_edge.load(BUNDLE, threads=1) as ar, arseg_edge.load(BUNDLE, threads=1) as hr:
        for frame in read_motion(video, 5):
            one = ar.step(frame.rgb, motion=frame.motion, keyframe=frame.is_keyframe).labels
            if frame.is_keyframe:
                continue
            other = hr.step(frame.rgb, keyframe=True).labels
            agreeing[frame.distance] += (one == other).sum()
            pixels[frame.distance] += one.size
            car += [((one == 8) & (other == 8)).sum(), ((one == 8) | (other == 8)).sum()]
    (branch,) = found.branches
    np.testing.assert_allclose(branch.ar.agreement_by_distance[1:], 100 * agreeing[1:] / pixels[1:])
    assert branch.ar.by_class[8] == pytest.approx(100 * car[0] / car[1])
    assert np.isnan(branch.ar.agreement_by_distance[0])
    assert (branch.lr.agreement_by_distance[1:] != branch.ar.agreement_by_distance[1:]).all()
    assert (found.frames, dict(found.keyframes)) == (15, {"first": 1, "interval": 2, "intra": 1})
    assert (found.stretches, found.frames_by_distance) == ((12, 3), (4, 4, 3, 2, 2))
    assert steps == [*(f"{count} frames" for count in range(1, 16)), "timing"]
    assert found.times.hr > 0
    assert set(found.times.ar) == {0.5}
    assert set(found.times.adaptive) == {"adaptive-file", "adaptive-live"}
    assert min(found.times.adaptive.values()) > 0


def test_every_scale_and_only_so_many_seconds(tiny_bundle: Path) -> None:
    found = compare(predictors(tiny_bundle), str(STREET), longest=24, seconds=0.25)
    assert [branch.scale for branch in found.branches] == [0.5, 0.3]
    assert found.frames == 6
    assert found.frames_by_distance == (1,) * 6 + (0,) * 18
    assert set(found.as_dict()["scales"]) == {"0.5", "0.3"}


def test_an_intra_frame_is_a_keyframe_at_any_interval(tmp_path: Path) -> None:
    video = str(street_clip(tmp_path / "street.mp4", 14))
    found = compare(predictors(BUNDLE), video, longest=6)
    # The one at 12 was due by the interval as well.
    assert (dict(found.keyframes), found.stretches) == ({"first": 1, "interval": 2}, (12, 2))


def test_what_cannot_be_compared(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="longest interval 1"):
        compare(predictors(BUNDLE), str(STREET), longest=1)
    with pytest.raises(UsageError, match="seconds 0"):
        compare(predictors(BUNDLE), str(STREET), longest=4, seconds=0)
    single = str(street_clip(tmp_path / "single.mp4", 1))
    with pytest.raises(SourceError, match=r"single\.mp4: each of its 1 frames is a keyframe"):
        compare(predictors(BUNDLE), single, longest=4)


def test_schedules_against_deployed_streams(tmp_path: Path) -> None:
    video = street_clip(tmp_path / "street.mp4", 15)
    found = compare(predictors(BUNDLE), str(video), longest=12)
    rows = {row.name: row for row in found.schedules}
    with arseg_edge.load(BUNDLE, threads=1, interval=1, schedule="paper") as segmenter:
        hr = [each.labels for each in segmenter.stream(video)]
    deployed = {
        "adaptive-file": {},
        "adaptive-live": {"lookahead": False},
        "adaptive-live-lr": {"lookahead": False, "lr_every": 3},
        "ar": {"schedule": "paper"},
    }
    for name, settings in deployed.items():
        with arseg_edge.load(BUNDLE, threads=1, **settings) as segmenter:  # type: ignore[arg-type]
            results = list(segmenter.stream(video))
        agreement = [100 * (each.labels == labels).mean() for each, labels in zip(results, hr, strict=True)]
        if name == "ar":
            # Each distance counts alike, whatever the end of the video leaves out.
            by_distance = [[agreement[each.index] for each in results if each.distance == d] for d in range(12)]
            assert rows[name].score == pytest.approx(np.mean([np.mean(each) for each in by_distance]))
            continue
        assert rows[name].score == pytest.approx(np.mean(agreement))
        shares = [np.mean([each.branch == branch for each in results]) for branch in ("hr", "lr", "moved")]
        assert rows[name].branches == pytest.approx(shares)
    assert rows["adaptive-file"].consistency > rows["hr"].consistency > rows["lr"].consistency


# What is made of it


def scores(*agreement: float) -> Scores:
    """Return scores of frames of 1000 pixels at distances 1, 2, …; NaN stands for no frame."""
    made = Scores(len(agreement) + 1, 2)
    for distance, percent in enumerate(agreement, 1):
        if not np.isnan(percent):
            made.confusion[distance] = [[round(10 * percent), round(10 * (100 - percent))], [0, 0]]
    return made


def comparison(
    *branches: ScaleAgreement, ar: dict[float, float], stretches: tuple[int, ...] = (100,), rows: tuple[Row, ...] = ()
) -> Comparison:
    longest = branches[0].ar.confusion.shape[0]
    counted = branches[0].ar.pixels // 1000
    classes = ClassSet(("a", "b"), ((0, 0, 0), (1, 1, 1)))
    return Comparison(
        "b.arseg", "v.mp4", classes, 4, longest, sum(stretches), {}, stretches, tuple(counted.tolist()), branches,
        StreamTimes(100.0, ar, {}), rows,
    )  # fmt: skip


def test_speedup_counts_the_keyframes_that_the_video_calls_for() -> None:
    found = comparison(ScaleAgreement(0.5, scores(95), scores(95)), ar={0.5: 20.0}, stretches=(10, 3))
    # 13 frames; at an interval of 4: keyframes at 0, 4, 8 and 10.
    assert found.speedup(0.5, 4) == pytest.approx(13 * 100 / (4 * 100 + 9 * 20))
    assert found.speedup(0.5, 1) == 1


def test_the_longest_interval_whose_every_distance_agrees() -> None:
    # At 5 frames it agrees again, which does not count.
    branch = ScaleAgreement(0.5, scores(99, 95, 91, 89, 95), scores(85, 85, 85, 85, 85))
    advice = advise(comparison(branch, ar={0.5: 20.0}))
    assert advice.threshold == AGREEMENT == 90
    assert (advice.interval, advice.scale) == (4, 0.5)
    (reach,) = advice.reaches
    assert reach.agreement == 91
    assert reach.limit == "the distance: 89.0 % at 4 frames"
    assert advice.speedup == reach.speedup == pytest.approx(100 * 100 / (25 * 100 + 75 * 20))


@pytest.mark.parametrize(
    ("ar", "lr", "interval", "limit"),
    [
        ((95, 94, 93), (80, 80, 80), 4, "nothing, up to the longest interval tried"),
        ((95, 94, 93), (92, 91, 90), 4, "nothing, up to the longest interval tried; LR alone agrees as far, so"),
        ((95, 94, float("nan")), (80, 80, float("nan")), 3, "the video: its own keyframes come no further apart"),
        ((89, 95, 95), (80, 80, 80), 1, "the LR scale: 89.0 % right after the keyframe; a larger scale would"),
    ],
)
def test_what_limits(ar: tuple[float, ...], lr: tuple[float, ...], interval: int, limit: str) -> None:
    advice = advise(comparison(ScaleAgreement(0.5, scores(*ar), scores(*lr)), ar={0.5: 20.0}))
    (reach,) = advice.reaches
    assert reach.interval == advice.interval == interval
    assert reach.limit.startswith(limit)
    assert (advice.scale is None) == (reach.agreement is None) == (interval == 1)


def test_the_faster_scale_wins_with_the_interval_that_it_allows() -> None:
    half = ScaleAgreement(0.5, scores(99, 98, 97, 96, 95), scores(80, 80, 80, 80, 80))
    third = ScaleAgreement(0.3, scores(95, 92, 80, 80, 80), scores(70, 70, 70, 70, 70))
    # 17 keyframes and 83 frames at 30 against 34 and 66 at 10.
    advice = advise(comparison(half, third, ar={0.5: 30.0, 0.3: 10.0}))
    speeds = {0.5: 10000 / (17 * 100 + 83 * 30), 0.3: 10000 / (34 * 100 + 66 * 10)}
    assert {reach.scale: reach.speedup for reach in advice.reaches} == pytest.approx(speeds)
    assert (advice.scale, advice.interval) == (0.3, 3)
    strict = advise(comparison(half, third, ar={0.5: 30.0, 0.3: 10.0}), threshold=94)
    assert (strict.scale, strict.interval) == (0.5, 6)


def test_where_ar_is_no_faster_hr_runs() -> None:
    advice = advise(comparison(ScaleAgreement(0.5, scores(99, 99), scores(99, 99)), ar={0.5: 110.0}))
    assert (advice.scale, advice.interval, advice.speedup) == (None, 1, 1.0)


def row(name: str, agreement: float, arithmetic: float) -> Row:
    return Row(name, name, agreement, (0.0, 0.0, 1.0), arithmetic, 99.0)


@pytest.mark.parametrize(
    ("adaptive", "paper", "chosen"),
    [
        ((97, 0.1), (96, 0.4), "adaptive"),
        ((91, 0.1), (96, 0.4), "adaptive"),
        ((97, 0.5), (96, 0.4), "paper"),
        ((89, 0.1), (96, 0.4), "paper"),
        ((80, 0.1), (85, 0.4), "paper"),
        ((85, 0.5), (80, 0.4), "adaptive"),
    ],
)
def test_the_schedule_is_the_cheaper_that_agrees(
    adaptive: tuple[float, float], paper: tuple[float, float], chosen: str
) -> None:
    rows = (row("ar", *paper), row("adaptive-file", *adaptive), row("adaptive-live", 99, 0.3))
    advice = advise(comparison(ScaleAgreement(0.5, scores(99, 99), scores(99, 99)), ar={0.5: 20.0}, rows=rows))
    assert (advice.file, advice.live) == (chosen, "adaptive")


def test_no_schedule_without_rows() -> None:
    advice = advise(comparison(ScaleAgreement(0.5, scores(99, 99), scores(99, 99)), ar={0.5: 20.0}))
    assert (advice.file, advice.live) == (None, None)

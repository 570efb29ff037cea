"""A bundle with HR alone: what needs no LR is as of a whole bundle, and what does is refused in one line."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from clips import street_clip
from hr_alone import hr_alone

import arseg_edge
from arseg_edge.bundle import read_bundle
from arseg_edge.demo import demo_bundle
from arseg_edge.errors import BundleError, UsageError
from arseg_edge.runtime.reports.bench import run_bench
from arseg_edge.runtime.reports.verify import verify


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hr_alone(demo_bundle(), tmp_path_factory.mktemp("alone") / "alone.arseg").path


@pytest.fixture(scope="module")
def without_logits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hr_alone(demo_bundle(), tmp_path_factory.mktemp("alone") / "labels.arseg", logits=False).path


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return street_clip(tmp_path_factory.mktemp("clip") / "street.mp4", 14)


def labels_of(bundle: Path, clip: Path, **settings: object) -> list[np.ndarray]:
    with arseg_edge.load(bundle, providers="cpu", threads=1, **settings) as segmenter:  # type: ignore[arg-type]
        return [result.labels for result in segmenter.stream(str(clip))]


@pytest.mark.parametrize("settings", [{}, {"lookahead": False}, {"interval": 3, "size": (96, 128)}], ids=str)
def test_adaptive_schedule_is_as_of_a_whole_bundle(alone: Path, clip: Path, settings: dict[str, object]) -> None:
    found, whole = labels_of(alone, clip, **settings), labels_of(demo_bundle(), clip, **settings)
    assert len(found) == 14
    for one, other in zip(found, whole, strict=True):
        np.testing.assert_array_equal(one, other)


def test_paper_with_an_interval_of_1_is_hr_on_every_frame(alone: Path, clip: Path) -> None:
    with arseg_edge.load(alone, providers="cpu", threads=1, schedule="paper", interval=1) as segmenter:
        for result in segmenter.stream(str(clip)):
            assert (result.branch, result.is_keyframe) == ("hr", True)
            np.testing.assert_array_equal(result.labels, segmenter.step(result.rgb).labels)


def test_without_logits_labels_are_moved_by_weight(without_logits: Path, alone: Path, clip: Path) -> None:
    found, with_logits = labels_of(without_logits, clip), labels_of(alone, clip)
    shares = [float(np.mean(one == other)) for one, other in zip(found, with_logits, strict=True)]
    assert min(shares) > 0.97
    assert min(shares) < 1


def test_step(alone: Path) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    motion = np.full((64, 96, 2), 8, np.float32)
    with arseg_edge.load(alone, providers="cpu", threads=1) as segmenter:
        segmenter.step(rgb, keyframe=True)
        moved = segmenter.step(rgb, motion=motion, branch="moved")
        unnamed = segmenter.step(rgb, motion=motion)
        assert (moved.branch, unnamed.branch, unnamed.age) == ("moved", "moved", 2)
        np.testing.assert_array_equal(moved.labels, unnamed.labels)
        with pytest.raises(UsageError, match="no LR network"):
            segmenter.step(rgb, motion=motion, branch="lr")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"schedule": "paper"}, "alone.arseg has HR alone, and the paper's schedule needs LR"),
        ({"schedule": "paper", "interval": 12}, "needs LR between keyframes: take schedule adaptive"),
        ({"lr_every": 3}, "lr_every 3: alone.arseg has HR alone"),
        ({"scale": 0.5}, "scale 0.5: alone.arseg has HR alone"),
    ],
    ids=str,
)
def test_what_needs_lr_is_refused(alone: Path, settings: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        arseg_edge.load(alone, **settings)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_manifest_has_no_scale(alone: Path) -> None:
    manifest = read_bundle(alone).manifest
    assert not manifest.has_lr
    with pytest.raises(BundleError, match="HR alone"):
        manifest.low_resolution(None)


@pytest.mark.parametrize("logits", [True, False])
def test_verify(alone: Path, without_logits: Path, logits: bool) -> None:
    outcome = verify(read_bundle(alone if logits else without_logits), providers="cpu")
    assert outcome.passed
    assert {finding.stage for finding in outcome.findings} == {"labels"}


@pytest.mark.parametrize("logits", [True, False])
def test_bench(alone: Path, without_logits: Path, clip: Path, logits: bool) -> None:
    bundle = read_bundle(alone if logits else without_logits)
    report = run_bench(bundle, str(clip), threads=1, rounds=1, interval=4)
    ways = ["hr bare", "hr", "hr-every-3-one-side", "hr-every-4-one-side", "adaptive-live", "adaptive-file"]
    assert list(report.end_to_end) == ways
    assert list(report.alone) == ["hr"]
    assert (report.bound, report.share_of_bound, report.beside_lr, report.exposed) == (None,) * 4
    assert list(report.stages) == ["adaptive-file"]
    assert report.frames == 14
    assert list(report.macs) == ["hr"]
    assert set(itertools.chain(*(way.branches for way in report.end_to_end.values()))) == {"hr", "moved"}

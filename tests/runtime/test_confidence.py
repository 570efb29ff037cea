"""How sure results say that they are: of networks against NumPy, moved along, from files, live, and step by step."""

from __future__ import annotations

import pickle
import threading
from itertools import islice
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from clips import street_clip
from hr_alone import hr_alone
from numpy.typing import NDArray
from servers import udp_sender
from streams import encode, panning

import arseg_edge
from arseg_edge.bundle import KEYFRAME, read_bundle
from arseg_edge.demo import demo_bundle
from arseg_edge.errors import BundleError, UsageError
from arseg_edge.manifest import LabelRule
from arseg_edge.results import Result
from arseg_edge.runtime.motion.anchors import UNSHOWN

FRAMES = 14
Image = NDArray[np.uint8]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return street_clip(tmp_path_factory.mktemp("confidence") / "street.mp4", FRAMES)


def axis(size: int, upscale: int, to: int, *, aligned: bool) -> NDArray[np.float64]:
    """How a row of logits becomes a row of pixels: a matrix [to, size]."""

    def lerp(positions: NDArray[np.float64], length: int) -> NDArray[np.float64]:
        low = np.clip(np.floor(positions).astype(int), 0, length - 1)
        high = np.minimum(low + 1, length - 1)
        matrix = np.zeros((len(positions), length))
        matrix[np.arange(len(positions)), low] += 1 - (positions - low)
        matrix[np.arange(len(positions)), high] += positions - low
        return matrix

    large = size * upscale
    enlarge = lerp(np.clip((np.arange(large) + 0.5) / upscale - 0.5, 0, size - 1), size)
    if aligned:
        return np.asarray(lerp(np.arange(to) * ((large - 1) / max(1, to - 1)), large) @ enlarge)
    return np.asarray(lerp(np.clip((np.arange(to) + 0.5) * large / to - 0.5, 0, large - 1), large) @ enlarge)


def share(logits: NDArray[np.float32], size: tuple[int, int], rule: LabelRule) -> NDArray[np.float64]:
    """255 times the largest softmax probability of the resized logits [n, h, w], in float64."""
    y, x = (axis(logits.shape[1 + i], rule.upscale, size[i], aligned=rule.align_corners) for i in range(2))
    full = np.einsum("yh,nhw,xw->nyx", y, logits.astype(np.float64), x)
    return np.asarray(255 / np.exp(full - full.max(0)).sum(0))


class Graphs:
    """The bare graphs of a bundle, without the native library."""

    def __init__(self, path: Path) -> None:
        self.bundle = read_bundle(path)
        self._sessions = [
            onnxruntime.InferenceSession(self.bundle.read(name), providers=["CPUExecutionProvider"])
            for name in (KEYFRAME, "nonkeyframe.onnx")
        ]
        self._feature: NDArray[np.float32] | None = None

    def share(self, rgb: Image, motion: NDArray[np.float32] | None = None) -> NDArray[np.float64]:
        """The confidence, not rounded, of HR, or with ``motion`` of LR beside the last frame of HR."""
        size = np.array(rgb.shape[:2])
        inputs = {"frame": rgb[None], "labels_size": size, "confidence_size": np.zeros(2, np.int64)}
        if motion is None:
            logits, self._feature = self._sessions[0].run(["logits", "feature"], inputs)
        else:
            inputs |= {"keyframe_feature": self._feature, "motion": motion[None], "frame_size": size}
            (logits,) = self._sessions[1].run(["logits"], inputs)
        rule = self.bundle.manifest.label_rule
        assert rule is not None
        return share(logits[0], (rgb.shape[0], rgb.shape[1]), rule)


def pictures(count: int, height: int = 90, width: int = 160) -> list[Image]:
    """Stripes that move by three pixels a frame."""
    y, x = np.indices((height, width))
    return [
        np.stack([(x - 3 * n) * 5 % 256, y * 2 % 256, (x - 3 * n + y) % 256], axis=-1).astype(np.uint8)
        for n in range(count)
    ]


@pytest.mark.parametrize("native", ["1", "0"], ids=["native", "bodies"])
@pytest.mark.parametrize("path", ["tiny", "demo"])
def test_networks_say_the_winners_share(
    monkeypatch: pytest.MonkeyPatch, tiny_bundle: Path, native: str, path: str
) -> None:
    monkeypatch.setenv("ARSEG_EDGE_NATIVE", native)
    bundle = tiny_bundle if path == "tiny" else demo_bundle()
    first, second = pictures(2)
    motion = np.zeros((*first.shape[:2], 2), np.float32)
    motion[..., 0] = -3
    graphs = Graphs(bundle)
    with arseg_edge.load(bundle, threads=2, confidence=True) as segmenter:
        hr, lr = segmenter.step(first, keyframe=True), segmenter.step(second, motion=motion)
    with arseg_edge.load(bundle, threads=2) as segmenter:
        plain = segmenter.step(first, keyframe=True), segmenter.step(second, motion=motion)
    for result, unasked, expected in zip(
        (hr, lr), plain, (graphs.share(first), graphs.share(second, motion)), strict=True
    ):
        assert result.confidence is not None
        assert (result.confidence.dtype, result.confidence.shape) == (np.uint8, result.labels.shape)
        assert np.abs(result.confidence - expected).max() <= 1.05  # the graphs' own rounding counts too
        assert unasked.confidence is None
        np.testing.assert_array_equal(result.labels, unasked.labels)


def test_a_caller_may_draw_on_it(tiny_bundle: Path) -> None:
    first, second = pictures(2)
    still = np.zeros((*first.shape[:2], 2), np.float32)
    with arseg_edge.load(tiny_bundle, threads=1, confidence=True) as segmenter:
        hr = segmenter.step(first, keyframe=True)
        assert hr.confidence is not None
        before = hr.confidence.copy()
        hr.confidence[:] = 0
        moved = segmenter.step(second, motion=still, branch="moved")
    np.testing.assert_array_equal(moved.confidence, before)


def test_step_moves_it_and_knows_nothing_of_what_lies_beyond(tiny_bundle: Path) -> None:
    first, second = pictures(2)
    motion = np.zeros((*first.shape[:2], 2), np.float32)
    motion[..., 0] = 16
    with arseg_edge.load(tiny_bundle, threads=1, confidence=True) as segmenter:
        hr = segmenter.step(first, keyframe=True)
        moved = segmenter.step(second, motion=motion, branch="moved")
    assert hr.confidence is not None
    assert moved.confidence is not None
    np.testing.assert_array_equal(moved.confidence[:, :-16], hr.confidence[:, 16:])
    assert hr.confidence.min() > 0
    assert not moved.confidence[:, -16:].any()


@pytest.mark.parametrize(
    "settings", [{}, {"lookahead": False}, {"lookahead": False, "lr_every": 3}, {"schedule": "paper"}]
)
def test_every_frame_of_a_file_has_it(clip: Path, settings: dict[str, object]) -> None:
    with arseg_edge.load(threads=2, interval=6, confidence=True, **settings) as segmenter:  # type: ignore[arg-type]
        results = list(segmenter.stream(clip))
    with arseg_edge.load(threads=2, interval=6, **settings) as segmenter:  # type: ignore[arg-type]
        unasked = list(segmenter.stream(clip))
    graphs = Graphs(demo_bundle())
    assert len(results) == FRAMES
    for result, other in zip(results, unasked, strict=True):
        assert other.confidence is None
        np.testing.assert_array_equal(result.labels, other.labels)
        assert result.confidence is not None
        assert (result.confidence.dtype, result.confidence.shape) == (np.uint8, result.labels.shape)
    # Worked out in NumPy, which takes seconds.
    keyframe = next(each for each in results if each.branch == "hr")
    assert np.abs(keyframe.confidence - graphs.share(keyframe.rgb)).max() <= 1.05
    branches = {each.branch for each in results}
    assert branches == ({"hr", "lr"} if settings.get("schedule") == "paper" else branches | {"hr", "moved"})
    assert ("lr" in branches) == ("lr_every" in settings or "schedule" in settings)


def test_moved_labels_are_right_where_they_are_sure(clip: Path) -> None:
    """Of those said to be sure nearly all are what HR says of the frame itself; of the others far fewer."""
    with arseg_edge.load(threads=2, interval=6, lookahead=False, confidence=True) as segmenter:
        moved = [each for each in segmenter.stream(clip) if each.branch == "moved"]
    with arseg_edge.load(threads=2, interval=1, schedule="paper") as segmenter:
        truth = [each.labels for each in segmenter.stream(clip)]
    right = np.concatenate([(each.labels == truth[each.index]).ravel() for each in moved])
    sure = np.concatenate([confidence_of(each).ravel() for each in moved])
    assert right[sure >= 230].mean() > 0.99
    assert (sure >= 230).mean() > 0.5
    assert right[sure < 100].mean() < 0.9


def confidence_of(result: Result) -> Image:
    assert result.confidence is not None
    return result.confidence


def test_what_is_new_is_not_sure() -> None:
    """Something appears between two frames that HR saw: the labels there are moved from what it covers."""
    random = np.random.default_rng(0)
    ground = np.kron(random.integers(90, 110, (20, 30)), np.ones((8, 8)))[..., None].repeat(3, axis=-1).astype(np.uint8)
    frames = [ground.copy() for _ in range(6)]
    for frame in frames[3:]:
        frame[64:96, 96:128] = 250
    with arseg_edge.load(threads=2, interval=6, tolerance=0.5, lookahead=False, confidence=True) as segmenter:
        results = list(segmenter.stream(iter(frames)))
    assert [each.branch for each in results] == ["hr", *["moved"] * 5]
    assert UNSHOWN < 250 - 100
    assert not confidence_of(results[4])[68:92, 100:124].any()
    # The rest differs a little, as the picture's brightness as a whole is evened out.
    assert (confidence_of(results[4])[:40] >= 0.8 * confidence_of(results[0])[:40]).all()


def test_labels_of_another_size_than_the_networks(clip: Path) -> None:
    with arseg_edge.load(threads=2, size=(120, 160), interval=6, confidence=True) as segmenter:
        for result in segmenter.stream(clip):
            assert confidence_of(result).shape == result.labels.shape == result.rgb.shape[:2]


def test_live(tmp_path: Path) -> None:
    video = encode(tmp_path / "v.ts", panning(25, 96, 128, 2, 1), gop=5)
    sending = threading.Event()
    sending.set()
    with (
        udp_sender(video.read_bytes(), sending=sending) as url,
        arseg_edge.load(threads=2, confidence=True) as segmenter,
        segmenter.stream(url) as stream,
    ):
        results = list(islice(stream, 8))
    assert all(confidence_of(each).shape == each.labels.shape for each in results)
    assert {each.branch for each in results} >= {"hr"}


def test_it_is_kept_when_a_result_is_detached_or_pickled(tiny_bundle: Path) -> None:
    with arseg_edge.load(tiny_bundle, threads=1, confidence=True) as segmenter:
        result = segmenter.step(pictures(1)[0], keyframe=True)
    np.testing.assert_array_equal(result.detach().confidence, result.confidence)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(result)).confidence, result.confidence)


def test_hr_alone_gives_it(tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = hr_alone(tiny_bundle, tmp_path / "hr.arseg")
    with arseg_edge.load(bundle.path, threads=1, confidence=True) as segmenter:
        results = list(segmenter.stream(iter(pictures(4))))
    assert {each.branch for each in results} == {"hr", "moved"}
    assert all(confidence_of(each).shape == (90, 160) for each in results)


def test_a_bundle_of_format_1_says_so() -> None:
    path = Path(__file__).parents[1] / "data" / "tiny-format1.arseg"
    with pytest.raises(
        BundleError, match=r"^tiny-format1\.arseg: a bundle of format 1 does not give the confidence"
    ) as raised:
        arseg_edge.load(path, confidence=True)
    assert "export --upgrade" in str(raised.value)


@pytest.mark.parametrize("value", [1, "yes", None])
def test_it_is_asked_for_by_true(tiny_bundle: Path, value: object) -> None:
    with pytest.raises(UsageError, match=r"confidence .*: must be True or False"):
        arseg_edge.load(tiny_bundle, confidence=value)  # type: ignore[arg-type]

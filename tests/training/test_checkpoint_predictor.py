"""Checkpoints in PyTorch and the bundle made of them in ONNX Runtime see the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from arseg_edge.bundle import read_bundle
from arseg_edge.errors import CheckpointError, SequenceError, UsageError
from arseg_edge.evaluation.bundle_predictor import BundlePredictor
from arseg_edge.evaluation.predictor import Predictor
from arseg_edge.export import Family, export_bundle
from arseg_edge.palette import ClassSet
from arseg_edge.training.checkpoint_predictor import CheckpointPredictor

SIZE = (66, 90)  # no multiples of the stride
CLASSES = ClassSet(("sky", "road", "car", "tree"), ((1, 1, 1), (2, 2, 2), (3, 3, 3), (4, 4, 4)))


class Small(nn.Module):
    """Stride 4, 8 channels."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.second = nn.Conv2d(8, 8, 3, stride=2, padding=1)
        self.final_conv = nn.Conv2d(8, len(CLASSES.names), 1)

    def feature(self, image: Tensor) -> Tensor:
        return F.relu(self.second(F.relu(self.first(image))))


FAMILY = Family("small", CLASSES, channels=8, stride=4, network=Small, upscale=4)


def weights(seed: int, *, fused: bool) -> dict[str, Tensor]:
    network = FAMILY.build_ar() if fused else FAMILY.build_hr()
    assert isinstance(network, nn.Module)
    generator = torch.Generator().manual_seed(seed)
    return {key: 0.3 * torch.randn(value.shape, generator=generator) for key, value in network.state_dict().items()}


@pytest.fixture(scope="module")
def predictors(tmp_path_factory: pytest.TempPathFactory) -> tuple[Predictor, Predictor]:
    """The checkpoints' and the bundle's."""
    path = tmp_path_factory.mktemp("predictors") / "small.arseg"
    hr, lr = weights(0, fused=False), weights(1, fused=True)
    export_bundle(FAMILY, hr=hr, lr=lr, out=path, size=SIZE, scale=0.7)
    return CheckpointPredictor(FAMILY, hr, lr, 0.7), BundlePredictor(read_bundle(path), threads=1, providers="cpu")


def frame(seed: int) -> NDArray[np.uint8]:
    """Blocks of colours, so that every class is seen somewhere."""
    blocks = np.random.default_rng(seed).integers(0, 256, (11, 15, 3), np.uint8)
    return blocks.repeat(6, 0).repeat(6, 1)


def motion() -> NDArray[np.float32]:
    return np.random.default_rng(2).normal(0, 6, (*SIZE, 2)).astype(np.float32)


def assert_alike(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> None:
    assert one.dtype == other.dtype == np.uint8
    assert one.shape == other.shape == SIZE
    assert (one != other).mean() < 2e-3
    assert len(np.unique(one)) > 1


def test_what_they_say_of_themselves(predictors: tuple[Predictor, Predictor]) -> None:
    torch_side, bundle_side = predictors
    for name in ("classes", "interval", "scale", "chaining"):
        assert getattr(torch_side, name) == getattr(bundle_side, name)
    assert torch_side.name == "hr and lr"


def test_labels(predictors: tuple[Predictor, Predictor]) -> None:
    torch_side, bundle_side = predictors
    key, near = frame(0), frame(1)
    assert_alike(torch_side.keyframe(key), bundle_side.keyframe(key))
    # HR on another frame leaves the kept feature alone.
    assert_alike(torch_side.hr(near), bundle_side.hr(near))
    moved, still = motion(), np.zeros((*SIZE, 2), np.float32)
    fused = [predictor.ar(near, moved) for predictor in predictors]
    assert_alike(*fused)
    unmoved = [predictor.ar(near, still) for predictor in predictors]
    assert_alike(*unmoved)
    alone = [predictor.lr(near) for predictor in predictors]
    assert_alike(*alone)
    for one, other in ((fused, unmoved), (fused, alone), (unmoved, alone)):
        assert (one[0] != other[0]).mean() > 0.02


def test_networks_that_see_another_size(tmp_path: Path) -> None:
    hr, lr = weights(0, fused=False), weights(1, fused=True)
    bundle = export_bundle(FAMILY, hr=hr, lr=lr, out=tmp_path / "small.arseg")
    predictors: list[Predictor] = [
        CheckpointPredictor(FAMILY, hr, lr, size=(40, 52)),
        BundlePredictor(bundle, threads=1, providers="cpu", size=(40, 52)),
    ]
    assert_alike(*(predictor.keyframe(frame(0)) for predictor in predictors))
    assert_alike(*(predictor.hr(frame(1)) for predictor in predictors))
    assert_alike(*(predictor.ar(frame(1), motion()) for predictor in predictors))
    assert_alike(*(predictor.lr(frame(1)) for predictor in predictors))


def test_ar_needs_a_keyframe() -> None:
    predictor = CheckpointPredictor(FAMILY, weights(0, fused=False), weights(1, fused=True))
    with pytest.raises(SequenceError, match="before any keyframe"):
        predictor.ar(frame(0), motion())


def test_checkpoints_that_do_not_fit(tmp_path: Path) -> None:
    hr, lr = weights(0, fused=False), weights(1, fused=True)
    with pytest.raises(CheckpointError, match="lr does not fit small"):
        CheckpointPredictor(FAMILY, hr, hr)
    with pytest.raises(CheckpointError, match="does not exist"):
        CheckpointPredictor(FAMILY, tmp_path / "none.pth", lr)
    with pytest.raises(UsageError, match="unknown model family 'none'"):
        CheckpointPredictor("none", hr, lr)

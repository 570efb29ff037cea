"""A small data set of moving scenes, its pairs, and a network that has learnt a little of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from moving_scenes import write_dataset

from arseg_edge.training.settings import HrSettings
from arseg_edge.training.values import DataSource


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    """Small networks gain nothing from more, and other tests have the rest."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three clips of five frames, 64×96, two of them labelled each; classes ground and disc."""
    return write_dataset(tmp_path_factory.mktemp("scenes") / "scenes")


@pytest.fixture(scope="session")
def quick(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> HrSettings:
    """Settings of a run on them that takes a second."""
    return HrSettings(
        data=(DataSource(scenes),),
        interval=4,
        variants=(2,),
        validation_variants=1,
        crop=(64, 64),
        epochs=2,
        batch_size=2,
        warm_up=2,
        average=0.9,
        validate_every=1,
        threads=1,
        processes=1,
        device="cpu",
        cache=tmp_path_factory.mktemp("pairs"),
    )

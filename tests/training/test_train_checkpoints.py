"""From training to a bundle: checkpoints that the export side, and the authors' code, understand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from moving_scenes import write_dataset
from torch import nn

from arseg_edge.bundle import read_bundle
from arseg_edge.cli import main
from arseg_edge.errors import CheckpointError
from arseg_edge.export.checkpoint import (
    Checkpoint,
    family_of,
    load_ar,
    load_hr,
    read_checkpoint,
    recognise_family,
    state_dict_for,
)
from arseg_edge.export.families import edge_family, find_family
from arseg_edge.palette import CAMVID, CAMVID_11, ClassSet, distinct_colours
from arseg_edge.training.settings import HrSettings, LrSettings
from arseg_edge.training.train import train_hr, train_lr
from arseg_edge.training.values import DataSource

REFERENCE = Path(__file__).parents[1] / "reference"
ONE = {"epochs": 1, "variants": (1,), "warm_up": 0}
OWN = ClassSet(("ground", "disc"), ((10, 20, 30), (200, 100, 0)))


def train_both(settings: HrSettings, folder: Path) -> tuple[Path, Path]:
    hr = train_hr(settings, folder / "hr").best
    lr = train_lr(LrSettings(**{**vars(settings), "hr": hr}), folder / "lr").best
    return hr, lr


def exported(hr: Path, lr: Path, out: Path) -> Any:
    with pytest.raises(SystemExit) as raised:
        main(["export", "--hr", str(hr), "--lr", str(lr), "-o", str(out), "--size", "64x96"])
    assert raised.value.code == 0
    bundle = read_bundle(out)
    assert max(figure.error for figure in bundle.parity) < 1e-3
    return bundle.manifest


def test_published_family_from_training_to_a_bundle(quick: HrSettings, tmp_path: Path) -> None:
    classes = {name: list(colour) for name, colour in zip(CAMVID_11.names, CAMVID_11.colours, strict=True)}
    data = write_dataset(tmp_path / "data", clips=2, classes=json.dumps(classes))
    recipe = {"data": (DataSource(data),), **ONE, "cache": tmp_path / "pairs"}
    settings = replace(
        HrSettings.of("camvid-bise18", **recipe), interval=4, crop=(64, 64), batch_size=2, threads=1, processes=1
    )
    hr, lr = train_both(replace(settings, device="cpu"), tmp_path)
    published = json.loads((REFERENCE / "camvid-bise18.keys.json").read_text())
    for path, role in ((hr, "hr"), (lr, "ar")):
        state = torch.load(path, weights_only=True)
        found = {key: list(value.shape) for key, value in state.items()}
        assert found == {key.removeprefix("module."): shape for key, shape in published[role]}
    manifest = exported(hr, lr, tmp_path / "b.arseg")
    assert manifest.family == "camvid-bise18"
    assert [each.name for each in manifest.classes] == list(CAMVID.names)


def test_edge_with_classes_of_ones_own_from_training_to_a_bundle(quick: HrSettings, tmp_path: Path) -> None:
    hr, lr = train_both(replace(quick, **ONE), tmp_path)
    state = torch.load(hr, weights_only=True)
    network = cast(nn.Module, edge_family(OWN).build_hr())
    assert list(state) == list(network.state_dict())
    network.load_state_dict(state)
    manifest = exported(hr, lr, tmp_path / "e.arseg")
    assert manifest.family == "edge"
    assert [(each.name, each.colour) for each in manifest.classes] == list(zip(OWN.names, OWN.colours, strict=True))


NETWORK = """
from torch import nn
from arseg_edge.export import ClassSet, Family

class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 5, stride=4, padding=2), nn.ReLU())
        self.final_conv = nn.Conv2d(8, 2, 1)

    def feature(self, image):
        return self.body(image)

SMALL = Family("small", ClassSet(("ground", "disc"), ((10, 20, 30), (200, 100, 0))), 8, 4, Small, align_corners=RULE)
"""


@pytest.mark.parametrize("align_corners", [False, True])
def test_own_family_named_by_its_module_from_training_to_a_bundle(
    quick: HrSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, align_corners: bool
) -> None:
    module = f"own_{str(align_corners).lower()}"
    (tmp_path / f"{module}.py").write_text(NETWORK.replace("RULE", str(align_corners)))
    monkeypatch.chdir(tmp_path)
    family = f"{module}:SMALL"
    hr, lr = train_both(replace(quick, **ONE, family=family), tmp_path)
    if align_corners:
        return
    with pytest.raises(SystemExit) as raised:
        main(["export", "--hr", str(hr), "--lr", str(lr), "-o", "s.arseg", "--size", "64x96", "--family", family])
    assert raised.value.code == 0
    assert read_bundle(tmp_path / "s.arseg").manifest.family == "small"


def saved(folder: Path, classes: ClassSet, *, fused: bool, named: bool = True, metadata: object = None) -> Checkpoint:
    """Save fresh weights of ``edge`` and read them again."""
    family = edge_family(classes)
    network = cast(nn.Module, family.build_ar() if fused else family.build_hr())
    state: Mapping[str, Any] = state_dict_for(classes, network) if named else network.state_dict()
    if metadata is not None:
        state._metadata[""]["classes"] = metadata  # type: ignore[attr-defined]
    path = folder / f"{'lr' if fused else 'hr'}.pth"
    torch.save(state, path)
    return read_checkpoint(path)


def test_classes_are_read_from_the_checkpoints(tmp_path: Path) -> None:
    hr, lr = (saved(tmp_path, OWN, fused=fused) for fused in (False, True))
    assert hr.classes == lr.classes == OWN
    for family in (recognise_family(hr, lr), family_of(None, hr, lr), family_of("edge", hr, lr)):
        assert (family.name, family.classes) == ("edge", OWN)
        load_hr(family, hr)
        load_ar(family, lr)
    # A family that is handed in says itself what its classes are.
    own = edge_family(ClassSet(("a", "b"), distinct_colours(2)))
    assert family_of(own, hr, lr) is own


def test_checkpoints_without_classes_are_those_of_the_demo_model(tmp_path: Path) -> None:
    hr, lr = (saved(tmp_path, CAMVID_11, fused=fused, named=False) for fused in (False, True))
    assert hr.classes is lr.classes is None
    assert family_of(None, hr, lr) is find_family("edge")
    assert family_of("edge", hr, lr) is find_family("edge")


def test_checkpoints_of_different_classes_are_refused(tmp_path: Path) -> None:
    hr = saved(tmp_path, OWN, fused=False)
    lr = saved(tmp_path, ClassSet(("a", "b"), distinct_colours(2)), fused=True)
    with pytest.raises(CheckpointError, match=r"hr\.pth was trained for the classes ground, disc, lr\.pth for a, b: "):
        family_of(None, hr, lr)


def test_swapped_checkpoints_are_noticed(tmp_path: Path) -> None:
    hr, lr = (saved(tmp_path, OWN, fused=fused) for fused in (False, True))
    with pytest.raises(CheckpointError, match=r"lr\.pth and hr\.pth are swapped"):
        family_of(None, lr, hr)


@pytest.mark.parametrize("classes", [3, {}, {"a": 3}, {"a": [1, 2]}, {"a": [1, 2, 256]}, {3: [1, 2, 3]}, ["a"]])
def test_classes_that_are_none(classes: object, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"hr\.pth: its classes are no names with colours"):
        saved(tmp_path, OWN, fused=False, metadata=classes)

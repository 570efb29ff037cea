"""Networks of one's own: what they may hold, how their logits become labels, and how a first bundle is made."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import arseg_edge
from arseg_edge.bundle import KEYFRAME
from arseg_edge.errors import OperatorError, ParityError, UsageError
from arseg_edge.export import ClassSet, Family, export_bundle
from arseg_edge.export.clips import random_clip
from arseg_edge.export.families import edge_family, find_family
from arseg_edge.export.models import CReFF
from arseg_edge.export.models.pooling import AdaptiveAveragePool
from arseg_edge.export.own_forward import check_forward, forward_labels, normalised
from arseg_edge.export.untrained import untrained_ar
from arseg_edge.golden import FORWARD
from arseg_edge.runtime.reports.verify import verify

CLASSES = ClassSet(("sky", "road", "car"), ((70, 130, 180), (128, 64, 128), (0, 0, 142)))


class Pooling(nn.Module):
    """Stride 8 with stock pooling layers, and logits resized as torchvision does."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 5, stride=4, padding=2), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1))
        self.quarters = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Conv2d(8, 8, 1))
        self.whole = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 8, 1))
        self.final_conv = nn.Conv2d(8, 3, 1)

    def feature(self, image: Tensor) -> Tensor:
        x = F.relu(self.body(image))
        size = x.shape[-2:]
        stripes = F.adaptive_avg_pool2d(x, (3, None))
        parts = (self.quarters(x), stripes)
        return x + self.whole(x) + sum(F.interpolate(part, size=size, mode="bilinear") for part in parts)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        logits = self.final_conv(self.feature(image))
        return {"out": F.interpolate(logits, size=image.shape[-2:], mode="bilinear", align_corners=False)}


FAMILY = Family("pooling", CLASSES, channels=8, stride=8, network=Pooling, align_corners=False)


def network(kind: type[nn.Module] = Pooling) -> Any:
    torch.manual_seed(0)
    return kind().eval()


def frame(height: int, width: int) -> np.ndarray:
    return random_clip(height, width).frames[0]


def test_stock_pooling_and_the_networks_own_labels_at_any_size(tmp_path: Path) -> None:
    module = network()
    out = tmp_path / "pooling.arseg"
    bundle = export_bundle(FAMILY, hr=module.state_dict(), untrained=True, out=out)
    figures = [figure for figure in bundle.parity if figure.stage == FORWARD]
    assert {(each.member, each.size) for each in figures} == {(KEYFRAME, (96, 128)), (KEYFRAME, (135, 214))}
    assert max(each.error for each in bundle.parity) < 1e-3
    assert verify(bundle, providers="cpu").passed
    with arseg_edge.load(out, providers="cpu") as segmenter:
        for size in ((64, 96), (141, 187)):
            rgb = frame(*size)
            with torch.no_grad():
                expected = module(normalised(FAMILY, rgb))["out"].argmax(1)[0].numpy()
            assert (segmenter.step(rgb, keyframe=True).labels == expected).mean() > 0.999
            assert segmenter.step(rgb, motion=np.zeros((*size, 2), np.float32)).labels.shape == size
            segmenter.reset()


@pytest.mark.parametrize("bins", [1, 2, (3, 5), (2, None), (None, 4), (6,)], ids=str)
@pytest.mark.parametrize("size", [(7, 11), (6, 6), (1, 2)])
def test_pooling_equals_pytorchs(bins: Any, size: tuple[int, int]) -> None:
    x = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))
    expected = F.adaptive_avg_pool2d(x, bins if bins != (6,) else 6)
    torch.testing.assert_close(AdaptiveAveragePool(bins)(x), expected)


class MaximumPooling(Pooling):
    def __init__(self) -> None:
        super().__init__()
        self.strongest = nn.AdaptiveMaxPool2d(2)

    def feature(self, image: Tensor) -> Tensor:
        x = super().feature(image)
        return x + F.interpolate(self.strongest(x), size=x.shape[-2:])


def test_pooling_without_a_form_for_any_size_is_named(tmp_path: Path) -> None:
    family = dataclasses.replace(FAMILY, network=MaximumPooling)
    state = network(MaximumPooling).state_dict()
    with pytest.raises(OperatorError, match=r"pooling to 2 \(strongest\) .* export for a fixed size") as raised:
        export_bundle(family, hr=state, untrained=True, out=tmp_path / "m.arseg")
    assert "\n" not in str(raised.value)
    assert not list(tmp_path.iterdir())


class Halving(Pooling):
    """Takes even features alone."""

    def feature(self, image: Tensor) -> Tensor:
        return F.pixel_shuffle(F.pixel_unshuffle(super().feature(image), 2), 2)


def test_a_network_that_takes_only_some_sizes_is_named(tmp_path: Path) -> None:
    family = dataclasses.replace(FAMILY, network=Halving)
    with pytest.raises((OperatorError, UsageError), match=r"Halving\.\w+ fails on an image of \d+x\d+ .*17 is not"):
        export_bundle(family, hr=network(Halving).state_dict(), untrained=True, out=tmp_path / "h.arseg")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "remedy"),
    [
        ({"align_corners": True}, r"set align_corners=False in the Family, with which 0 % differ"),
        ({"upscale": 4, "align_corners": True}, r"set align_corners=False and upscale=1 in the Family"),
        ({"upscale": 8, "align_corners": None}, r"set align_corners=False and upscale=1 in the Family"),
    ],
)
def test_another_rule_than_the_networks_own_is_refused(changes: dict[str, Any], remedy: str, tmp_path: Path) -> None:
    family = dataclasses.replace(FAMILY, **changes)
    said = f"upscale={family.upscale}, align_corners=True: "
    with pytest.raises(
        ParityError, match=rf"% of the labels differ from those of Pooling\.forward with {said}{remedy}"
    ) as raised:
        export_bundle(family, hr=network().state_dict(), untrained=True, out=tmp_path / "p.arseg")
    assert raised.value.exit_code == 6
    assert not list(tmp_path.iterdir())


def test_enlarging_by_the_stride_is_the_same_at_its_multiples() -> None:
    family = dataclasses.replace(FAMILY, upscale=8, align_corners=None)
    check_forward(family, network(), [frame(96, 128)], 1e-3)
    with pytest.raises(ParityError, match="with upscale=8, align_corners=True"):
        check_forward(family, network(), [frame(135, 214)], 1e-3)


class Other(Pooling):
    def forward(self, image: Tensor) -> dict[str, Tensor]:
        return {"out": super().forward(image)["out"].flip(1)}


def test_a_forward_that_is_no_resizing_is_told_from_a_wrong_rule() -> None:
    with pytest.raises(ParityError, match=r"no resizing of final_conv\(feature\(image\)\) makes them alike"):
        check_forward(FAMILY, network(Other), [frame(64, 96)], 1e-3)


class Several(Pooling):
    def forward(self, image: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
        return super().forward(image)["out"], image


class Coarse(Pooling):
    def forward(self, image: Tensor) -> Tensor:  # type: ignore[override]
        return self.final_conv(self.feature(image))


class Asking(Pooling):
    def forward(self, image: Tensor, truth: Tensor) -> Tensor:  # type: ignore[override]
        raise AssertionError


class Silent(nn.Module):
    final_conv, feature = None, None


class Failing(Pooling):
    def forward(self, image: Tensor) -> dict[str, Tensor]:
        raise RuntimeError("no head\nfor this")


def test_which_forwards_can_be_compared() -> None:
    image = normalised(FAMILY, frame(40, 56))
    expected = forward_labels(FAMILY, network(), image)
    assert expected is not None
    several = forward_labels(FAMILY, network(Several), image)
    assert several is not None
    assert torch.equal(several, expected)
    for kind in (Coarse, Asking, Silent):
        assert forward_labels(FAMILY, network(kind), image) is None
    with pytest.raises(
        UsageError, match=r"Failing\.forward fails on an image of 40x56 \(no head for this\): repair it"
    ) as raised:
        forward_labels(FAMILY, network(Failing), image)
    assert "\n" not in str(raised.value)


def test_untrained_lr_has_hrs_weights_and_keeps_a_still_scene() -> None:
    hr, ar = network(), untrained_ar(FAMILY, network())
    assert isinstance(ar, nn.Module)
    assert isinstance(ar.fuse_attention, CReFF)
    same = {key for key, value in hr.state_dict().items() if torch.equal(value, ar.state_dict()[key])}
    assert set(hr.state_dict()) - same == {"final_conv.weight"}
    # Where HR and LR see the same everywhere, HR's logits come back, away from the border.
    flat = torch.randn(1, 8, 1, 1, generator=torch.Generator().manual_seed(3)).expand(1, 8, 16, 16).contiguous()
    with torch.no_grad():
        fused = ar.fuse_attention(flat, flat, torch.zeros(1, 128, 128, 2)).fused
        found, expected = ar.final_conv(fused), hr.final_conv(flat)
    torch.testing.assert_close(found[..., 5:-5, 5:-5], expected[..., 5:-5, 5:-5], rtol=1e-4, atol=1e-5)


def test_untrained_edge_is_the_same_each_time() -> None:
    family = edge_family(CLASSES)
    hr = family.build_hr()
    one, other = (untrained_ar(family, hr) for _ in range(2))
    assert isinstance(one, nn.Module)
    assert isinstance(other, nn.Module)
    for key, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[key]), key


def test_a_family_is_named_by_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "own_nets"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "small.py").write_text(
        "from test_own_network import FAMILY\nfrom types import SimpleNamespace\n"
        "kept = SimpleNamespace(family=FAMILY)\nnumber = 3\n"
    )
    (package / "broken.py").write_text("import nothing_of_this_name\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [str(Path(__file__).parent), *__import__("sys").path])
    assert find_family("own_nets.small:FAMILY").name == "pooling"
    assert find_family("own_nets.small:kept.family").name == "pooling"
    for name, complaint in (
        (
            "own_nets.small:number",
            "number in own_nets.small is no Family, no network, and makes none; it has FAMILY: name one",
        ),
        ("own_nets.small:", "nothing in own_nets.small is no Family"),
        ("own_nets.none:FAMILY", r"own_nets.none cannot be imported \(No module named 'own_nets.none'\)"),
        ("own_nets.broken:FAMILY", r"own_nets.broken cannot be imported \(No module named 'nothing_of_this_name'\)"),
        (":x", "cannot be imported"),
        ("pooling", "or name one of your own as package.module:attribute"),
    ):
        with pytest.raises(UsageError, match=complaint) as raised:
            find_family(name)
        assert "\n" not in str(raised.value)

"""The demo model comes with the package and is what runs where no bundle is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import arseg_edge
from arseg_edge import demo
from arseg_edge.bundle import read_bundle
from arseg_edge.errors import BundleError
from arseg_edge.palette import CAMVID_11


def test_what_it_is() -> None:
    manifest = read_bundle(demo.demo_bundle()).manifest
    assert (manifest.family, manifest.size, manifest.interval) == ("edge", None, 12)
    assert [branch.scale for branch in manifest.scales] == [0.5]
    assert tuple((each.name, each.colour) for each in manifest.classes) == tuple(
        zip(CAMVID_11.names, CAMVID_11.colours, strict=True)
    )


def test_it_is_small_and_has_its_card_beside_it() -> None:
    path = demo.demo_bundle()
    assert path.stat().st_size <= 6_000_000
    assert "CamVid" in path.with_suffix(".md").read_text(encoding="utf-8")


def test_load_takes_it_where_no_bundle_is_named() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)
    with arseg_edge.load(threads=1) as default, arseg_edge.load(demo.demo_bundle(), threads=1) as named:
        assert [each.name for each in default.classes] == list(CAMVID_11.names)
        found, expected = (each.step(rgb, keyframe=True).labels for each in (default, named))
    np.testing.assert_array_equal(found, expected)


def test_an_installation_without_it(monkeypatch: pytest.MonkeyPatch, tiny_bundle: Path) -> None:
    monkeypatch.setattr(demo, "_NAME", "none.arseg")
    with pytest.raises(BundleError, match=r"none\.arseg: this installation lacks the demo model: .* name a bundle"):
        arseg_edge.load()
    arseg_edge.load(tiny_bundle).close()

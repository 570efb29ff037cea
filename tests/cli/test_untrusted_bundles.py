"""Bundles that were made to mislead: every command ends with 3 and one line that names the key, and none passes."""

from __future__ import annotations

import dataclasses
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from command_line import Command

from arseg_edge.bundle import GOLDEN, MANIFEST, read_bundle, write_bundle
from arseg_edge.golden import read_golden

COMMANDS = (("info",), ("info", "--json"), ("verify",), ("run", "street.mp4", "-o", "labels.mp4", "-m"))


def with_manifest(source: Path, target: Path, old: str, new: str) -> None:
    """Copy a bundle with other words in its manifest."""
    with zipfile.ZipFile(source) as archive, zipfile.ZipFile(target, "w") as changed:
        for name in archive.namelist():
            data = archive.read(name)
            if name == MANIFEST:
                text = json.dumps(json.loads(data))
                assert old in text
                data = text.replace(old, new, 1).encode()
            changed.writestr(name, data)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ('"tolerance": 0.001', '"tolerance": 1e999', "manifest.json: parity: tolerance is inf, not a finite number"),
        ('"interval": 12', '"interval": 1' + "0" * 400, "manifest.json: interval is 1000000000"),
        ('"colour": [70,', '"colour": [300,', "manifest.json: classes: colour is 300, not a number from 0 to 255"),
        (
            '"smallest_size": [32, 32]',
            '"smallest_size": [0, 0]',
            "manifest.json: smallest_size is 0, not a number from",
        ),
        ('"name": "sky"', '"name": "\\ud800"', "manifest.json: classes: name is '\\ud800', not text"),
        ('"name": "sky"', '"name": "s\\u001b[2Jky"', "manifest.json: classes: name is 's\\x1b[2Jky', not text"),
        ('"scale": 0.3', '"scale": 0.5', "manifest.json: scales has 0.5 twice"),
        ('"macs":', '"macs": {}, "macs":', "manifest.json is not JSON (the key 'macs' stands twice in one object)"),
        ('"creff":', '"later":', "manifest.json: macs lacks creff"),
    ],
)
def test_a_manifest_that_misleads(
    command: tuple[str, ...], old: str, new: str, complaint: str, tiny_bundle: Path, tmp_path: Path, arseg: Command
) -> None:
    path = tmp_path / "odd.arseg"
    with_manifest(tiny_bundle, path, old, new)
    outcome = arseg(*command, path)
    assert outcome.code == 3
    assert outcome.out == ""
    assert f"{path}: {complaint}" in outcome.err
    assert outcome.err.count("\n") == 1


def test_a_clip_without_expectations_verifies_nothing(tiny_bundle: Path, tmp_path: Path, arseg: Command) -> None:
    bundle = read_bundle(tiny_bundle)
    clip = dataclasses.replace(read_golden(bundle.read(GOLDEN), "golden"), expected={})
    members: dict[str, Any] = {name: bundle.read(name) for name in bundle.manifest.members}
    path = tmp_path / "empty.arseg"
    write_bundle(path, bundle.manifest, {**members, GOLDEN: clip.to_bytes()})
    outcome = arseg("verify", path)
    assert outcome.code == 3
    assert "expects nothing of keyframe.onnx, so that it could not be verified" in outcome.err

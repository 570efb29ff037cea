"""The manifest: what is written is read, and nothing else is."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from arseg_edge.errors import BundleError
from arseg_edge.manifest import Macs, parse_manifest

Path_ = tuple[str | int, ...]


@pytest.fixture(scope="module")
def text(tiny_bundle: Path) -> str:
    with zipfile.ZipFile(tiny_bundle) as archive:
        return archive.read("manifest.json").decode()


def keys_of(value: Any, where: Path_ = ()) -> list[Path_]:
    """Return the way to every key of the document that the format prescribes, at every depth."""
    if isinstance(value, list):
        return [way for index, item in enumerate(value[:1]) for way in keys_of(item, (*where, index))]
    if not isinstance(value, dict) or where[-1:] in (("tools",), ("lr",)):
        return []
    found = []
    for key, item in value.items():
        found += [] if where == ("members",) else [(*where, key)]
        found += keys_of(item, (*where, key))
    return found


with zipfile.ZipFile(Path(__file__).parent / "data" / "tiny.arseg") as _archive:
    DOCUMENT = json.loads(_archive.read("manifest.json"))
KEYS = keys_of(DOCUMENT)


def original(way: Path_) -> Any:
    value = DOCUMENT
    for step in way:
        value = value[step]
    return value


def fits(way: Path_, value: Any) -> bool:
    """Say whether the value is of the kind that stands there, even where it makes no sense."""
    number = isinstance(value, float) and isinstance(original(way), float)
    return type(value) is type(original(way)) or number or (way == ("size",) and value is None)


VALUES: tuple[Any, ...] = (True, 1.5, "text", [], {}, None, [[]], {"a": 1})
UNFIT = [(way, value) for way in KEYS for value in VALUES if not fits(way, value)]


def changed(text: str, way: Path_, value: Any = None, *, drop: bool = False) -> str:
    document = json.loads(text)
    inner = document
    for step in way[:-1]:
        inner = inner[step]
    if drop:
        del inner[way[-1]]
    else:
        inner[way[-1]] = value
    return json.dumps(document)


def refused(text: str | bytes) -> str:
    with pytest.raises(BundleError) as error:
        parse_manifest(text, "street.arseg")
    message = str(error.value)
    assert message.startswith("street.arseg: ")
    assert "\n" not in message
    assert len(message) < 300
    return message


def test_what_is_written_is_read(text: str) -> None:
    manifest = parse_manifest(text, "tiny.arseg")
    assert manifest.to_json() == text
    assert parse_manifest(manifest.to_json(), "again") == manifest
    assert (manifest.family, manifest.size, manifest.interval) == ("tiny", None, 12)
    assert manifest.classes[1].name == "road"
    assert manifest.classes[1].colour == (128, 64, 128)


def test_the_document_has_all_that_a_device_needs() -> None:
    assert len(KEYS) > 50
    assert {way[0] for way in KEYS} == {
        "format_version", "family", "classes", "size", "smallest_size", "largest_size", "normalisation", "feature",
        "kernel_size", "interval", "motion", "scales", "opset", "operators", "oldest_onnxruntime", "tools", "sources",
        "parity", "macs", "members",
    }  # fmt: skip


@pytest.mark.parametrize("way", KEYS, ids=lambda way: ".".join(map(str, way)))
def test_missing_key_is_named(text: str, way: Path_) -> None:
    message = refused(changed(text, way, drop=True))
    if way == ("format_version",):
        assert "bundle format None is not 1" in message
    else:
        assert f"lacks {way[-1]}: export the bundle again" in message


@pytest.mark.parametrize(("way", "value"), UNFIT, ids=repr)
def test_value_of_another_kind_is_refused(text: str, way: Path_, value: Any) -> None:
    assert "export the bundle again" in refused(changed(text, way, value))


@pytest.mark.parametrize(
    ("way", "value", "complaint"),
    [
        (("motion", "sampling"), "nearest", "motion: sampling is 'nearest', not 'published' or 'consistent'"),
        (("motion", "unit"), "block", "not 'pixel'"),
        (("smallest_size",), [32], "not a list of 2"),
        (("smallest_size",), [32, 32, 32], "not a list of 2"),
        (("size",), [32.5, 32], "not a value of type int"),
        (("classes",), [], "manifest.json: classes is a list of 0, not 1 to 256 entries"),
        (("scales",), [], "manifest.json: scales is a list of 0, not 1 to 16 entries"),
        (("format_version",), 2, "bundle format 2 is not 1, the one that this version reads: update arseg-edge"),
        (("format_version",), "1", "bundle format '1' is not 1"),
        (("interval",), 0, "manifest.json: interval is 0, not a number from 1 to 100000"),
        (("scales", 0, "scale"), -0.5, "manifest.json: scales: scale is -0.5, not a number from 0.05 to 1"),
        (("parity", 0, "error"), float("nan"), "manifest.json is not JSON (NaN is no number in JSON)"),
        (("family",), ["x" * 10000], r"not a value of type str"),
    ],
)
def test_value_that_makes_no_sense_is_refused(text: str, way: Path_, value: Any, complaint: str) -> None:
    assert complaint in refused(changed(text, way, value))


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b"3", b"\xff\xfe\x00", b'{"format_version": 1', b"[" * 100_000]
)
def test_what_is_no_manifest_is_refused(content: bytes) -> None:
    assert "manifest.json is not" in refused(content)


def test_unknown_keys_are_let_through(text: str) -> None:
    # A later version may say more; what changes the meaning has another format version.
    assert parse_manifest(changed(text, ("comment",), "hello"), "x") == parse_manifest(text, "x")


def test_branch_is_found_by_its_scale(text: str) -> None:
    manifest = parse_manifest(text, "tiny.arseg")
    assert manifest.low_resolution(None) is manifest.low_resolution(0.5) is manifest.scales[0]
    assert manifest.low_resolution(0.3).member == "nonkeyframe-0.3.onnx"
    with pytest.raises(BundleError, match=r"no LR branch for scale 0\.7: this bundle has 0\.5, 0\.3"):
        manifest.low_resolution(0.7)


def test_saving_is_the_share_of_work_not_done() -> None:
    # One frame of 1000, eleven of 200 + 100: 4300 of 12000.
    macs = Macs((720, 960), hr=1000, lr={"0.5": 200}, creff=100)
    assert macs.saving(0.5, 12) == pytest.approx(1 - 4300 / 12000)
    assert macs.saving(0.5, 1) == pytest.approx(0)

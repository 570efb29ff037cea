"""The manifest: what is written is read, and nothing else is."""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from arseg_edge.errors import BundleError
from arseg_edge.manifest import Macs, parse_manifest

sys.path.insert(0, str(Path(__file__).parent.parent / "tools"))

import fuzz_manifest

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
        "label_rule", "kernel_size", "interval", "motion", "scales", "opset", "operators", "oldest_onnxruntime",
        "tools", "sources", "parity", "macs", "members",
    }  # fmt: skip


@pytest.mark.parametrize("way", KEYS, ids=lambda way: ".".join(map(str, way)))
def test_missing_key_is_named(text: str, way: Path_) -> None:
    message = refused(changed(text, way, drop=True))
    if way == ("format_version",):
        assert "bundle format None is none of those" in message
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
        (("scales",), [], "manifest.json: kernel_size is there, but scales has no entry"),
        (("motion",), None, "manifest.json: motion is null beside scales"),
        (("feature",), None, "manifest.json: feature is null beside scales"),
        (("macs", "creff"), None, "manifest.json: macs: creff is null beside scales"),
        (("label_rule",), None, "manifest.json: label_rule is null, though the networks give their logits"),
        (("normalisation",), None, "manifest.json: normalisation is there, or converted, and not both"),
        (("format_version",), 3, "bundle format 3 is none of those that this version reads (1 to 2): update"),
        (("format_version",), "1", "bundle format '1' is none of those"),
        (("format_version",), 1, "motion: unit is 'cell', not 'pixel', which bundle format 1 has"),
        (("motion", "unit"), "pixel", "motion: unit is 'pixel', not 'cell', which bundle format 2 has"),
        (("interval",), 0, "manifest.json: interval is 0, not a number from 1 to 100000"),
        (("scales", 0, "scale"), -0.5, "manifest.json: scales: scale is -0.5, not a number from 0.05 to 1"),
        (("parity", 0, "error"), float("nan"), "manifest.json is not JSON (NaN is no number in JSON)"),
        (("family",), ["x" * 10000], r"not a value of type str"),
    ],
)
def test_value_that_makes_no_sense_is_refused(text: str, way: Path_, value: Any, complaint: str) -> None:
    assert complaint in refused(changed(text, way, value))


def with_raw(text: str, way: Path_, raw: str) -> str:
    return changed(text, way, "@raw@").replace('"@raw@"', raw)


BAD_TEXT = ("", "x" * 201, "a\nb", "a\tb", "\x1b[31mred", "\0", "\ud800", "\u202eabc", "\u2028")
BAD_NUMBERS = ("1e999", "-1e999", "1" + "0" * 400, "-1" + "0" * 400, "1" + "0" * 5000, "1e308", "-1")


NUMBERS = [way for way in KEYS if type(original(way)) in (int, float) and way != ("format_version",)]
TEXTS = [way for way in KEYS if isinstance(original(way), str)]
SIZES = [way for way in KEYS if way[-1] in ("smallest_size", "largest_size", "size")]


def key_of(way: Path_) -> str:
    """Return how messages name the key."""
    return ": ".join(["manifest.json", *(step for step in way if isinstance(step, str))])


@pytest.mark.parametrize("way", NUMBERS, ids=key_of)
@pytest.mark.parametrize("number", BAD_NUMBERS, ids=lambda number: number[:8] + str(len(number)))
def test_number_out_of_range_is_refused_with_its_key(text: str, way: Path_, number: str) -> None:
    message = refused(with_raw(text, way, number))
    if number == "1" + "0" * 5000:
        assert "(5001 digits)" in message
    assert f"{key_of(way)} is " in message
    assert "export the bundle again" in message


@pytest.mark.parametrize("way", TEXTS, ids=key_of)
@pytest.mark.parametrize("bad", BAD_TEXT, ids=ascii)
def test_text_that_cannot_be_shown_is_refused_with_its_key(text: str, way: Path_, bad: str) -> None:
    if bad == "" and way[0] == "sources":
        assert parse_manifest(changed(text, way, bad), "x").sources.hr == ""
        return
    assert f"{key_of(way)} is " in refused(changed(text, way, bad))


@pytest.mark.parametrize("way", SIZES, ids=key_of)
@pytest.mark.parametrize(
    "bad", [[0, 0], [0, 64], [64, 0], [-1, 64], [65536, 64], [10**400, 64]], ids=lambda bad: str(bad)[:12]
)
def test_size_of_nothing_or_of_everything_is_refused_with_its_key(text: str, way: Path_, bad: list[int]) -> None:
    assert f"{key_of(way)} is " in refused(changed(text, way, bad))


def colours(*colour: Any) -> list[dict[str, Any]]:
    return [{"name": "road", "colour": list(colour)}]


@pytest.mark.parametrize(
    ("way", "value", "complaint"),
    [
        (("classes",), colours(0, 300, 0), "classes: colour is 300, not a number from 0 to 255"),
        (("classes",), colours(0, -1, 0), "classes: colour is -1, not a number from 0 to 255"),
        (("classes",), colours(0, 1.5, 0), "classes: colour is 1.5, not a value of type int"),
        (("classes",), colours(0, 0, 0) * 257, "classes is a list of 257, not 1 to 256 entries"),
        (("parity",), [], "parity is a list of 0, not 1 to 4096 entries"),
        (("members",), {}, "members is an object of 0, not 1 to 64 entries"),
        (("normalisation", "std"), [0.2, 0, 0.2], "normalisation: std is 0, not a number from 1e-06 to 1000"),
        (("parity", 0, "tolerance"), 1.0, "parity: tolerance is 1.0, not a number from 0 to 0.25"),
        (("parity", 0, "error"), 0.3, "parity: error is 0.3, not a number from 0 to 0.25"),
        (("macs", "hr"), 0, "macs: hr is 0, not a number from 1 to"),
        (("macs", "creff"), 0, "macs: creff is 0, not a number from 1 to"),
        (("macs", "lr"), {}, "macs: lr lacks 0.5, which scales has"),
        (("macs", "lr"), {"0.5": 0, "0.3": 7}, "macs: lr: 0.5 is 0, not a number from 1 to"),
        (("macs", "lr"), {"0.5": 9, "0.30": 7}, "macs: lr lacks 0.3, which scales has"),
        (("scales", 1, "scale"), 0.5, "scales has 0.5 twice"),
        (("scales", 1, "scale"), 0.5000001, "scales has 0.5 twice"),
        (("scales", 1, "member"), "nonkeyframe.onnx", "scales has the member 'nonkeyframe.onnx' twice"),
        (("scales", 0, "scale"), 1.01, "scales: scale is 1.01, not a number from 0.05 to 1"),
        (("smallest_size",), [32, 9000], "smallest_size is (32, 9000), above largest_size (8192, 8192)"),
        (("largest_size",), [16, 8192], "smallest_size is (32, 32), above largest_size (16, 8192)"),
        (("size",), [31, 64], "size is (31, 64), outside smallest_size (32, 32) to (8192, 8192)"),
        (("size",), [64, 8193], "size is (64, 8193), outside smallest_size (32, 32) to (8192, 8192)"),
        (("oldest_onnxruntime",), "new", "oldest_onnxruntime is 'new', not a version, such as 1.17"),
        (("members", "keyframe.onnx", "sha256"), "ABC", "members: keyframe.onnx: sha256 is 'ABC', not a SHA-256 of 64"),
        (("sources", "hr"), "0" * 63, "sources: hr is "),
        (("tools",), {"a\nb": "1"}, "tools: a key is 'a\\nb', not text of 1 to 200 characters"),
        (("members",), {"x" * 5000: 1}, "members: a key is 'xxxx"),
        (("interval",), True, "interval is True, not a value of type int"),
        (("interval",), 12.5, "interval is 12.5, not a value of type int"),
    ],
    ids=lambda value: str(value)[:40],
)  # fmt: skip
def test_value_out_of_range_is_refused_with_its_key(text: str, way: Path_, value: Any, complaint: str) -> None:
    assert f"manifest.json: {complaint}" in refused(changed(text, way, value))


def test_values_at_the_ends_of_their_ranges_are_read(text: str) -> None:
    for way, value in (
        (("classes",), colours(0, 255, 0) * 256), (("interval",), 1), (("scales", 0, "scale"), 1),
        (("size",), [32, 8192]),
        (("parity", 0, "tolerance"), 0.25), (("parity", 0, "error"), 0), (("family",), "Straße 東 " + "x" * 100),
        (("smallest_size",), [8192, 8192]),
    ):  # fmt: skip
        document = json.loads(changed(text, way, value))
        document["macs"]["lr"]["1"] = 5
        parse_manifest(json.dumps(document), "x")


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ('"interval":', '"interval": 3, "interval":', "interval"),
        ('"creff":', '"creff": 3, "creff":', "creff"),
        ('{"name": "sky"', '{"name": "x", "name": "sky"', "name"),
        ('"interval":', '"later": {"\\ud800": 1, "\\ud800": 2}, "interval":', "\\ud800"),
    ],
)
def test_key_that_stands_twice_is_refused(text: str, old: str, new: str, key: str) -> None:
    compact = json.dumps(json.loads(text))
    assert old in compact
    message = refused(compact.replace(old, new, 1))
    assert f"manifest.json is not JSON (the key '{key}' stands twice in one object)" in message


@pytest.mark.parametrize("way", [("classes",), ("interval",), ("family",), ("macs", "lr"), ("later",)])
@pytest.mark.parametrize("depth", [100, 900, 100_000])
def test_deep_nesting_is_no_trouble(text: str, way: Path_, depth: int) -> None:
    for raw in ("[" * depth + "]" * depth, '{"a":' * depth + "1" + "}" * depth):
        document = with_raw(text, way, raw)
        if way == ("later",) and depth == 100:
            assert parse_manifest(document, "x") == parse_manifest(text, "x")
        elif depth == 100_000:
            assert "manifest.json is not JSON (nested too deeply)" in refused(document)
        elif way != ("later",):
            refused(document)


def test_enormous_document_is_refused_unread(text: str) -> None:
    assert "manifest.json is longer than 1048576 bytes" in refused(changed(text, ("later",), "x" * (1 << 20)))
    assert parse_manifest(changed(text, ("later",), "x" * 500_000), "x") == parse_manifest(text, "x")


def test_document_in_another_encoding_is_refused(text: str) -> None:
    assert "is not JSON (not UTF-8 at byte 0)" in refused(text.encode("utf-16"))
    assert "is not JSON" in refused(text.encode("utf-8-sig"))


def test_a_short_fuzz() -> None:
    outcomes = list(fuzz_manifest.fuzz(3000, seed=1))
    assert [failure for _, _, failure in outcomes if failure is not None] == []
    assert {accepted for _, accepted, _ in outcomes} == {True, False}


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


def without_lr(text: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(text)
    document.update(scales=[], motion=None, kernel_size=None, feature=None)
    document["macs"].update(lr={}, creff=None)
    return document


def test_hr_alone_is_read(text: str) -> None:
    manifest = parse_manifest(json.dumps(without_lr(text)), "x")
    assert (manifest.has_lr, manifest.chaining, manifest.macs.creff) == (False, "subpixel", None)
    assert parse_manifest(manifest.to_json(), "x") == manifest
    # A feature may be given all the same, and logits need not.
    document = {**without_lr(text), "feature": {"channels": 8, "stride": 4}, "label_rule": None}
    assert parse_manifest(json.dumps(document), "x").label_rule is None


CONVERTED = {
    "size": [512, 512], "multiple": 1, "resize": "letterbox", "antialias": False, "channels": "bgr", "fill": 114,
    "scale": 1.0, "mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0], "output": "logits",
}  # fmt: skip


def test_converted_model_says_what_it_takes(text: str) -> None:
    document = {**without_lr(text), "normalisation": None, "converted": CONVERTED}
    manifest = parse_manifest(json.dumps(document), "x")
    assert manifest.converted is not None
    assert manifest.converted.size == (512, 512)
    assert parse_manifest(manifest.to_json(), "x") == manifest
    for key, value in (("resize", "crop"), ("channels", "hsv"), ("std", [0.0]), ("mean", []), ("fill", 300)):
        broken = {**document, "converted": {**CONVERTED, key: value}}
        assert f"manifest.json: converted: {key} is " in refused(json.dumps(broken))
    assert "manifest.json: converted lacks multiple" in refused(
        json.dumps({**document, "converted": {key: CONVERTED[key] for key in CONVERTED if key != "multiple"}})
    )


def test_format_1_has_lr(text: str) -> None:
    document = {**without_lr(text), "format_version": 1, "label_rule": None}
    assert "scales has 0 entries, and bundle format 1 has at least one" in refused(json.dumps(document))

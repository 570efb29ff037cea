"""Bundles: written whole or not at all, read without trust."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import random
import stat
import struct
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from arseg_edge import bundle as bundle_module
from arseg_edge.bundle import GOLDEN, KEYFRAME, MANIFEST, Bundle, nonkeyframe_member, read_bundle, write_bundle
from arseg_edge.errors import BundleError, OutputError
from arseg_edge.golden import read_golden
from arseg_edge.manifest import LowResolution

sys.path.insert(0, str(Path(__file__).parent.parent / "tools"))

import fuzz_bundle

MEMBERS = (KEYFRAME, "nonkeyframe.onnx", "nonkeyframe-0.3.onnx", "head.onnx", "head-0.3.onnx", GOLDEN)


@pytest.fixture(scope="module")
def sound(tiny_bundle: Path) -> Bundle:
    return read_bundle(tiny_bundle)


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """Where a test puts the bundle that it breaks."""
    return tmp_path / "street.arseg"


def contents(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def pack(path: Path, members: Mapping[str, bytes], compression: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data, compression)


def refused(path: Path) -> str:
    """Return the one line that reading the whole bundle ends with."""
    with pytest.raises(BundleError) as error:
        read_all(path)
    message = str(error.value)
    assert path.name in message
    assert "\n" not in message
    assert len(message) < 500
    return message


def read_all(path: Path) -> None:
    found = read_bundle(path)
    for member in found.manifest.members:
        data = found.read(member)
        if member == GOLDEN:
            read_golden(data, str(path))


def test_sound_bundle_is_read(sound: Bundle, tiny_bundle: Path) -> None:
    assert set(sound.manifest.members) == set(MEMBERS)
    packed = contents(tiny_bundle)
    for member in MEMBERS:
        assert sound.read(member) == packed[member]
        assert sound.manifest.members[member].sha256 == hashlib.sha256(packed[member]).hexdigest()
    assert sound.parity == sound.manifest.parity
    assert repr(sound) == "Bundle(tiny.arseg, tiny, size=dynamic, LR 0.5/0.3)"
    with pytest.raises(BundleError, match=r"tiny\.arseg: no member other\.onnx"):
        sound.read("other.onnx")


def test_size_is_shown(tiny_fixed_bundle: Path) -> None:
    assert repr(read_bundle(tiny_fixed_bundle)) == "Bundle(tiny-64x96.arseg, tiny, size=64x96, LR 0.5/0.3)"


def test_members_are_named_by_their_scale() -> None:
    assert nonkeyframe_member(0.5, first=True) == "nonkeyframe.onnx"
    assert nonkeyframe_member(0.75, first=False) == "nonkeyframe-0.75.onnx"


@pytest.mark.parametrize("share", [0.0, 0.0001, 0.01, 0.2, 0.5, 0.8, 0.97, 0.99, 0.999, 0.9999])
def test_truncated_file_is_refused(tiny_bundle: Path, broken: Path, share: float) -> None:
    whole = tiny_bundle.read_bytes()
    broken.write_bytes(whole[: int(share * len(whole))])
    assert "not a bundle, or cut short: copy the file again" in refused(broken)


@pytest.mark.parametrize("content", [b"", b"PK", b"not a zip at all" * 100, b"PK\x05\x06" + bytes(18)])
def test_what_is_no_bundle_is_refused(broken: Path, content: bytes) -> None:
    broken.write_bytes(content)
    assert "not a bundle" in refused(broken)


def test_missing_file_and_directory_are_refused(broken: Path) -> None:
    assert "no such file: name a bundle made by `arseg-edge export`" in refused(broken)
    broken.mkdir()
    assert "cannot be read" in refused(broken)


def test_unreadable_file_is_refused(broken: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(zipfile, "ZipFile", deny)
    assert "Permission denied): check the file and its permissions" in refused(broken)


@pytest.mark.parametrize("member", MEMBERS)
@pytest.mark.parametrize("where", [0, 0.5, -1])
def test_flipped_byte_is_found_by_the_checksum(tiny_bundle: Path, broken: Path, member: str, where: float) -> None:
    members = contents(tiny_bundle)
    data = bytearray(members[member])
    data[int(where * len(data)) if where > 0 else int(where)] ^= 0x10
    pack(broken, {**members, member: bytes(data)})
    read_bundle(broken)  # the zip's own checksum is right, and the manifest sound
    assert f"{member} does not match its checksum: copy the file again" in refused(broken)


@pytest.mark.parametrize("member", MEMBERS)
def test_flipped_byte_is_found_by_the_zip(tiny_bundle: Path, broken: Path, member: str) -> None:
    whole = bytearray(tiny_bundle.read_bytes())
    with zipfile.ZipFile(tiny_bundle) as archive:
        info = archive.getinfo(member)
    whole[info.header_offset + 200] ^= 1
    broken.write_bytes(bytes(whole))
    assert f"{member} cannot be read" in refused(broken)


@pytest.mark.parametrize(
    "name",
    [
        "../evil.onnx", "/etc/passwd", "a/keyframe.onnx", "a\\keyframe.onnx", "C:\\keyframe.onnx", "keyframe.onnx/",
        "./keyframe.onnx", "weights.bin", "KEYFRAME.onnx", "nonkeyframe-1.5.onnx", "nonkeyframe-0.55555.onnx",
        "nonkeyframe-.onnx", "nonkeyframe.onnx\n", "nonkeyframe-0.٣.onnx", "x" * 60_000,
    ],
)  # fmt: skip
def test_unknown_member_is_refused(tiny_bundle: Path, broken: Path, name: str) -> None:
    pack(broken, {**contents(tiny_bundle), name: b"evil"})
    assert "unknown member" in refused(broken)
    assert list(broken.parent.iterdir()) == [broken]


def test_member_cut_off_by_a_zero_byte_is_not_taken_for_another(tiny_bundle: Path, broken: Path) -> None:
    pack(broken, contents(tiny_bundle))
    # The zip format allows any byte in a name; Python reads the name up to the zero.
    broken.write_bytes(broken.read_bytes().replace(b"nonkeyframe-0.3.onnx", b"nonkeyframe.onnx\0\0\0\0"))
    assert "two members named nonkeyframe.onnx" in refused(broken)


def test_member_of_another_name_than_its_header_has(tiny_bundle: Path, broken: Path) -> None:
    whole = bytearray(tiny_bundle.read_bytes())
    with zipfile.ZipFile(tiny_bundle) as archive:
        at = archive.getinfo("nonkeyframe.onnx").header_offset
    struct.pack_into("<H", whole, at + 26, 60_000)
    broken.write_bytes(bytes(whole))
    assert "nonkeyframe.onnx cannot be read (File name in directory" in refused(broken)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_of_one_name_are_refused(tiny_bundle: Path, broken: Path) -> None:
    with zipfile.ZipFile(broken, "w") as archive:
        for name, data in contents(tiny_bundle).items():
            archive.writestr(name, data)
        archive.writestr(KEYFRAME, b"another")
    assert f"two members named {KEYFRAME}" in refused(broken)


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compressed_member_is_refused_before_it_is_unpacked(broken: Path, compression: int) -> None:
    pack(broken, {MANIFEST: bytes(1 << 20)}, compression)
    assert broken.stat().st_size < 1 << 16
    assert f"{MANIFEST} is compressed" in refused(broken)


def table_of_contents(archive: bytes | bytearray) -> int:
    """Return where a zip's central directory begins: its last record says so."""
    return int(struct.unpack_from("<I", archive, len(archive) - 22 + 16)[0])


def test_encrypted_member_is_refused(tiny_bundle: Path, broken: Path) -> None:
    whole = bytearray(tiny_bundle.read_bytes())
    whole[table_of_contents(whole) + 8] |= 1
    broken.write_bytes(bytes(whole))
    assert "compressed or encrypted" in refused(broken)


def test_declared_size_beyond_the_limit_is_refused(tiny_bundle: Path, broken: Path) -> None:
    whole = bytearray(tiny_bundle.read_bytes())
    for name, size in ((MANIFEST, (1 << 20) + 1), (KEYFRAME, (1 << 31) + 1), (GOLDEN, (1 << 28) + 1)):
        changed = bytearray(whole)
        at = table_of_contents(whole)
        while changed[at + 46 : at + 46 + len(name)] != name.encode():
            at = changed.index(b"PK\x01\x02", at + 1)
        changed[at + 20 : at + 28] = struct.pack("<II", size, size)
        broken.write_bytes(bytes(changed))
        assert f"{name} has {size} bytes, more than the {size - 1} allowed" in refused(broken)


def test_manifest_larger_than_allowed_is_refused(tiny_bundle: Path, broken: Path) -> None:
    members = contents(tiny_bundle)
    pack(broken, {**members, MANIFEST: members[MANIFEST] + b" " * (1 << 20)})
    assert "manifest.json has" in refused(broken)


@pytest.mark.parametrize("member", [MANIFEST, *MEMBERS])
def test_missing_member_is_refused(tiny_bundle: Path, broken: Path, member: str) -> None:
    members = contents(tiny_bundle)
    del members[member]
    pack(broken, members)
    assert ("no manifest.json" if member == MANIFEST else f"{member} is missing") in refused(broken)


def with_manifest(path: Path, broken: Path, change: Callable[[dict[str, dict[str, object]]], object]) -> None:
    members = contents(path)
    document = json.loads(members[MANIFEST])
    change(document)
    pack(broken, {**members, MANIFEST: json.dumps(document).encode()})


def test_manifest_and_archive_must_agree(tiny_bundle: Path, broken: Path) -> None:
    with_manifest(tiny_bundle, broken, lambda document: document["members"].pop(KEYFRAME))
    assert f"members lacks {KEYFRAME}" in refused(broken)
    with_manifest(tiny_bundle, broken, lambda document: document["scales"].pop())  # type: ignore[attr-defined]
    read_bundle(broken)
    with_manifest(
        tiny_bundle,
        broken,
        lambda document: (document["scales"].pop(), document["members"].pop("nonkeyframe-0.3.onnx")),  # type: ignore[attr-defined]
    )
    assert "nonkeyframe-0.3.onnx is not in the manifest" in refused(broken)
    with_manifest(tiny_bundle, broken, lambda document: document["members"][KEYFRAME].update(bytes=5))  # type: ignore[attr-defined]
    assert "where the manifest says 5" in refused(broken)
    with_manifest(tiny_bundle, broken, lambda document: document.update(format_version=99))  # type: ignore[call-overload]
    assert "bundle format 99 is none of those that this version reads (1 to 2): update arseg-edge" in refused(broken)


@pytest.mark.parametrize("member", ["../../etc/passwd", "/etc/passwd", "manifest.json", "golden.npz", "keyframe.onnx"])
def test_manifest_cannot_point_a_branch_elsewhere(tiny_bundle: Path, broken: Path, member: str) -> None:
    def change(document: dict[str, object]) -> None:
        document["scales"] = [{"scale": 0.5, "member": member}]

    with_manifest(tiny_bundle, broken, change)
    refused(broken)


def test_onnx_member_that_is_no_model_is_refused(sound: Bundle, broken: Path) -> None:
    members = {name: sound.read(name) for name in MEMBERS}
    with pytest.raises(BundleError, match=r"keyframe\.onnx: not an ONNX model"):
        write_bundle(broken, sound.manifest, {**members, KEYFRAME: b"\xff" * 40})
    assert not broken.exists()


def compressed(path: Path, members: dict[str, bytes]) -> None:
    pack(path, members, zipfile.ZIP_DEFLATED)


def with_a_stranger(path: Path, members: dict[str, bytes]) -> None:
    pack(path, {**members, "evil.onnx": b""})


def larger(path: Path, members: dict[str, bytes]) -> None:
    pack(path, {**members, KEYFRAME: members[KEYFRAME] + bytes(1 << 20)})


def other_bytes(path: Path, members: dict[str, bytes]) -> None:
    pack(path, {**members, KEYFRAME: bytes(len(members[KEYFRAME]))})


def without_keyframe(path: Path, members: dict[str, bytes]) -> None:
    pack(path, {name: data for name, data in members.items() if name != KEYFRAME})


def cut_short(path: Path, members: dict[str, bytes]) -> None:
    path.write_bytes(path.read_bytes()[:-50])


def gone(path: Path, members: dict[str, bytes]) -> None:
    path.unlink()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (compressed, "is compressed or encrypted"),
        (with_a_stranger, "unknown member 'evil.onnx'"),
        (larger, "keyframe.onnx has 1056427 bytes where the manifest says 7851"),
        (other_bytes, "keyframe.onnx does not match its checksum"),
        (without_keyframe, "keyframe.onnx is missing"),
        (cut_short, "not a bundle, or cut short"),
        (gone, "no such file"),
    ],
)
def test_file_that_changes_after_it_was_opened_is_checked_again(
    tiny_bundle: Path, broken: Path, change: Callable[[Path, dict[str, bytes]], None], complaint: str
) -> None:
    members = contents(tiny_bundle)
    pack(broken, members)
    opened = read_bundle(broken)
    change(broken, members)
    with pytest.raises(BundleError) as error:
        opened.read(KEYFRAME)
    assert complaint.replace("1056427", str(len(members[KEYFRAME]) + (1 << 20))).replace(
        "7851", str(len(members[KEYFRAME]))
    ) in str(error.value)


def test_member_is_read_from_the_file_that_was_checked(
    tiny_bundle: Path, broken: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the check and the reading the name comes to lead to another file."""
    members = contents(tiny_bundle)
    pack(broken, members)
    opened = read_bundle(broken)
    check = bundle_module._check_contents

    def check_and_exchange(path: Path, infos: list[zipfile.ZipInfo]) -> None:
        check(path, infos)
        other = path.with_suffix(".other")
        other_bytes(other, members)
        other.replace(path)

    with monkeypatch.context() as patch:
        patch.setattr(bundle_module, "_check_contents", check_and_exchange)
        assert opened.read(KEYFRAME) == members[KEYFRAME]
    with pytest.raises(BundleError, match="does not match its checksum"):
        opened.read(KEYFRAME)


def test_place_that_no_file_has_is_refused(tiny_bundle: Path, broken: Path) -> None:
    whole = bytearray(tiny_bundle.read_bytes())
    at = table_of_contents(whole)
    # A record of more than four bytes' sizes and places, in a member's extra field.
    struct.pack_into("<II", whole, at + 20, 0xFFFFFFFF, 0xFFFFFFFF)
    struct.pack_into("<I", whole, at + 42, 0xFFFFFFFF)
    name = int(struct.unpack_from("<H", whole, at + 28)[0])
    extra = struct.pack("<HHQQQ", 1, 24, 100, 100, (1 << 64) - 1)
    struct.pack_into("<H", whole, at + 30, len(extra))
    whole[at + 46 + name : at + 46 + name] = extra
    end = whole.rindex(b"PK\x05\x06")
    size = int(struct.unpack_from("<I", whole, end + 12)[0])
    struct.pack_into("<I", whole, end + 12, size + len(extra))
    broken.write_bytes(bytes(whole))
    refused(broken)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"interval": 12.5}, "manifest.json: interval is 12.5, not a value of type int"),
        ({"interval": 0}, "manifest.json: interval is 0, not a number from 1 to 100000"),
        ({"family": "a\nb"}, "manifest.json: family is 'a\\nb', not text"),
        ({"parity": ()}, "manifest.json: parity is a list of 0"),
        ({"classes": ()}, "manifest.json: classes is a list of 0"),
        ({"scales": (LowResolution(0.5, "elsewhere.onnx"),)}, "'elsewhere.onnx' cannot hold an LR branch"),
    ],
    ids=str,
)
def test_what_could_not_be_read_is_not_written(
    sound: Bundle, tmp_path: Path, change: dict[str, object], complaint: str
) -> None:
    members = {name: sound.read(name) for name in MEMBERS}
    manifest = dataclasses.replace(sound.manifest, **change)  # type: ignore[arg-type]
    with pytest.raises(BundleError) as error:
        write_bundle(tmp_path / "street.arseg", manifest, members)
    assert complaint in str(error.value)
    with pytest.raises(BundleError, match=r"members lacks golden\.npz"):
        write_bundle(tmp_path / "street.arseg", sound.manifest, {KEYFRAME: members[KEYFRAME]})
    assert not list(tmp_path.iterdir())


def test_a_short_fuzz(tmp_path: Path) -> None:
    outcomes = list(fuzz_bundle.fuzz(3000, seed=1, folder=tmp_path))
    assert [failure for _, _, failure in outcomes if failure is not None] == []
    assert {kind for kind, read, _ in outcomes if not read} == set(fuzz_bundle.KINDS)
    assert {kind for kind, read, _ in outcomes if read} >= {"bytes", "table", "members", "arrays"}


def test_random_damage_is_refused_or_does_not_matter(tiny_bundle: Path, tmp_path: Path) -> None:
    chance = random.Random(0)
    whole = tiny_bundle.read_bytes()
    directory = table_of_contents(whole)
    expected = contents(tiny_bundle)
    path = tmp_path / "damaged.arseg"
    messages = []
    for round_ in range(400):
        damaged = bytearray(whole)
        # Half of it in the table of contents and the manifest, which are small and steer everything.
        small = (0, 12_000) if round_ % 4 == 0 else (directory, len(whole))
        for _ in range(chance.randint(1, 4)):
            first, last = (0, len(whole)) if round_ % 2 else small
            damaged[chance.randrange(first, last)] = chance.randrange(256)
        path.write_bytes(bytes(damaged))
        try:
            read = read_bundle(path)
            found = {name: read.read(name) for name in read.manifest.members}
            read_golden(found[GOLDEN], path.name)
        except BundleError as error:
            messages.append(str(error))
        else:
            # Only what nothing depends on was hit: the manifest may say other words, members are as they were.
            assert found == {name: expected[name] for name in found}
    assert len(messages) > 200
    assert not any("\n" in message for message in messages)


def test_written_bundle_is_read_again(sound: Bundle, tmp_path: Path) -> None:
    members = {name: sound.read(name) for name in MEMBERS}
    out = tmp_path / "copy.arseg"
    written = write_bundle(out, dataclasses.replace(sound.manifest, members={}), members)
    assert written == read_bundle(out)
    assert written.manifest == sound.manifest
    # Equal bundles are equal files, however late they are written.
    assert out.read_bytes() == sound.path.read_bytes()
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(out.stat().st_mode) == 0o666 & ~umask


def test_failed_write_leaves_the_file_that_was_there(
    sound: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "street.arseg"
    out.write_bytes(b"what was there before")
    members = {name: sound.read(name) for name in MEMBERS}
    real = zipfile.ZipFile.writestr
    written = []

    def fail_on_the_third(self: zipfile.ZipFile, info: zipfile.ZipInfo, data: bytes) -> None:
        if len(written) == 2:
            raise OSError(28, "No space left on device")
        written.append(info.filename)
        real(self, info, data)

    monkeypatch.setattr(zipfile.ZipFile, "writestr", fail_on_the_third)
    with pytest.raises(OutputError, match=r"street\.arseg: cannot be written \(No space left on device\): choose"):
        write_bundle(out, sound.manifest, members)
    assert written == [MANIFEST, KEYFRAME]
    assert out.read_bytes() == b"what was there before"
    assert list(tmp_path.iterdir()) == [out]


def test_interrupted_write_leaves_nothing(sound: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(bundle_module.os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_bundle(tmp_path / "street.arseg", sound.manifest, {name: sound.read(name) for name in MEMBERS})
    assert not list(tmp_path.iterdir())


def test_place_that_cannot_be_written_is_known_at_once(sound: Bundle, tmp_path: Path) -> None:
    members = {name: sound.read(name) for name in MEMBERS}
    with pytest.raises(OutputError, match="is a directory: name a file"):
        write_bundle(tmp_path, sound.manifest, members)
    with pytest.raises(OutputError, match=r"no directory .*nowhere: make it first"):
        write_bundle(tmp_path / "nowhere" / "street.arseg", sound.manifest, members)
    assert not list(tmp_path.iterdir())


def test_directory_without_permission_is_refused(
    sound: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Asked of the system, not tried: root may write everywhere.
    monkeypatch.setattr(bundle_module.os, "access", lambda path, mode: False)
    with pytest.raises(OutputError, match=r"directory .* is not writable: choose another place"):
        write_bundle(tmp_path / "street.arseg", sound.manifest, {name: sound.read(name) for name in MEMBERS})

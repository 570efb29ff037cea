#!/usr/bin/env python3
"""Change a small bundle's bytes, table of contents and members at random, and read it whole.

    tools/fuzz_bundle.py --cases 100000 --seed 0

Reading ends with a BundleError of one line, or with members that are, to the byte, those whose checksums the manifest
has; the golden clip is taken apart too, under checksums that fit, so that what reads arrays is met. Ends with 1 where
anything else comes.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import hashlib
import io
import json
import random
import struct
import sys
import tempfile
import warnings
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from arseg_edge.bundle import GOLDEN, KEYFRAME, MANIFEST, read_bundle, write_bundle
from arseg_edge.errors import BundleError
from arseg_edge.golden import Expected, GoldenClip, golden_of, samples_of
from arseg_edge.onnx_bytes import tiny_model

Chance = random.Random

TINY = Path(__file__).parent.parent / "tests" / "data" / "tiny.arseg"
KINDS = ("bytes", "table", "members", "clip", "arrays")
NAMES = (
    MANIFEST, KEYFRAME, GOLDEN, "nonkeyframe.onnx", "nonkeyframe-0.3.onnx", "nonkeyframe-0.7.onnx", "head-0.7.onnx",
    "evil.onnx", "", ".", "../keyframe.onnx", "/keyframe.onnx", "keyframe.onnx/", "keyframe.onnx\0x",
    "K" * 70, "\u0660", "a\nb",
)  # fmt: skip
NUMBERS = (0, 1, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def small_bundle(path: Path) -> dict[str, bytes]:
    """Write the bundle that is changed, of a few kilobytes, and return its members, the manifest among them."""
    manifest = read_bundle(TINY).manifest
    frames = np.zeros((2, 32, 40, 3), np.uint8)
    labels, values = np.zeros((32, 40), np.uint8), samples_of(np.ones((1, 2, 2, 2), np.float32))
    key, other = {"feature": values}, {"lr_feature": values, "logits": values}
    runs = {each.member: {1: Expected(labels, other)} for each in manifest.scales}
    runs |= {each.head: {1: Expected(labels, {})} for each in manifest.scales}
    golden = GoldenClip(frames, np.zeros((2, 32, 40, 2), np.float32), {KEYFRAME: {0: Expected(labels, key)}, **runs})
    # Each stage once is enough.
    parity = {(figure.member, figure.stage): figure for figure in manifest.parity}
    models = {name: tiny_model() for name in (KEYFRAME, *runs)}
    manifest = dataclasses.replace(manifest, parity=tuple(parity.values()))
    golden_of(write_bundle(path, manifest, {**models, GOLDEN: golden.to_bytes()}))
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def damage(data: bytes, chance: Chance, first: int = 0) -> bytes:
    """Change, remove, insert or repeat a few bytes from ``first`` on, or set a number of two or four."""
    out = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 4))):
        at, length = chance.randint(min(first, len(out)), len(out)), chance.choice((1, 2, 4, 60))
        kind = chance.randrange(6)
        if kind == 0:
            del out[at : at + length]
        elif kind == 1:
            out[at:at] = chance.randbytes(length)
        elif kind == 2:
            out[at:at] = out[at : at + length]
        elif kind == 3 and at + 4 <= len(out):
            form = chance.choice(("<H", "<I"))
            struct.pack_into(form, out, at, chance.choice(NUMBERS) & (0xFFFF if form == "<H" else 0xFFFFFFFF))
        elif kind == 4 and chance.random() < 0.1:
            del out[at:]
        elif at < len(out):
            out[at] = chance.randrange(256)
    return bytes(out)


def fitting(members: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the members with sizes and checksums in the manifest that fit them."""
    document = json.loads(members[MANIFEST])
    document["members"] = {
        name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for name, data in members.items()
        if name != MANIFEST
    }
    return {**members, MANIFEST: json.dumps(document).encode()}


def pack(members: list[tuple[str, bytes]], chance: Chance) -> bytes:
    """Return an archive of these members, some of them stored oddly."""
    buffer = io.BytesIO(chance.randbytes(chance.choice((0, 0, 0, 0, 0, 30))))
    buffer.seek(0, io.SEEK_END)
    with zipfile.ZipFile(buffer, "a") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # two of one name are meant
        for name, data in members:
            info = zipfile.ZipInfo(name or "x")
            info.extra = chance.choice((*(b"",) * 30, b"\x01\x00\x08\x00" + bytes(8), chance.randbytes(5)))
            stored = chance.random() < 0.98
            archive.writestr(info, data, zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED)
        archive.comment = chance.choice((b"", b"", b"", b"", b"x" * 50, b"PK\x05\x06"))
    return buffer.getvalue()


def rearranged(whole: Mapping[str, bytes], chance: Chance) -> bytes:
    """Return an archive with members lost, twice, renamed, exchanged or of other bytes."""
    members = list(whole.items())
    for _ in range(chance.choice((1, 1, 2))):
        at = chance.randrange(len(members))
        name, data = members[at]
        kind = chance.randrange(6)
        if kind == 0 and len(members) > 1:
            del members[at]
        elif kind == 1:
            members.append((chance.choice(NAMES), chance.choice(members)[1]))
        elif kind == 2:
            members[at] = chance.choice(NAMES), data
        elif kind == 3:
            members[at] = name, chance.choice(members)[1]
        elif kind == 4:
            chance.shuffle(members)
        else:
            members[at] = name, damage(data, chance)
    if chance.random() < 0.5 and MANIFEST in dict(members):
        with contextlib.suppress(ValueError, TypeError):  # the manifest itself was changed
            members = list(fitting(dict(members)).items())
    return pack(members, chance)


def with_other_arrays(clip: bytes, chance: Chance) -> bytes:
    """Return a golden clip with changed bytes in one of its arrays, or in the name of one."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(clip)) as archive, zipfile.ZipFile(out, "w") as changed:
        chosen = chance.choice(archive.namelist())
        for name in archive.namelist():
            data = archive.read(name)
            if name == chosen:
                if chance.random() < 0.2:
                    name = damage(name.encode(), chance).decode(errors="replace") or "x"
                else:
                    # Mostly in the header.
                    data = damage(data[:128], chance) + data[128:] if chance.random() < 0.8 else damage(data, chance)
            changed.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    return out.getvalue()


def make(kind: str, archive: bytes, members: Mapping[str, bytes], chance: Chance) -> bytes:
    """Return a changed bundle."""
    if kind == "bytes":
        return damage(archive, chance)
    if kind == "table":
        return damage(archive, chance, archive.index(b"PK\x01\x02"))
    if kind == "members":
        return rearranged(members, chance)
    change = damage if kind == "clip" else with_other_arrays
    clip = change(members[GOLDEN], chance)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as changed:
        for name, data in fitting({**members, GOLDEN: clip}).items():
            changed.writestr(name, data)
    return out.getvalue()


def judge(path: Path) -> tuple[bool, str | None]:
    """Say whether a bundle is read, and what is wrong with that."""
    try:
        bundle = read_bundle(path)
        found = {name: bundle.read(name) for name in bundle.manifest.members}
        golden_of(bundle)
    except BundleError as error:
        message = str(error)
        fine = message.isprintable() and path.name in message and len(message) < 800
        return False, None if fine else f"message {message!r}"
    except Exception as error:
        return False, f"{type(error).__name__}: {error}"
    for name, member in bundle.manifest.members.items():
        if (len(found[name]), hashlib.sha256(found[name]).hexdigest()) != (member.bytes, member.sha256):
            return True, f"{name} is not what the manifest says"
    return True, None


def fuzz(cases: int, seed: int, folder: Path) -> Iterator[tuple[str, bool, str | None]]:
    """Change and judge so many bundles, kinds in turn; one at a time lies in ``folder``."""
    sound, path = folder / "sound.arseg", folder / "fuzzed.arseg"
    members = small_bundle(sound)
    archive = sound.read_bytes()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy's, of old headers
        for number in range(cases):
            kind = KINDS[number % len(KINDS)]
            path.write_bytes(make(kind, archive, members, Chance(f"{seed}:{number}")))
            yield kind, *judge(path)


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    table: Counter[tuple[str, str]] = Counter()
    failures = 0
    with tempfile.TemporaryDirectory() as scratch:
        for number, (kind, read, failure) in enumerate(fuzz(arguments.cases, arguments.seed, Path(scratch))):
            table[kind, "read" if read else "refused"] += 1
            if failure is not None:
                failures += 1
                print(f"case {number} ({kind}): {failure}", file=sys.stderr)
    for (kind, outcome), count in sorted(table.items()):
        print(f"{kind:10}{outcome:10}{count}")
    print(f"{table.total()} bundles, {failures} failed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

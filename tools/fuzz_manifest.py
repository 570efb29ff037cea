#!/usr/bin/env python3
"""Change a bundle's manifest at random: each is refused in words, or all its values are within their ranges.

    tools/fuzz_manifest.py --cases 100000 --seed 0

The ranges are stated here again, not read from the code that enforces them. Ends with 1 where anything but a
BundleError comes, or a value beyond its range, or what is read is not what is written again.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import json
import math
import random
import sys
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from arseg_edge.errors import BundleError
from arseg_edge.manifest import Manifest, parse_manifest

Chance = random.Random

TINY = Path(__file__).parent.parent / "tests" / "data" / "tiny.arseg"

VALUES = (
    None, True, False, 0, -1, 1, 2, 0.5, -0.5, 255, 256, 300, 65536, 2**31, 2**63, 2**64, 10**19, 10**25, 1e-300, 1e300,
    "", "x", "x" * 300, "a\nb", "\x1b[0m", "\0", "\ud800", "\u202e", "größe", "keyframe.onnx", "../x", "0.5", "1e999",
    [], [1], [0, 0], [32, 32], [9000, 9000], [1, 2, 3], [[[]]], {}, {"a": 1}, {"": 0}, {"a\nb": "x"},
)  # fmt: skip
RAW = (
    "1e999", "-1e999", "1" + "0" * 400, "9" * 6000, "NaN", "Infinity", "1.", "01", "-0", "1e-400", '"\\ud800"',
    "[" * 500 + "]" * 500, "[" * 20_000 + "]" * 20_000, '{"a":1,"a":2}', '{"a":' * 300 + "1" + "}" * 300, "",
)  # fmt: skip
MARK = "@here@"


def changed(text: str, chance: Chance) -> str | bytes:
    """Return the manifest with a few changes."""
    document = json.loads(text)
    raw = None
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        holder, key = chance.choice(list(_places(document)))
        kind = chance.randrange(8)
        if kind == 0 and isinstance(holder, dict):
            del holder[key]
        elif kind == 1 and isinstance(holder, dict):
            holder[chance.choice((key + "x", "", "\ud800", "x" * 1000))] = holder[key]
        elif kind == 2 and isinstance(holder, list):
            holder *= chance.choice((0, 2, 300))
        elif kind == 3:
            holder[key], raw = MARK, chance.choice(RAW)
        elif kind == 4 and type(holder[key]) in (int, float):
            holder[key] *= chance.choice((-1, 0, 2, 0.5, 1000, 1e30, 10**30))
        elif kind == 5:  # of its neighbourhood
            holder[key] = copy.deepcopy(chance.choice([other[at] for other, at in _places(document)]))
        else:
            holder[key] = copy.deepcopy(chance.choice(VALUES))
    out = json.dumps(document)
    if raw is not None:
        out = out.replace(f'"{MARK}"', raw)
    kind = chance.randrange(12)
    if kind == 0:  # a key twice
        at = chance.choice([index for index, letter in enumerate(out) if letter == "{"] or [0])
        return out[: at + 1] + '"name": 1, "interval": 2, ' + out[at + 1 :]
    if kind == 1:
        damaged = bytearray(out.encode())
        for _ in range(chance.randint(1, 4)):
            if damaged:
                damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        return bytes(damaged)
    if kind == 2:
        return out.encode()[: chance.randrange(len(out) + 1)]
    return out


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every (list or object, index or key) of a document."""
    entries = enumerate(value) if isinstance(value, list) else value.items() if isinstance(value, dict) else ()
    for key, inner in entries:
        yield value, key
        yield from _places(inner)


def beyond(manifest: Manifest) -> str | None:
    """Return what of a manifest is out of its range."""
    texts = [
        manifest.family, *manifest.tools, *manifest.tools.values(), *manifest.members, *manifest.macs.lr,
        *(each.name for each in manifest.classes), *(each.member for each in manifest.scales),
        *(text for each in manifest.operators for text in (each.domain, each.name)),
        *(text for each in manifest.parity for text in (each.member, each.stage, each.input)),
    ]  # fmt: skip
    sides = [
        *manifest.smallest_size, *manifest.largest_size, *(manifest.size or (1, 1)), *manifest.macs.size,
        *(side for each in manifest.parity for side in each.size),
    ]  # fmt: skip
    figures = [number for each in manifest.parity for number in (each.error, each.tolerance)]
    scales = [f"{each.scale:g}" for each in manifest.scales]
    whole = [
        manifest.interval,
        manifest.opset,
        *([] if manifest.kernel_size is None else [manifest.kernel_size]),
        *([] if manifest.feature is None else [manifest.feature.stride, manifest.feature.channels]),
    ]
    normal = manifest.normalisation or manifest.converted
    inside = zip(manifest.smallest_size, manifest.size or manifest.smallest_size, manifest.largest_size, strict=True)
    true = {
        "text": all(text.isprintable() and 0 < len(text) <= 200 for text in texts),
        "classes": 1 <= len(manifest.classes) <= 256,
        "colour": all(type(c) is int and 0 <= c <= 255 for each in manifest.classes for c in each.colour),
        "size": all(type(side) is int and 1 <= side <= 65535 for side in sides),
        "sizes": all(low <= side <= high for low, side, high in inside),
        "figures": bool(figures) and all(0 <= number <= 0.25 for number in figures),
        "scales": bool(scales) == (manifest.motion is not None) and len(set(scales)) == len(scales),
        "scale": all(0.05 <= each.scale <= 1 for each in manifest.scales),
        "whole numbers": all(type(number) is int and 1 <= number <= 100_000 for number in whole),
        "normalisation": (manifest.normalisation is None) == (manifest.converted is not None),
        "std": all(1e-6 <= each <= 1000 for each in (normal.std if normal else ())),
        "mean": all(math.isfinite(each) for each in (normal.mean if normal else ())),
        "macs": manifest.macs.hr >= 1
        and (manifest.macs.creff or 1) >= 1
        and (manifest.macs.creff is None) == (not scales)
        and all(manifest.macs.lr[scale] >= 1 for scale in scales),
        "bytes": all(0 <= each.bytes <= 2**31 for each in manifest.members.values()),
        "sha256": all(len(bytes.fromhex(each.sha256)) == 32 for each in manifest.members.values()),
    }
    return next((name for name, holds in true.items() if not holds), None)


def judge(text: str | bytes) -> tuple[bool, str | None]:
    """Say whether a manifest is taken, and what is wrong with that."""
    try:
        manifest = parse_manifest(text, "fuzzed.arseg")
    except BundleError as error:
        message = str(error)
        fine = message.startswith("fuzzed.arseg: ") and message.isprintable() and len(message) < 600
        return False, None if fine else f"message {message!r}"
    except Exception as error:
        return False, f"{type(error).__name__}: {error}"
    try:
        wrong = beyond(manifest)
        if wrong is None:
            assert parse_manifest(manifest.to_json(), "again") == manifest
            json.dumps(dataclasses.asdict(manifest), allow_nan=False, ensure_ascii=False).encode()
            for branch in manifest.scales:
                assert math.isfinite(manifest.macs.saving(branch.scale, manifest.interval))
    except Exception as error:
        return True, f"{type(error).__name__}: {error}"
    return True, wrong and f"{wrong} out of range"


def fuzz(cases: int, seed: int) -> Iterator[tuple[str | bytes, bool, str | None]]:
    """Make and judge so many manifests."""
    with zipfile.ZipFile(TINY) as archive:
        document = json.loads(archive.read("manifest.json"))
    document["parity"] = document["parity"][:2]
    text = json.dumps(document)
    for number in range(cases):
        case = changed(text, Chance(f"{seed}:{number}"))
        yield case, *judge(case)


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    table: Counter[bool] = Counter()
    failures = 0
    for number, (_, accepted, failure) in enumerate(fuzz(arguments.cases, arguments.seed)):
        table[accepted] += 1
        if failure is not None:
            failures += 1
            print(f"case {number}: {failure}", file=sys.stderr)
    print(f"{table.total()} manifests: {table[True]} taken, {table[False]} refused, {failures} failed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

"""Bundles with HR alone, made of one that has LR, too."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from arseg_edge.bundle import GOLDEN, KEYFRAME, Bundle, read_bundle, write_bundle
from arseg_edge.golden import Expected, GoldenClip, golden_of


def hr_alone(whole: Path, out: Path, *, logits: bool = True) -> Bundle:
    """Write what is left of a bundle without LR; without ``logits`` it says nothing of how labels are made of them."""
    bundle = read_bundle(whole)
    old, clip = bundle.manifest, golden_of(bundle)
    runs = {index: Expected(each.labels, {}) for index, each in clip.expected[KEYFRAME].items()}
    manifest = dataclasses.replace(
        old,
        feature=None,
        kernel_size=None,
        motion=None,
        scales=(),
        label_rule=old.label_rule if logits else None,
        macs=dataclasses.replace(old.macs, lr={}, creff=None),
        parity=tuple(each for each in old.parity if each.member == KEYFRAME and each.stage == "labels"),
    )
    golden = GoldenClip(clip.frames, clip.motion, {KEYFRAME: runs})
    return write_bundle(out, manifest, {KEYFRAME: bundle.read(KEYFRAME), GOLDEN: golden.to_bytes()})

"""``arseg-edge info``: what is in a bundle, and what it saves."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from pathlib import Path

import click

from arseg_edge.bundle import read_bundle
from arseg_edge.cli.convert import taken
from arseg_edge.cli.options import json_option, model_argument, print_json, print_table
from arseg_edge.errors import BundleError
from arseg_edge.integrity import damage_of
from arseg_edge.manifest import FORMAT_VERSION, ConvertedInput, Macs, Manifest, Quantisation

_OLD = f", the one of today is {FORMAT_VERSION} (arseg-edge export --upgrade)"


@click.command(short_help="Show what is in a bundle, and what it saves.")
@model_argument
@json_option
def info(bundle: Path, as_json: bool) -> None:
    """Show what is in BUNDLE: its networks, their arithmetic, and how well the export matched PyTorch.

    Reads all of it, and exits with 3 where something is damaged. [default: the demo model]
    """
    opened = read_bundle(bundle)
    manifest = opened.manifest
    damage = damage_of(opened)
    if as_json:
        savings = {
            f"{branch.scale:g}": manifest.macs.saving(branch.scale, manifest.interval) for branch in manifest.scales
        }
        print_json({**dataclasses.asdict(manifest), "saving": savings, "damaged": damage})
    else:
        print_table(_facts(manifest, damage))
        click.echo()
        print_table(_arithmetic(manifest), header=("branch", "GMAC a frame", "share of HR"))
        if manifest.scales:
            click.echo()
        for branch in manifest.scales:
            click.echo(_saving(manifest.macs, branch.scale, manifest.interval))
    for line in damage.values():
        raise BundleError(line)


def _facts(manifest: Manifest, damage: Collection[str]) -> list[tuple[str, ...]]:
    size = "any, {}x{} to {}x{}".format(*manifest.smallest_size, *manifest.largest_size)
    if manifest.size is not None:
        size = "{}x{}".format(*manifest.size)
    worst = max(manifest.parity, key=lambda figure: figure.error)
    operators = ", ".join(operator.name for operator in manifest.operators)
    return [
        ("family", manifest.family),
        ("bundle format", f"{manifest.format_version}{_OLD if manifest.format_version < FORMAT_VERSION else ''}"),
        ("classes", ", ".join(each.name for each in manifest.classes)),
        ("size (height x width)", size),
        *_converted_facts(manifest.converted),
        ("LR scales", ", ".join(f"{each.scale:g} ({each.member})" for each in manifest.scales) or "none: HR alone"),
        ("keyframe interval", str(manifest.interval)),
        *_lr_facts(manifest),
        *_quantisation_facts(manifest.quantisation),
        ("operators", f"{operators or 'standard ones alone'} (opset {manifest.opset})"),
        ("needs", f"ONNX Runtime {manifest.oldest_onnxruntime} or newer"),
        (
            "largest error",
            f"{worst.error:.1e} against {_reference(manifest)} ({worst.member}, {worst.stage}, {worst.input})",
        ),
        ("made with", ", ".join(f"{name} {version}" for name, version in manifest.tools.items())),
        *(
            (name, f"{member.bytes / 1e6:.1f} MB{', damaged' if name in damage else ''}")
            for name, member in manifest.members.items()
        ),
    ]


def _lr_facts(manifest: Manifest) -> list[tuple[str, ...]]:
    facts: list[tuple[str, ...]] = []
    if manifest.motion is not None:
        facts.append(("motion", f"{manifest.motion.chaining} chaining, {manifest.motion.sampling} sampling"))
    if manifest.feature is not None:
        facts.append(("feature", f"{manifest.feature.channels} channels at 1/{manifest.feature.stride}"))
    return facts


def _reference(manifest: Manifest) -> str:
    if manifest.quantisation is not None:
        return "the quantised graphs computed in float"
    return "the given model" if manifest.converted else "PyTorch"


def _quantisation_facts(quantisation: Quantisation | None) -> list[tuple[str, ...]]:
    if quantisation is None:
        return []
    facts: list[tuple[str, ...]] = [
        (
            "eight bits",
            f"calibrated on {quantisation.frames} frames ({quantisation.pairs} after a keyframe) of "
            f"{', '.join(quantisation.sources)}",
        )
    ]
    for member, graph in quantisation.graphs.items():
        back = f", in float: {', '.join(graph.float_layers)}" if graph.float_layers else ""
        facts.append(
            (
                f"  {member}",
                f"{graph.layers} layers, ranges by {graph.method}, {graph.agreement:.2f} % of the pixels as in float"
                f"{back}",
            )
        )
    return facts


def _converted_facts(rule: ConvertedInput | None) -> list[tuple[str, ...]]:
    return [] if rule is None else [("converted" if not index else "", line) for index, line in enumerate(taken(rule))]


def _arithmetic(manifest: Manifest) -> list[tuple[str, ...]]:
    macs = manifest.macs
    rows = [("HR", macs.hr), *((f"LR {scale}", count) for scale, count in macs.lr.items())]
    if macs.creff is not None:
        rows.append(("CReFF", macs.creff))
    return [(name, f"{count / 1e9:.2f}", f"{count / macs.hr:.1%}") for name, count in rows]


def _saving(macs: Macs, scale: float, interval: int) -> str:
    size = "{}x{}".format(*macs.size)
    return (
        f"LR {scale:g} at interval {interval} saves {macs.saving(scale, interval):.1%} of the multiply-accumulates of "
        f"HR on every frame ({size}; convolutions, matrix products and attention counted; the paper has 67 % for "
        "psp18 on CamVid at 0.5 and 12)"
    )

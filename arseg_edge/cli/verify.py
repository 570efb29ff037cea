"""``arseg-edge verify``: does a bundle give on this device what it gave at export?"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from arseg_edge.bundle import read_bundle
from arseg_edge.cli.model_options import ModelOptions, model_options
from arseg_edge.cli.options import json_option, model_argument, print_json, print_table
from arseg_edge.errors import ParityError


@click.command(short_help="Check that a bundle computes here what it did at export.")
@model_argument
@model_options("provider", "threads")
@json_option
def verify(bundle: Path, options: ModelOptions, as_json: bool) -> None:
    """Replay BUNDLE's golden clip here, stage by stage; exits with 6 where one is off, and says what is.

    [default: the demo model]
    """
    from arseg_edge.runtime.reports.verify import verify as replay

    opened = read_bundle(bundle)
    outcome = replay(opened, providers=options.providers, threads=options.thread_count)
    if as_json:
        print_json({**dataclasses.asdict(outcome), "passed": outcome.passed})
    else:
        rows = [
            (each.member, str(each.frame), each.stage, f"{each.error:.1e}", "ok" if each.passed else "OFF")
            for each in outcome.findings
        ]
        print_table(rows, header=("member", "frame", "stage", "error", ""))
        operators = "native operators" if outcome.native else "function bodies"
        click.echo(f"on {outcome.provider}, {operators}")
        if opened.manifest.format_version == 1:
            click.echo("a bundle of format 1 does not give what lies between HR's feature and the labels")
    if not outcome.passed:
        raise ParityError(f"{opened.path}: off on this device: {outcome.blame}")

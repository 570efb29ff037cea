"""``arseg-edge verify``: does a bundle give on this device what it gave at export?"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from arseg_edge.bundle import read_bundle
from arseg_edge.cli.options import (
    json_option,
    model_argument,
    parse_provider,
    print_json,
    print_table,
    provider_option,
    threads_option,
)
from arseg_edge.errors import ParityError, ProviderError


@click.command()
@model_argument
@provider_option
@threads_option
@json_option
def verify(bundle: Path, provider: str, threads: int | None, as_json: bool) -> None:
    """Replay BUNDLE's golden clip here, stage by stage; exits with 6 where one is off, and says what is.

    [default: the demo model]
    """
    opened = read_bundle(bundle)
    try:
        from arseg_edge.runtime.inference.cpu_budget import usable_cores
        from arseg_edge.runtime.reports.verify import verify as replay
    except ImportError as error:
        raise ProviderError(f'{error.name} is not installed: pip install "arseg-edge[cpu]"') from None
    outcome = replay(opened, providers=parse_provider(provider), threads=threads or usable_cores())
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
    if not outcome.passed:
        raise ParityError(f"{opened.path}: off on this device: {outcome.blame}")

"""``arseg-edge bench``: what a bundle saves on this device."""

from __future__ import annotations

import dataclasses
import sys
from typing import TYPE_CHECKING

import click

from arseg_edge.bundle import read_bundle
from arseg_edge.cli.model_options import ModelOptions, model_options
from arseg_edge.cli.options import json_option, print_json, print_table

if TYPE_CHECKING:
    from arseg_edge.runtime.reports.bench import BenchReport, Timing


@click.command(short_help="Time a bundle on this device: AR beside HR on every frame.")
@click.argument("video")
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True, help="Rounds that count.")
@model_options(
    "model", "interval", "size", "threads", interval="Keyframe interval, 2 or more.  [default: the bundle's]"
)
@json_option
def bench(video: str, rounds: int, options: ModelOptions, as_json: bool) -> None:
    """Time the bundle on the first frames of VIDEO, on the CPU: HR on every frame beside HR, LR and CReFF.

    Variants take turns within every round; the figures are medians, with quartiles in brackets.
    """
    from arseg_edge.runtime.reports.bench import run_bench

    options.refuse_short_interval(2)
    report = run_bench(
        read_bundle(options.bundle_path),
        video,
        threads=options.thread_count,
        rounds=rounds,
        interval=options.interval,
        size=options.network_size,
        progress=_show_progress,
    )
    if sys.stderr.isatty():
        click.echo("\r\033[K", err=True, nl=False)
    if as_json:
        print_json({**dataclasses.asdict(report), "share_of_bound": report.share_of_bound})
    else:
        _print(report)


def _show_progress(what: str) -> None:
    if sys.stderr.isatty():
        click.echo(f"\r\033[K{what}", err=True, nl=False)


def _print(report: BenchReport) -> None:
    height, width = report.size
    operators = "native operators" if report.native else "function bodies"
    seen = "" if report.network_size == report.size else " seen at {}x{}".format(*report.network_size)
    click.echo(
        f"{report.bundle} on {report.video}, {height}x{width}{seen}, interval {report.interval}, "
        f"{report.threads} threads, {operators}, {report.rounds} rounds"
    )
    click.echo()
    names = {
        "hr": "HR on every frame",
        "hr bare": "HR, bare InferenceSession",
        "ar": "HR + LR + CReFF",
        "ar bodies": "the same, function bodies",
    }
    rows = [(names[name], *_cells(timing, rate=True)) for name, timing in report.end_to_end.items()]
    print_table(rows, header=("end to end", "ms a frame", "quartiles", "frames/s"))
    click.echo()
    alone = {"hr": "HR", "ar frame": "LR + CReFF + labels", "lr network": "LR network only"}
    rows = [(alone[name], *_cells(timing, rate=False)) for name, timing in report.alone.items()]
    print_table(rows, header=("alone", "ms", "quartiles"))
    click.echo()
    stages = [(stage, f"{value:.2f}") for stage, value in report.stages.items()]
    stages += [(f"  {operator} (AR frame)", f"{value:.2f}") for operator, value in report.operators.items()]
    print_table(stages, header=("stage", "median ms"))
    click.echo()
    for line in (
        f"ratio to HR on every frame    {report.ratio:.2f}",
        f"arithmetic bound              {report.bound:.2f}, reached {report.share_of_bound:.1%}",
        f"beside the LR network         {report.beside_lr:.1%} of its time",
        f"not overlapped                {report.exposed:.1%} of the wall time",
        f"sgemm                         {report.sgemm_gflops:.0f} GFLOP/s; HR runs at {report.hr_gflops:.0f}",
        f"start-up                      {report.startup_seconds:.2f} s from import to loaded",
        f"peak memory                   {report.peak_megabytes:.0f} MB",
    ):
        click.echo(line)


def _cells(timing: Timing, *, rate: bool) -> tuple[str, ...]:
    cells = (f"{timing.median:.1f}", f"[{timing.lower:.1f}, {timing.upper:.1f}]")
    return (*cells, f"{1e3 / timing.median:.2f}") if rate else cells

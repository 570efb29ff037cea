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
    from arseg_edge.runtime.reports.bench import BenchReport, Timing, WayTiming


@click.command(short_help="Time a bundle on this device, beside HR on every frame.")
@click.argument("video")
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True, help="Rounds that count.")
@click.option("--frames", type=click.IntRange(min=2), help="How many of the first frames.  [default: four intervals]")
@model_options(
    "model", "interval", "size", "threads", interval="Keyframe interval, 2 or more.  [default: the bundle's]"
)
@json_option
def bench(video: str, rounds: int, frames: int | None, options: ModelOptions, as_json: bool) -> None:
    """Time all ways to label the first frames of VIDEO, on the CPU, beside HR on every frame.

    The ways take turns within every round; the figures are medians, with quartiles in brackets, and "faster" is the
    ratio to the HR network in a bare session of ONNX Runtime, without decoding and all else.
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
        frames=frames,
        progress=_show_progress,
    )
    if sys.stderr.isatty():
        click.echo("\r\033[K", err=True, nl=False)
    if as_json:
        print_json({**dataclasses.asdict(report), "moved": {name: cost.facts() for name, cost in report.moved.items()}})
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
        f"{report.bundle} on {report.frames} frames of {report.video}, {height}x{width}{seen}, "
        f"interval {report.interval}, {report.threads} threads, {operators}, {report.rounds} rounds"
    )
    click.echo()
    rows = [
        (way.words, *_cells(way, rate=True), f"{way.ratio:.2f}", _shares(way)) for way in report.end_to_end.values()
    ]
    print_table(rows, header=("end to end", "ms a frame", "quartiles", "frames/s", "faster", "frames by branch"))
    click.echo()
    alone = {"hr": "HR", "lr frame": "LR + CReFF + labels", "lr network": "LR network only"}
    whole = report.alone["hr"].median
    rows = [
        (alone[name], *_cells(timing, rate=False), f"{timing.median / whole:.2f}")
        for name, timing in report.alone.items()
    ]
    print_table(rows, header=("alone", "ms", "quartiles", "of HR"))
    click.echo()
    if report.moved:
        print_table(_moved_rows(report), header=("a moved frame, processor time", *report.moved))
        click.echo()
    stages = sorted({stage for each in report.stages.values() for stage in each}, key=_ORDER.index)
    rows = [(stage, *(_number(each.get(stage)) for each in report.stages.values())) for stage in stages]
    blank = ("",) * (len(report.stages) - 1)
    rows += [(f"  {operator} (LR frame)", _number(value), *blank) for operator, value in report.operators.items()]
    print_table(rows, header=("stage, median ms", *report.stages))
    click.echo()
    for line in (
        *_paper_lines(report),
        f"sgemm                         {report.sgemm_gflops:.0f} GFLOP/s; HR runs at {report.hr_gflops:.0f}",
        f"start-up                      {report.startup_seconds:.2f} s from import to loaded",
        f"peak memory                   {report.peak_megabytes:.0f} MB; {report.peak_megabytes_live:.0f} MB without "
        f"look-ahead, which keeps {report.lookahead_megabytes:.0f} MB at most",
    ):
        click.echo(line)


def _paper_lines(report: BenchReport) -> list[str]:
    if report.bound is None:
        return []
    return [
        f"arithmetic bound of paper     {report.bound:.2f}, reached {report.share_of_bound:.1%}",
        f"beside the LR network         {report.beside_lr:.1%} of its time",
        f"paper, not overlapped         {report.exposed:.1%} of the wall time",
    ]


_ORDER = ("decode", "motion", "convert", "hr", "lr", "moved")


def _moved_rows(report: BenchReport) -> list[tuple[str, ...]]:
    costs = report.moved.values()
    return [
        ("plain decoding, ms", *(_number(cost.decoding) for cost in costs)),
        ("decoding with vectors, ms", *(_number(cost.decoding_with_vectors) for cost in costs)),
        ("motion, ms", *(_number(cost.following) for cost in costs)),
        ("moving labels, ms", *(_number(cost.moving) for cost in costs)),
        ("all beyond plain decoding, ms", *(_number(cost.beyond_decoding) for cost in costs)),
        ("  of plain decoding", *(_number(cost.ratio) for cost in costs)),
        ("motion and labels, of decoding with vectors", *(_number(cost.ratio_with_vectors) for cost in costs)),
    ]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _shares(way: WayTiming) -> str:
    return ", ".join(f"{share:.0%} {branch}" for branch, share in way.branches.items())


def _cells(timing: Timing, *, rate: bool) -> tuple[str, ...]:
    cells = (f"{timing.median:.1f}", f"[{timing.lower:.1f}, {timing.upper:.1f}]")
    return (*cells, f"{1e3 / timing.median:.2f}") if rate else cells

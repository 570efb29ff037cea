"""``arseg-edge compare``: how far AR agrees with HR on a video without labels, and what it saves there."""

from __future__ import annotations

import dataclasses
import math
import sys
from typing import TYPE_CHECKING

import click

from arseg_edge.bundle import read_bundle
from arseg_edge.cli.model_options import ModelOptions, model_options
from arseg_edge.cli.options import json_option, print_json, print_table
from arseg_edge.cli.schedule_table import print_schedules
from arseg_edge.evaluation.advice import Advice, advise
from arseg_edge.schedule_choice import AGREEMENT

if TYPE_CHECKING:
    from arseg_edge.evaluation.agreement import Comparison, ScaleAgreement


@click.command(short_help="Say how far AR agrees with HR on a video without labels.")
@click.argument("video")
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, min_open=True),
    default=10.0,
    show_default=True,
    help="How much of VIDEO to read.",
)
@click.option("--longest", type=click.IntRange(min=2), help="Longest interval to try.  [default: twice the bundle's]")
@click.option(
    "--agreement",
    type=click.FloatRange(min=0, max=100),
    default=AGREEMENT,
    show_default=True,
    help="Percent of the pixels that must agree with HR at an interval's farthest distance.",
)
@model_options("model", "size", "resize", "provider", "threads")
@json_option
def compare(
    video: str,
    seconds: float,
    longest: int | None,
    agreement: float,
    options: ModelOptions,
    as_json: bool,
) -> None:
    """Compare AR, and LR alone, with HR on every frame of VIDEO, which needs no labels.

    Says by distance and by class how far they agree, how much faster AR is here as a stream, and which keyframe
    interval and LR scale the video calls for: the fastest that agrees with HR on enough pixels at every distance.
    Beside them stands what each schedule costs, and how far it agrees: HR every so many frames, or where the adaptive
    schedule wants it, and labels moved along between.
    """
    from arseg_edge.evaluation.agreement import compare as run

    opened = read_bundle(options.bundle_path)
    scales: list[float | None] = [branch.scale for branch in opened.manifest.scales]
    predictors = [options.predictor(opened, scale) for scale in scales or [None]]
    comparison = run(
        predictors, video, longest=longest or 2 * opened.manifest.interval, seconds=seconds, progress=_show_progress
    )
    if sys.stderr.isatty():
        click.echo("\r\033[K", err=True, nl=False)
    advice = advise(comparison, agreement)
    if as_json:
        print_json({**comparison.as_dict(), "advice": dataclasses.asdict(advice)})
    else:
        _print(comparison)
        click.echo()
        _print_advice(advice)


def _show_progress(what: str) -> None:
    if sys.stderr.isatty():
        click.echo(f"\r\033[K{what}", err=True, nl=False)


def _print(comparison: Comparison) -> None:
    reasons = ", ".join(f"{reason} {count}" for reason, count in comparison.keyframes.items())
    click.echo(
        f"{comparison.model} on {comparison.video}: {comparison.frames} frames, "
        f"{sum(comparison.keyframes.values())} keyframes ({reasons})"
    )
    for branch in comparison.branches:
        click.echo()
        _print_branch(comparison, branch)
    click.echo()
    print_schedules(comparison.schedules, "agreement")
    click.echo()
    times, interval = comparison.times, comparison.interval
    rows: list[tuple[str, ...]] = [("HR", f"{times.hr:.2f}", "")]
    rows += [
        (f"LR {scale:g} + CReFF", f"{value:.2f}", f"{comparison.speedup(scale, interval):.2f}")
        for scale, value in times.ar.items()
    ]
    titles = {row.name: row.title for row in comparison.schedules}
    rows += [(titles[name], f"{value:.2f}", f"{times.hr / value:.2f}") for name, value in times.adaptive.items()]
    print_table(rows, header=("in a stream", "ms a frame", f"speed-up at interval {interval}"))


def _print_branch(comparison: Comparison, branch: ScaleAgreement) -> None:
    header = (f"LR {branch.scale:g}: distance", "frames", "AR pixels", "LR pixels", "AR mIoU", "LR mIoU")
    rows = [
        (str(distance), str(count), *(_cell(values[distance]) for values in _columns(branch)))
        for distance, count in enumerate(comparison.frames_by_distance)
        if distance and count
    ]
    print_table(rows, header=header)
    click.echo()
    rows = [
        (name, _cell(ar), _cell(lr))
        for name, ar, lr in zip(comparison.classes.names, branch.ar.by_class, branch.lr.by_class, strict=True)
        if not math.isnan(ar)
    ]
    print_table(rows, header=("IoU with HR's", "AR", "LR"))


def _columns(branch: ScaleAgreement) -> tuple[list[float], ...]:
    scores = (branch.ar.agreement_by_distance, branch.lr.agreement_by_distance)
    return tuple(each.tolist() for each in (*scores, branch.ar.by_distance, branch.lr.by_distance))


def _print_advice(advice: Advice) -> None:
    if advice.reaches:
        cells = [(f"{each.scale:g}", str(each.interval), f"{each.speedup:.2f}", each.limit) for each in advice.reaches]
        print_table(cells, header=("LR scale", "interval", "speed-up", "limited by"))
        click.echo()
    for source, schedule in (("a file", advice.file), ("a live source", advice.live)):
        if schedule is not None:
            click.echo(f"for {source} like this take --schedule {schedule}")
        elif not advice.reaches:
            click.echo(f"for {source} like this take --interval 1: no schedule agrees on {advice.threshold:g} %")
    if not advice.reaches:
        return
    click.echo()
    if advice.scale is None:
        click.echo(
            "with --schedule paper this video calls for HR on every frame: nothing faster agrees with it on "
            f"{advice.threshold:g} % of the pixels"
        )
    else:
        click.echo(
            f"with --schedule paper this video calls for an interval of {advice.interval} and LR scale "
            f"{advice.scale:g}: {advice.speedup:.2f} times as fast as HR on every frame, with at least "
            f"{advice.threshold:g} % of the pixels alike"
        )


def _cell(score: float) -> str:
    return "-" if math.isnan(score) else f"{score:.2f}"

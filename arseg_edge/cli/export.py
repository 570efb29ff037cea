"""``arseg-edge export``: checkpoints to a bundle."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import click

from arseg_edge.cli.options import json_option, parse_size, print_json
from arseg_edge.errors import ModelError, UsageError


@click.command(short_help="Turn HR, LR and CReFF weights into one bundle.")
@click.option("--hr", required=True, type=click.Path(path_type=Path), help="The HR checkpoint.")
@click.option(
    "--lr",
    "lr_paths",
    multiple=True,
    type=click.Path(path_type=Path),
    help="The LR + CReFF checkpoint; repeat it with --scale for several LR scales.",
)
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="NAME.arseg")
@click.option("--untrained", is_flag=True, help="In place of --lr, for a first trial: HR's weights for LR too.")
@click.option(
    "--family",
    metavar="NAME|MODULE:ATTRIBUTE",
    help="The model family, or where your own is.  [default: recognised from the weights' names]",
)
@click.option("--size", default="dynamic", show_default=True, metavar="HxW|dynamic", help="Frame size.")
@click.option(
    "--scale",
    "scales",
    multiple=True,
    type=float,
    help="LR scale, 0.3 to 0.9; one for each --lr, the first is the default.  [default: 0.5]",
)
@click.option("--interval", type=int, default=12, show_default=True, help="Recommended keyframe interval.")
@click.option("--half-weights", is_flag=True, help="Store weights in half precision: half the size.")
@json_option
def export(
    hr: Path,
    lr_paths: tuple[Path, ...],
    output: Path,
    untrained: bool,
    family: str | None,
    size: str,
    scales: tuple[float, ...],
    interval: int,
    half_weights: bool,
    as_json: bool,
) -> None:
    """Turn HR, LR and CReFF weights into one bundle.

    The export compares itself with PyTorch; beyond the tolerance it writes nothing and exits with 6.
    """
    scales = scales or (0.5,)
    if untrained == bool(lr_paths):
        raise UsageError("give --lr, the LR + CReFF checkpoint, or --untrained for a first trial without one")
    if lr_paths and len(lr_paths) not in (1, len(scales)):
        raise UsageError(f"{len(lr_paths)} --lr beside {len(scales)} --scale: give one --lr for each --scale")
    if len(set(scales)) != len(scales):
        raise UsageError(f"--scale {' '.join(map(str, scales))}: name each LR scale once")
    try:
        from arseg_edge.export import export_bundle
    except ImportError as error:
        raise ModelError(
            f'exporting needs {error.name or "torch"}, which is not installed: pip install "arseg-edge[cpu,export]"'
        ) from None
    checkpoints = lr_paths if len(lr_paths) == len(scales) else lr_paths * len(scales)
    bundle = export_bundle(
        family,
        hr=hr,
        lr=None if untrained else dict(zip(scales, checkpoints, strict=True)),
        out=output,
        size=parse_size(size),
        scale=scales,
        interval=interval,
        untrained=untrained,
        half_weights=half_weights,
        progress=_show_progress,
    )
    worst = max(figure.error for figure in bundle.parity)
    if as_json:
        print_json(
            {
                "bundle": str(bundle.path),
                "family": bundle.manifest.family,
                "bytes": bundle.path.stat().st_size,
                "largest_error": worst,
                "parity": [vars(figure) for figure in bundle.parity],
            }
        )
        return
    megabytes = bundle.path.stat().st_size / 1e6
    click.echo(f"{bundle.path}: {bundle.manifest.family}, {megabytes:.0f} MB, largest error {worst:.1e}")
    if untrained:
        click.echo("LR is not trained: try the bundle, then train LR for its accuracy (arseg-edge train lr)", err=True)
    click.echo(f"next: arseg-edge run VIDEO -m {shlex.quote(str(bundle.path))}", err=True)


def _show_progress(what: str, done: int, total: int) -> None:
    if sys.stderr.isatty():
        # One line that is written over; the last one stays.
        width = 24
        bar = "█" * (width * done // total) + "·" * (width - width * done // total)
        click.echo(f"\r\033[K{bar} {what}", err=True, nl=done >= total)
    else:
        click.echo(f"[{done}/{total}] {what}", err=True)

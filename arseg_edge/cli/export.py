"""``arseg-edge export``: checkpoints to a bundle."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import click
from click.core import ParameterSource

from arseg_edge.cli.options import json_option, parse_size, print_json
from arseg_edge.errors import ModelError, UsageError


@click.command(short_help="Turn HR, LR and CReFF weights into one bundle.")
@click.option("--hr", type=click.Path(path_type=Path), help="The HR checkpoint.")
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
@click.option(
    "--upgrade",
    type=click.Path(path_type=Path),
    metavar="OLD.arseg",
    help="Instead of checkpoints: a bundle of an older format, to be written as one of today's.",
)
@json_option
@click.pass_context
def export(
    context: click.Context,
    hr: Path | None,
    lr_paths: tuple[Path, ...],
    output: Path,
    untrained: bool,
    family: str | None,
    size: str,
    scales: tuple[float, ...],
    interval: int,
    half_weights: bool,
    upgrade: Path | None,
    as_json: bool,
) -> None:
    """Turn HR, LR and CReFF weights into one bundle.

    The export compares itself with PyTorch; beyond the tolerance it writes nothing and exits with 6.
    """
    if upgrade is not None:
        _refuse_beside_upgrade(context)
        _upgrade(upgrade, output, as_json)
        return
    if hr is None:
        raise UsageError("give --hr, the HR checkpoint, or a bundle to --upgrade")
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
        raise _missing(error) from None
    checkpoints = lr_paths if len(lr_paths) == len(scales) else lr_paths * len(scales)
    bundle = export_bundle(
        family,
        hr=hr,
        lr=None if untrained else dict(zip(scales, checkpoints, strict=True)),
        out=output,
        size=None if size == "dynamic" else parse_size(size, ", or dynamic"),
        scale=scales,
        interval=interval,
        untrained=untrained,
        half_weights=half_weights,
        progress=show_progress,
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


def _refuse_beside_upgrade(context: click.Context) -> None:
    """Raise UsageError for an option that an upgrade has no use for."""
    for parameter in context.command.params:
        name = parameter.name or ""
        given = context.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if given and name not in ("upgrade", "output", "as_json"):
            raise UsageError(f"{parameter.opts[0]} beside --upgrade, which changes no network: leave one out")


def _upgrade(old: Path, output: Path, as_json: bool) -> None:
    try:
        from arseg_edge.export import upgrade_bundle
    except ImportError as error:
        raise _missing(error) from None
    bundle = upgrade_bundle(old, output)
    if as_json:
        print_json({"bundle": str(bundle.path), "format_version": bundle.manifest.format_version})
    else:
        click.echo(f"{bundle.path}: format {bundle.manifest.format_version}, checked against {old}")


def _missing(error: ImportError) -> ModelError:
    return ModelError(
        f'exporting needs {error.name or "torch"}, which is not installed: pip install "arseg-edge[cpu,export]"'
    )


def show_progress(what: str, done: int, total: int) -> None:
    """Show how far things are: a bar on a terminal, elsewhere a line for each step."""
    if sys.stderr.isatty():
        # One line that is written over; the last one stays.
        width = 24
        bar = "█" * (width * done // total) + "·" * (width - width * done // total)
        click.echo(f"\r\033[K{bar} {what}", err=True, nl=done >= total)
    else:
        click.echo(f"[{done}/{total}] {what}", err=True)

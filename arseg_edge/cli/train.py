"""``arseg-edge train``: labelled data, or videos and a teacher, to weights."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from arseg_edge.cli.interrupt import held_interrupt
from arseg_edge.cli.options import json_option, print_json
from arseg_edge.cli.training_progress import TrainingProgress, shown_score
from arseg_edge.errors import ModelError
from arseg_edge.training.config import flag_of, read_settings
from arseg_edge.training.setting_table import SETTINGS
from arseg_edge.training.settings import HrSettings, LrSettings
from arseg_edge.training.values import FLAG

if TYPE_CHECKING:
    from arseg_edge.training.loop import Outcome
    from arseg_edge.training.train import Watcher

_Function = TypeVar("_Function", bound=Callable[..., Any])


class _Recorded(click.Command):
    """A command that remembers how it was called."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta["command"] = shlex.join([*ctx.command_path.split(), *args])
        return super().parse_args(ctx, args)


def _options(kind: type[HrSettings]) -> Callable[[_Function], _Function]:
    """Add what every command has, and a flag for each setting; what is not given is None or empty."""

    def add(function: _Function) -> _Function:
        function = json_option(function)
        defaults = kind.of().plain()
        for each in reversed(fields(kind)):
            setting, flag, default = SETTINGS[each.name], flag_of(each.name), defaults[each.name]
            shown = "" if default in ([], "none") else f"  [default: {_shown(default)}]"
            function = click.option(
                f"{flag}/--no-{flag[2:]}" if setting.kind is FLAG else flag,
                each.name,
                type=None if setting.kind is FLAG else str,
                default=None,
                multiple=isinstance(default, list),
                metavar=setting.kind.metavar or None,
                help=f"{setting.help}{shown}",
            )(function)
        for option in (
            click.option("--restart", is_flag=True, help="Forget the run that the folder has, and begin anew."),
            click.option("--config", type=click.Path(path_type=Path), help="YAML file of settings; flags override it."),
            click.option(
                "-o",
                "--output",
                required=True,
                type=click.Path(path_type=Path),
                help="Folder for weights, curves and settings.",
            ),
        ):
            function = option(function)
        return function

    return add


def _shown(default: object) -> str:
    if isinstance(default, bool):
        return "yes" if default else "no"
    return " ".join(map(str, default)) if isinstance(default, list) else str(default)


def _given(flags: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in flags.items() if value is not None and value != ()}


@click.group(short_help="Train HR, then LR and CReFF, with labels or without.")
def train() -> None:
    """Train HR on labelled data, then LR and CReFF with HR as their teacher.

    Data sets are folders of CamVid, of Cityscapes, or of the plain layout; LR learns from videos without labels, too
    (--videos). The defaults are those of the family edge; a published family has its authors' recipe. Give the same
    command again to go on with a run that was stopped.
    """


@train.command(cls=_Recorded)
@_options(HrSettings)
@click.pass_context
def hr(ctx: click.Context, /, output: Path, config: Path | None, restart: bool, as_json: bool, **flags: object) -> None:
    """Train HR, the network for keyframes."""
    settings = read_settings(HrSettings, _given(flags), config)
    with _watched(settings) as watcher:
        from arseg_edge.training.train import train_hr

        outcome = train_hr(settings, output, restart=restart, command=ctx.meta["command"], watcher=watcher)
    _report(outcome, settings, as_json)
    click.echo(f"next: arseg-edge train lr --hr {shlex.quote(str(outcome.best))}, on the same data", err=True)


@train.command(cls=_Recorded)
@_options(LrSettings)
@click.pass_context
def lr(ctx: click.Context, /, output: Path, config: Path | None, restart: bool, as_json: bool, **flags: object) -> None:
    """Train LR and CReFF, for the frames between keyframes, with HR as their teacher.

    With --videos no labels are needed: the videos' frames and motion are taken as a device sees them, and what HR
    says of each frame is learnt. Some videos are held back, every tenth (of fewer than ten, one), or the last tenth of
    a single one; the weights that agree best with HR there are kept. With --data beside --videos, labelled frames
    join in. With --validation the weights are chosen by the mIoU there.
    """
    settings = read_settings(LrSettings, _given(flags), config)
    with _watched(settings) as watcher:
        from arseg_edge.training.train import train_lr

        outcome = train_lr(settings, output, restart=restart, command=ctx.meta["command"], watcher=watcher)
    _report(outcome, settings, as_json)
    teacher, student = (shlex.quote(str(path)) for path in (settings.hr, outcome.best))
    scale = "" if settings.scale == LrSettings.scale else f" --scale {settings.scale:g}"
    click.echo(f"next: arseg-edge export --hr {teacher} --lr {student}{scale} -o NAME.arseg", err=True)


@contextmanager
def _watched(settings: HrSettings) -> Iterator[Watcher]:
    """Show progress on standard error; Ctrl-C ends training after the step at hand, whose state is saved."""
    try:
        from arseg_edge.training.train import Watcher
    except ImportError as error:
        raise ModelError(
            f'training needs {error.name or "torch"}, which is not installed: pip install "arseg-edge[cpu,train]"'
        ) from None
    with held_interrupt() as check_interrupt:
        progress = TrainingProgress(settings.epochs, check_interrupt)
        try:
            yield Watcher(progress.pairs, progress.step, progress.row, progress.videos)
        finally:
            progress.close()


def _report(outcome: Outcome, settings: HrSettings, as_json: bool) -> None:
    epoch = next(row.epoch for row in outcome.rows if row.score == outcome.score)
    if as_json:
        print_json(
            {
                "best": str(outcome.best),
                outcome.measure: outcome.score,
                "epoch": epoch,
                "epochs": len(outcome.rows),
                "steps": outcome.rows[-1].step,
                "seconds": outcome.rows[-1].seconds,
            }
        )
    else:
        score = shown_score(outcome.measure, outcome.score)
        whose = " with HR" if outcome.measure == "agreement" else ""
        click.echo(f"{outcome.best}: {score}{whose} in validation, of epoch {epoch} of {settings.epochs}")

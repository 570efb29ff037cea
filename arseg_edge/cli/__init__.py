"""The command line: a client of the public API, one file a command.

Data goes to standard output, progress and logs to standard error. Exit codes: 0 success, 1 failure, 2 usage,
3 model or operator, 4 provider, 5 source or codec, 6 parity or threshold not met; 128 + signal where one ended it,
as shells have it: 130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP, 141 where nobody reads the output any more.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import click

from arseg_edge import __version__
from arseg_edge.cli.bench import bench
from arseg_edge.cli.compare import compare
from arseg_edge.cli.convert import convert
from arseg_edge.cli.doctor import doctor
from arseg_edge.cli.evaluate import evaluate
from arseg_edge.cli.export import export
from arseg_edge.cli.info import info
from arseg_edge.cli.interrupt import NOBODY_READS, discard_output, ended_by_signals, signal_that_struck
from arseg_edge.cli.probe import probe
from arseg_edge.cli.quantize import quantize
from arseg_edge.cli.run import run
from arseg_edge.cli.train import train
from arseg_edge.cli.verify import verify
from arseg_edge.errors import ArsegError, ProviderError


@contextlib.contextmanager
def _quiet_about_closed_pipes() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        # Python must not try to flush to it once more.
        discard_output(sys.stdout.fileno())
        raise click.exceptions.Exit(NOBODY_READS) from None


class _Commands(click.Group):
    """Commands that end quietly when whoever reads their standard output has left, as ``head`` does."""

    def make_context(self, *arguments: Any, **more: Any) -> click.Context:
        """Read the arguments, which may ask for help."""
        with _quiet_about_closed_pipes():
            return super().make_context(*arguments, **more)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        with _quiet_about_closed_pipes():
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="arseg-edge")
def cli() -> None:
    """Give every pixel of every frame of a video its class, with ONNX Runtime.

    HR, the high-resolution network, runs on keyframes. LR, the low-resolution network, runs on other frames; CReFF
    fuses its feature with the keyframe's, which is moved along the video's motion vectors. Frames that no network sees
    have labels that are moved along. AR is the method of AR-Seg: HR on keyframes, LR and CReFF on all others. The
    distance of a frame is the number of frames since its keyframe, the interval the largest number from one keyframe to
    the next.
    """


for command in (export, convert, quantize, run, bench, evaluate, compare, train, info, verify, probe, doctor):
    cli.add_command(command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s", stream=sys.stderr)
    warnings.showwarning = _show_warning
    # What OpenCV cannot read is told by the source, in one line.
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    try:
        with ended_by_signals():
            code = _run(arguments)
    except KeyboardInterrupt:  # a second one, while the first was being dealt with
        code = 128 + (signal_that_struck() or signal.SIGINT)
    sys.exit(code)


def _run(arguments: Sequence[str] | None) -> int:
    try:
        code = cli.main(args=arguments, prog_name="arseg-edge", standalone_mode=False)
    except Exception as error:
        # What an interrupt breaks off may end with an error of its own, as the import of a library does.
        if isinstance(error, click.Abort) or signal_that_struck() is not None:
            click.echo("interrupted", err=True)
            return 128 + (signal_that_struck() or signal.SIGINT)
        return _reported(error)
    return code if isinstance(code, int) else 0


def _reported(error: Exception) -> int:
    """Print what went wrong and return the exit code; raise what nobody expected."""
    if isinstance(error, ArsegError):
        click.echo(f"error: {' '.join(str(error).split())}", err=True)
        return error.exit_code
    if isinstance(error, click.ClickException):
        try:
            from arseg_edge.runtime.source.location import shown_in
        except ProviderError as missing:
            return _reported(missing)
        message = io.StringIO()
        error.show(message)
        # An argument too many can be an address with a password.
        click.echo(shown_in(message.getvalue()), err=True, nl=False)
        return error.exit_code
    raise error


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: object = None,
    line: str | None = None,
) -> None:
    click.echo(f"warning: {message}", err=True)

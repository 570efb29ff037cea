"""The options by which commands open a bundle and go about a stream, declared once for all of them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from arseg_edge.cli.options import parse_guards, parse_provider, parse_size
from arseg_edge.demo import demo_bundle
from arseg_edge.errors import UsageError

if TYPE_CHECKING:
    from arseg_edge.bundle import Bundle
    from arseg_edge.evaluation.bundle_predictor import BundlePredictor
    from arseg_edge.runtime.inference.providers import ProviderLike
    from arseg_edge.runtime.motion.follow import MotionMode
    from arseg_edge.runtime.schedule.keyframes import Guards
    from arseg_edge.runtime.segmenter import Schedule, Segmenter

_Function = TypeVar("_Function", bound=Callable[..., Any])
_Decorator = Callable[[_Function], _Function]

_DECLARATIONS: dict[str, Callable[..., _Decorator[Any]]] = {
    "model": functools.partial(
        click.option,
        "-m",
        "--model",
        type=click.Path(path_type=Path),
        help="The bundle, NAME.arseg.  [default: the demo model]",
    ),
    "interval": functools.partial(
        click.option, "--interval", type=int, help="Keyframe interval.  [default: the bundle's]"
    ),
    "scale": functools.partial(
        click.option, "--scale", type=float, help="LR scale, of a bundle with several.  [default: its first]"
    ),
    "motion": functools.partial(
        click.option,
        "--motion",
        type=click.Choice(["auto", "bitstream", "estimate"]),
        default="auto",
        show_default=True,
        help="Where motion comes from: the codec's vectors alone, estimation alone, or whichever is better.",
    ),
    "schedule": functools.partial(
        click.option,
        "--schedule",
        type=click.Choice(["adaptive", "paper"]),
        default="adaptive",
        show_default=True,
        help="adaptive: networks run where the video asks for them, and all other frames have labels moved along; "
        "paper: HR every interval, LR and CReFF on all other frames.",
    ),
    "tolerance": functools.partial(
        click.option,
        "--tolerance",
        type=float,
        help="Adaptive schedule: share of the picture, 0 to 1, that may be new, shown by no frame that a network saw.  "
        "[default: 0.25]",
    ),
    "budget": functools.partial(
        click.option,
        "--budget",
        metavar="40ms|25fps",
        help="Adaptive schedule: what a frame may take on this device. What HR, LR and moved labels cost is measured "
        "once, on the first frames; how often networks look follows from that, whatever the load is later. It takes "
        "the place of --interval and --lr-every, and of the default --tolerance; frames that a given --tolerance "
        "calls for come on top.",
    ),
    "lookahead": functools.partial(
        click.option,
        "--lookahead/--no-lookahead",
        default=True,
        show_default=True,
        help="Adaptive schedule, files: take labels from later frames, too.",
    ),
    "guard": functools.partial(
        click.option,
        "--guard",
        "guard",
        multiple=True,
        metavar="NAME=SHARE|off",
        help="Paper: share of the picture, 0 to 1, above which a frame becomes a keyframe; NAME is intra (blocks no "
        "frame predicts), mismatch (pixels that the keyframe does not show) or cut (a rise of that).  "
        "[default: intra=0.7, mismatch=0.4, cut=0.16]",
    ),
    "lr_every": functools.partial(
        click.option,
        "--lr-every",
        type=int,
        help="Adaptive, without look-ahead: the LR network looks at a frame at least every so many.  [default: never]",
    ),
    "size": functools.partial(
        click.option,
        "--size",
        metavar="HxW",
        help="What the networks see frames at; labels have the frames' own size.  [default: the frames' size]",
    ),
    "resize": functools.partial(
        click.option,
        "--resize",
        is_flag=True,
        help="For a bundle of fixed size: frames are resized to it.",
    ),
    "provider": functools.partial(
        click.option,
        "--provider",
        default="auto",
        show_default=True,
        metavar="auto|cpu|cuda|openvino|NAME",
        help="Execution provider; NAME is ONNX Runtime's, options are NAME:key=value,key=value.",
    ),
    "threads": functools.partial(
        click.option,
        "--threads",
        type=click.IntRange(min=1),
        help="Threads of ONNX Runtime.  [default: the usable cores]",
    ),
}


@dataclass(frozen=True)
class ModelOptions:
    """What the user asked for; a command that lacks an option has its default here."""

    model: Path | None = None
    interval: int | None = None
    scale: float | None = None
    motion: MotionMode = "auto"
    schedule: Schedule = "adaptive"
    tolerance: float | None = None
    budget: str | None = None
    lookahead: bool = True
    guard: tuple[str, ...] = ()
    lr_every: int | None = None
    size: str | None = None
    resize: bool = False
    provider: str = "auto"
    threads: int | None = None

    @property
    def bundle_path(self) -> Path:
        """The bundle that was named, or the demo model."""
        return demo_bundle() if self.model is None else self.model

    @property
    def providers(self) -> ProviderLike:
        """The execution provider, as ``arseg_edge.load`` takes it."""
        return parse_provider(self.provider)

    @property
    def network_size(self) -> tuple[int, int] | None:
        """Height and width that the networks see frames at; None for the frames' own."""
        return None if self.size is None else parse_size(self.size)

    @property
    def guards(self) -> Guards | None:
        """What else makes a frame a keyframe."""
        return parse_guards(self.guard)

    @property
    def thread_count(self) -> int:
        """Threads for one operator."""
        from arseg_edge.runtime.inference.cpu_budget import usable_cores

        return self.threads or usable_cores()

    def refuse_short_interval(self, shortest: int) -> None:
        """Raise UsageError for an interval that leaves no frame between keyframes where some are needed."""
        if self.interval is not None and self.interval < shortest:
            raise UsageError(f"--interval {self.interval}: must be {shortest} or more, so that frames lie between")

    def load(self, *, confidence: bool = False) -> Segmenter:
        """Open the bundle as a segmenter, whose results say how sure they are if that is asked for."""
        import arseg_edge

        return arseg_edge.load(
            self.bundle_path,
            providers=self.providers,
            threads=self.threads,
            interval=self.interval,
            scale=self.scale,
            size=self.network_size,
            resize=self.resize,
            motion=self.motion,
            schedule=self.schedule,
            tolerance=self.tolerance,
            budget=self.budget,
            lookahead=self.lookahead,
            guards=self.guards,
            lr_every=self.lr_every,
            confidence=confidence,
        )

    def predictor(self, bundle: Bundle, scale: float | None = None) -> BundlePredictor:
        """Open one LR branch of ``bundle`` for evaluation: that of ``scale``, else of ``--scale``."""
        from arseg_edge.evaluation.bundle_predictor import BundlePredictor

        return BundlePredictor(
            bundle,
            providers=self.providers,
            threads=self.thread_count,
            scale=self.scale if scale is None else scale,
            size=self.network_size,
            resize=self.resize,
        )


def model_options(*names: str, **helps: str) -> Callable[[_Function], Callable[..., Any]]:
    """Add the options ``names`` to a command, which gets them together as its argument ``options``.

    ``helps`` are texts that say more of an option than the common one does, for this command.

    >>> @click.command()
    ... @model_options("model", "threads")
    ... def show(options: ModelOptions) -> None:
    ...     click.echo(f"{options.model} {options.threads} {options.motion}")
    >>> show.main(["-m", "street.arseg", "--threads", "2"], standalone_mode=False)
    street.arseg 2 auto
    """

    def add(function: _Function) -> Callable[..., Any]:
        @functools.wraps(function)
        def collected(*arguments: Any, **values: Any) -> Any:
            options = ModelOptions(**{name: values.pop(name) for name in names})
            return function(*arguments, options=options, **values)

        command: Callable[..., Any] = collected
        for name in reversed(names):
            more = {"help": helps[name]} if name in helps else {}
            command = _DECLARATIONS[name](**more)(command)
        return command

    return add

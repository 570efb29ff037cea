"""From a bundle's path to a segmenter: ``arseg_edge.load``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import get_args

from arseg_edge.bundle import read_bundle
from arseg_edge.demo import demo_bundle
from arseg_edge.errors import BundleError, UsageError
from arseg_edge.runtime.inference.cpu_budget import usable_cores
from arseg_edge.runtime.inference.network_size import network_size
from arseg_edge.runtime.inference.networks import load_networks
from arseg_edge.runtime.inference.providers import ProviderLike
from arseg_edge.runtime.motion.follow import MotionMode
from arseg_edge.runtime.read_motion import GUARDS
from arseg_edge.runtime.schedule.adaptive import TOLERANCE, check_tolerance, default_intervals
from arseg_edge.runtime.schedule.budget import ONLY_CUTS, parse_budget
from arseg_edge.runtime.schedule.keyframes import Guards, check_interval
from arseg_edge.runtime.segmenter import LrResize, Schedule, Segmenter, Settings


def load(
    path: str | os.PathLike[str] | None = None,
    *,
    providers: ProviderLike | Sequence[ProviderLike] | None = None,
    threads: int | None = None,
    interval: int | None = None,
    scale: float | None = None,
    size: tuple[int, int] | None = None,
    resize: bool = False,
    lr_resize: LrResize = "exact",
    motion: MotionMode = "auto",
    schedule: Schedule = "adaptive",
    tolerance: float | None = None,
    budget: str | None = None,
    lookahead: bool = True,
    guards: Guards | None = GUARDS,
    lr_every: int | None = None,
    confidence: bool = False,
) -> Segmenter:
    """Open a bundle and load its networks.

    Args:
        path: a bundle made by ``arseg-edge export``; None for the demo model (road scenes, CamVid's eleven classes).
        providers: ``"auto"`` (also None): CUDA where this ONNX Runtime has it, else the CPU; or one by name, such as
            ``"cpu"``, ``"cuda"``, ``"openvino"`` or ONNX Runtime's own name, with options as
            ``(name, {option: value})``, which is this provider or an error; of several, the first that loads, with
            a warning of those before it that do not.
        threads: of ONNX Runtime for one operator; None for the cores that this process may use.
        interval: a keyframe comes at least every so many frames. None: the bundle's own interval in the paper's
            schedule; in the adaptive one two thirds of it, or half where labels come from frames before alone.
        scale: which LR branch, of a bundle with several; None for its first.
        size: (height, width) that the networks see: frames are resized to it, and labels are made from the logits at
            the frames' own size. None: the frames' own size.
        resize: for a bundle of fixed size, the same with that size.
        lr_resize: ``"exact"`` makes the LR picture as in training; ``"fast"`` averages it straight from the
            decoder's picture.
        motion: ``"bitstream"`` takes the codec's vectors alone, ``"estimate"`` never; ``"auto"`` whichever is
            better for the frame.
        schedule: ``"adaptive"`` lets networks see frames where the video asks for it and moves their labels along to
            the others; ``"paper"`` is HR every interval and LR on all frames between.
        tolerance: of the adaptive schedule: the share of the picture, 0 to 1, that may be shown by no frame that a
            network saw. Less is more accurate, and slower. None: 0.25; with a budget nothing but it counts.
        budget: of the adaptive schedule: what a frame may take, as ``"40ms"`` or ``"25fps"``. Once, on the first
            frames that a stream of their size has, it is measured what HR, LR and moved labels cost here; from that
            follows how often HR looks, and whether LR does, and the clock changes nothing afterwards
            (``Segmenter.plans``, and the log, say what came of it). A budget that cannot be met is logged as a warning
            with what is reached, and the stream goes on. It takes the place of ``interval`` and ``lr_every``; with a
            ``tolerance`` the frames that this calls for come on top.
        lookahead: of the adaptive schedule: labels come from frames behind, too, where the source is a file; results
            are then late by up to an interval, whose pictures are held in memory.
        guards: of the paper's schedule: what else makes a frame a keyframe, such as
            ``arseg_edge.Guards(mismatch=0.3)``; None for nothing but the interval and what cannot be followed.
        lr_every: of the adaptive schedule without lookahead: the LR network looks at a frame at least every so many
            where anything new is to be seen, and the interval is the bundle's own; None: it never does.
        confidence: results say how sure each label is (``Result.confidence``).

    A bundle with HR alone, as ``arseg-edge convert`` makes it, has no LR network for ``scale``, ``lr_every`` and the
    paper's schedule, of which an interval of 1 is left: HR on every frame.

    Raises:
        BundleError: the file is missing, broken or unsafe, or gives no confidence, and that is asked for.
        OperatorError: ONNX Runtime does not take a graph.
        ProviderError: a provider that was named cannot be had, or onnxruntime is not installed.
        SizeError: the bundle's networks do not run at ``size``.
        UsageError: an argument that makes no sense.
    """
    if scale is not None and (isinstance(scale, bool) or not isinstance(scale, (int, float))):
        raise UsageError(f"scale {scale!r}: must be a number, such as 0.5")
    if lr_resize not in ("exact", "fast"):
        raise UsageError(f"lr_resize {lr_resize!r}: must be exact or fast")
    if motion not in get_args(MotionMode):
        raise UsageError(f"motion {motion!r}: must be one of {', '.join(get_args(MotionMode))}")
    if threads is not None and (isinstance(threads, bool) or not isinstance(threads, int) or threads < 1):
        raise UsageError(f"threads {threads!r}: must be a whole number, 1 or more")
    if schedule not in get_args(Schedule):
        raise UsageError(f"schedule {schedule!r}: must be one of {', '.join(get_args(Schedule))}")
    if tolerance is not None:
        check_tolerance(tolerance)
    milliseconds = None if budget is None else parse_budget(budget)
    if milliseconds is not None:
        _refuse_beside_budget(str(budget), schedule, interval, lr_every)
    if guards is not None and not isinstance(guards, Guards):
        raise UsageError(f"guards {guards!r}: must be arseg_edge.Guards(...), or None")
    if guards != GUARDS and schedule != "paper":
        raise UsageError(
            f"guards {guards}: the {schedule} schedule has none but its tolerance; give the paper's (schedule='paper', "
            "--schedule paper) with them"
        )
    if interval is not None:
        check_interval(interval)
    if lr_every is not None and (isinstance(lr_every, bool) or not isinstance(lr_every, int) or lr_every < 1):
        raise UsageError(f"lr_every {lr_every!r}: must be a whole number of frames, 1 or more")
    if not isinstance(confidence, bool):
        raise UsageError(f"confidence {confidence!r}: must be True or False")
    bundle = read_bundle(demo_bundle() if path is None else os.fspath(path))
    # Before the networks are loaded, which takes a while.
    if not bundle.manifest.has_lr:
        _refuse_lr(bundle.path.name, schedule, interval, scale, lr_every)
    network_size(bundle.manifest, bundle.path.name, size, resize=resize)
    if confidence and bundle.manifest.format_version == 1:
        raise BundleError(
            f"{bundle.path.name}: a bundle of format 1 does not give the confidence: renew it by "
            "`arseg-edge export --upgrade`"
        )
    threads = threads or usable_cores()
    networks = load_networks(bundle, providers=providers, threads=threads, scale=scale)
    if confidence and not networks.gives_confidence:
        networks.close()
        raise BundleError(
            f"{bundle.path.name}: does not give the confidence, as its graphs have no output 'confidence': leave it "
            "out, or export the model with its logits"
        )
    if tolerance is None:
        tolerance = TOLERANCE if milliseconds is None else ONLY_CUTS
    anchors = default_intervals(bundle.manifest.interval) if interval is None and lr_every is None else None
    settings = Settings(
        interval=bundle.manifest.interval if interval is None else interval,
        size=size,
        resize=resize,
        lr_resize=lr_resize,
        motion=motion,
        schedule=schedule,
        tolerance=tolerance,
        lookahead=lookahead,
        guards=guards,
        anchors=anchors,
        looks=lr_every,
        budget=milliseconds,
        threads=threads,
        confidence=confidence,
    )
    return Segmenter(bundle, networks, settings)


def _refuse_beside_budget(budget: str, schedule: Schedule, interval: int | None, lr_every: int | None) -> None:
    """Raise UsageError for what says otherwise how often networks look."""
    if schedule == "paper":
        raise UsageError(f"budget {budget}: the paper's schedule has a fixed interval; take schedule adaptive with it")
    for name, value in (("interval", interval), ("lr_every", lr_every)):
        if value is not None:
            raise UsageError(f"both budget {budget} and {name} {value}: the one decides the other, leave one out")


def _refuse_lr(name: str, schedule: Schedule, interval: int | None, scale: float | None, lr_every: int | None) -> None:
    """Raise UsageError for what needs an LR network, of a bundle without one."""
    if schedule == "paper" and interval != 1:
        raise UsageError(
            f"{name} has HR alone, and the paper's schedule needs LR between keyframes: take schedule adaptive, or an "
            "interval of 1 for HR on every frame"
        )
    if lr_every is not None:
        raise UsageError(f"lr_every {lr_every}: {name} has HR alone, and no LR network to look at frames: leave it out")
    if scale is not None:
        raise UsageError(f"scale {scale:g}: {name} has HR alone, and no LR network of any scale: leave it out")

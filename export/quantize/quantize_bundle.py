"""From a float bundle to one of eight bits: calibrate, choose, compare, write."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray

from arseg_edge.bundle import GOLDEN, KEYFRAME, SUFFIX, Bundle, check_writable, read_bundle, write_bundle
from arseg_edge.errors import ParityError, UsageError
from arseg_edge.export.operators.bodies import operators_of
from arseg_edge.export.quantize.byte_ends import (
    ByteScale,
    feature_scale,
    put_feature_in_bytes,
    put_image_in_bytes,
    take_feature_in_bytes,
)
from arseg_edge.export.quantize.float_graph import folded
from arseg_edge.export.quantize.golden_values import golden_values
from arseg_edge.export.quantize.qdq import WEIGHT_BITS
from arseg_edge.export.quantize.samples import Sample, read_samples
from arseg_edge.export.quantize.search import Feeds, Found, GraphSearch
from arseg_edge.golden import golden_of
from arseg_edge.manifest import Operator, Quantisation, QuantisedGraph
from arseg_edge.runtime.inference.cpu_budget import usable_cores
from arseg_edge.runtime.inference.network_size import network_size
from arseg_edge.runtime.inference.sessions import feeds_of

AGREEMENT: Final = 98.0
"""Percent of the pixels that keep their label. Most that change lie along edges between classes, where labels are
uncertain anyway: with 98 % mIoU changes by less than half a point."""

EQUALISED_ON: Final = 12
"""Frames that say how the ranges of channels differ."""

FRAMES: Final = 100
SECONDS: Final = 120.0

Progress = Callable[[str, int, int], None]
"""Called with what is being done, and how many of how many steps are behind."""


def quantize_bundle(
    path: str | os.PathLike[str],
    *,
    calibrate: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    agreement: float = AGREEMENT,
    frames: int = FRAMES,
    seconds: float = SECONDS,
    size: tuple[int, int] | None = None,
    resize: bool = False,
    threads: int | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> Bundle:
    """Write a bundle whose networks run in eight bits to ``out``, and return it.

    HR is calibrated on frames of the sources, LR on frames that follow a keyframe, with the quantised HR's feature and
    the stream's own motion. A fifth of the frames is held back; on these the method that chooses the ranges is chosen,
    and layers go back to float until the agreement holds.

    Args:
        path: a bundle in float, also one with weights in half precision, or HR alone.
        calibrate: one source or several, as ``arseg-edge run`` takes them, that show what will be seen.
        out: the bundle to write, ``NAME.arseg``.
        agreement: percent of the pixels, on the frames held back, that must have the float networks' label.
        frames: how many frames to calibrate on, spread evenly over the sources.
        seconds: how much of each source to read.
        size: (height, width) that the networks see frames at; None for the frames' own.
        resize: of a bundle of fixed size: resize frames to it.
        threads: of ONNX Runtime; None for the usable cores.
        force: write the best mix of layers, even if it does not reach the agreement.
        progress: is told how far things are.

    Raises:
        UsageError: an argument that makes no sense, or a bundle that is quantised already or of format 1.
        BundleError: the bundle cannot be read.
        SourceError: a source cannot be read, is too short, shows nothing, or has no pairs for LR.
        SizeError: the bundle does not take the sources' frames.
        ParityError: no mix of layers agrees far enough; nothing is written.
        OutputError: the bundle cannot be written.

    Example::

        bundle = quantize_bundle("street.arseg", calibrate="drive.mp4", out="street-int8.arseg")
        print(bundle.manifest.quantisation)
    """
    target = Path(out)
    sources = [calibrate] if isinstance(calibrate, str | os.PathLike) else list(calibrate)
    _check_arguments(target, len(sources), agreement, frames, seconds)
    check_writable(target)
    bundle = read_bundle(os.fspath(path))
    manifest = bundle.manifest
    if manifest.quantisation is not None:
        raise UsageError(f"{bundle.path}: is quantised already: quantise the float bundle that it was made of")
    if manifest.format_version == 1:
        raise UsageError(f"{bundle.path}: is of format 1: renew it first, by `arseg-edge export --upgrade`")
    threads = threads or usable_cores()
    members = [KEYFRAME, *(low.member for low in manifest.scales)]
    steps = _Steps(progress, total=3 + 2 * len(members))

    steps.begin("reading frames")
    samples = read_samples(
        [os.fspath(each) for each in sources],
        manifest,
        network_size(manifest, bundle.path.name, size, resize=resize),
        frames=frames,
        seconds=seconds,
        progress=lambda count: steps.within(f"reading frames: {count}", every=50, number=count),
    )
    models: dict[str, bytes] = {name: bundle.read(name) for name in manifest.members if name.endswith(".onnx")}
    found: dict[str, Found] = {}
    features = _Features(None)
    scale: ByteScale | None = None

    def finish(model: onnx.ModelProto) -> None:
        put_image_in_bytes(model)
        if scale is not None:
            take_feature_in_bytes(model, scale)
        elif manifest.has_lr:
            put_feature_in_bytes(model)

    for member in members:
        lr = member != KEYFRAME
        ready = folded(onnx.load_from_string(models[member]), f"{path}: {member}")
        search = GraphSearch(member, ready, threads, finish)
        calibration = [each for each in samples.calibration if each.is_pair or not lr]
        held_back = [each for each in samples.held_back if each.is_pair or not lr] or calibration[:1]
        steps.begin(f"{member}: calibrating on {len(calibration)} frames")
        some = calibration[:: max(1, len(calibration) // EQUALISED_ON)]
        search.equalise([_feeds(each, features.float_of(each) if lr else None) for each in some])
        for number, each in enumerate(calibration):
            steps.within(f"{member}: frame {number + 1} of {len(calibration)}", every=20, number=number)
            search.observe(_feeds(each, features.float_of(each) if lr else None))
        steps.begin(f"{member}: choosing")
        found[member] = search.search(
            [_feeds(each, features.float_of(each) if lr else None) for each in held_back],
            [_feeds(each, features.quantised_of(each) if lr else None) for each in held_back],
            agreement,
            steps.within,
        )
        models[member] = found[member].model.SerializeToString()
        if member == KEYFRAME and manifest.has_lr:
            scale = feature_scale(found[member].model)
            features = _Features((search.open(search.model), search.open(found[member].model)))
    _check_reached(bundle, found, agreement, force)

    steps.begin("making the golden clip")
    golden, figures = golden_values(models, manifest.scales, golden_of(bundle))
    quantisation = Quantisation(
        weight_bits=WEIGHT_BITS,
        sources=samples.sources,
        frames=len(samples.calibration),
        pairs=sum(each.is_pair for each in samples.calibration),
        held_back=len(samples.held_back),
        wanted=agreement,
        graphs={
            member: QuantisedGraph(each.method, each.layers, each.float_layers, each.agreement)
            for member, each in found.items()
        },
    )
    steps.begin(f"writing {target.name}")
    result = write_bundle(
        target,
        dataclasses.replace(
            manifest, parity=tuple(figures), quantisation=quantisation, operators=_operators(models.values())
        ),
        {**models, GOLDEN: golden.to_bytes()},
    )
    steps.end()
    return result


def _operators(models: Iterable[bytes]) -> tuple[Operator, ...]:
    found = {each for model in models for each in operators_of(onnx.load_from_string(model))}
    return tuple(sorted(found, key=lambda operator: operator.name))


class _Features:
    """Keyframes' features, in float and of the quantised HR; neighbours share a keyframe, whose feature is kept."""

    def __init__(self, sessions: tuple[Any, Any] | None) -> None:
        self._sessions = sessions
        self._last: tuple[tuple[int, NDArray[np.uint8]], NDArray[Any]] | None = None

    def float_of(self, sample: Sample) -> NDArray[Any]:
        return self._feature(0, sample)

    def quantised_of(self, sample: Sample) -> NDArray[Any]:
        return self._feature(1, sample)

    def _feature(self, which: int, sample: Sample) -> NDArray[Any]:
        assert self._sessions is not None
        assert sample.keyframe is not None
        if self._last is not None and self._last[0][0] == which and np.array_equal(self._last[0][1], sample.keyframe):
            return self._last[1]
        session = self._sessions[which]
        keyframe = _feeds(Sample(sample.keyframe, None, None), None)
        feature: NDArray[Any] = session.run(["feature"], feeds_of(session, keyframe))[0]
        self._last = (which, sample.keyframe), feature
        return feature


def _feeds(sample: Sample, feature: NDArray[Any] | None) -> Feeds:
    size = np.array(sample.frame.shape[:2], np.int64)
    feeds: Feeds = {
        "frame": sample.frame[None],
        "labels_size": size,
        "frame_size": size,
        "confidence_size": np.zeros(2, np.int64),
    }
    if feature is not None and sample.motion is not None:
        feeds |= {"keyframe_feature": feature, "motion": sample.motion[None]}
    return feeds


def _check_arguments(target: Path, sources: int, agreement: float, frames: int, seconds: float) -> None:
    if target.suffix != SUFFIX:
        raise UsageError(f"{target}: a bundle's name ends in {SUFFIX}: add it")
    if not sources:
        raise UsageError("no source to calibrate on: name a video that shows what will be seen")
    if not 0 <= agreement <= 100:
        raise UsageError(f"agreement {agreement:g}: must be percent, 0 to 100, such as {AGREEMENT:g}")
    if isinstance(frames, bool) or not isinstance(frames, int) or frames < 8:
        raise UsageError(f"frames {frames!r}: must be a whole number, 8 or more, such as {FRAMES}")
    if not seconds > 0:
        raise UsageError(f"seconds {seconds:g}: must be more than 0")


def _check_reached(bundle: Bundle, found: Mapping[str, Found], agreement: float, force: bool) -> None:
    short = {member: each for member, each in found.items() if each.agreement < agreement}
    if not short or force:
        return
    member, worst = min(short.items(), key=lambda item: item[1].agreement)
    back = f", with {', '.join(worst.float_layers[:8])} in float" if worst.float_layers else ""
    raise ParityError(
        f"{bundle.path}: no mix of layers agrees with float on {agreement:g} % of the pixels: {member} reaches "
        f"{worst.agreement:.2f} %{back}: nothing was written; ask for less (--agreement), calibrate on more, or --force"
    )


class _Steps:
    """Counts the steps for whoever wants to show them."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress, self._total, self._done = progress, total, -1

    def begin(self, what: str) -> None:
        self._done += 1
        self.within(what)

    def within(self, what: str, *, every: int = 1, number: int = 0) -> None:
        if self._progress is not None and number % every == 0:
            self._progress(what, self._done, self._total)

    def end(self) -> None:
        self.begin("done")

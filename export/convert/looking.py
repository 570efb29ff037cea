"""What can be known of a model before anything is made of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from numpy.typing import NDArray

from arseg_edge.errors import UsageError
from arseg_edge.export.convert.back import Back
from arseg_edge.export.convert.beside import Beside
from arseg_edge.export.convert.class_output import ClassOutput, check_values, class_output
from arseg_edge.export.convert.classes import class_infos, known_count
from arseg_edge.export.convert.given_model import GivenModel
from arseg_edge.export.convert.image_input import ImageInput, image_input
from arseg_edge.export.convert.probing import EASY, BareSession, Size, blank, find_channels, find_multiple
from arseg_edge.export.convert.reference import Reference
from arseg_edge.export.convert.request import Request
from arseg_edge.export.convert.rule import input_rule, size_of
from arseg_edge.export.convert.tail import Source, ends_in_sigmoid, inner_values, source_of
from arseg_edge.manifest import ClassInfo, ConvertedInput

SMALLEST_SIDE: Final = 32
_LARGEST_COMPARED: Final = 384
"""Pixels of a side of the images that are compared."""


@dataclass(frozen=True, eq=False)
class Looked:
    """All that is known of a model."""

    session: BareSession
    picture: ImageInput
    rule: ConvertedInput
    back: Back
    classes: tuple[ClassInfo, ...]
    image: NDArray[Any]
    """A picture that it takes."""
    seen: Size
    """Of that picture."""
    frame_size: Size
    """Of the frames that it is compared on."""

    @property
    def reference(self) -> Reference:
        """The model alone."""
        return Reference(self.session, self.picture, self.rule, self.back.output, self.back.threshold)


def look(given: GivenModel, request: Request, beside: Beside) -> Looked:
    """Run a model, and say all that can be known of it.

    Raises:
        ModelError: it is none that can be converted.
        UsageError: something is neither seen nor said, or cannot be.
    """
    picture = image_input(given, request.layout)
    size = size_of(picture, request, beside, given.name)
    session = BareSession(given, picture)
    seen = size or EASY
    channels = find_channels(session, picture, seen)
    image = blank(picture, channels, seen)
    everything = BareSession(given, picture, inner_values(given.proto.graph, session.names)).run(image)
    outputs = {name: everything[name] for name in session.names}
    count = known_count(request, beside)
    output = class_output(given.name, outputs, seen, wanted=request.output, layout=request.output_layout, classes=count)
    source = source_of(given.proto.graph, output, everything)
    classes = class_infos(request, beside, output, _channels_of(output, source, everything), given.name)
    check_values(given.name, output, outputs[output.name], len(classes))
    multiple = request.multiple or (find_multiple(session, picture, channels) if size is None else 1)
    rule = input_rule(
        picture, request, beside, given.name, channels=channels, size=size, multiple=multiple, output=output.name
    )
    threshold = _threshold(given, request, output, outputs[output.name])
    from_source = source is not None and output.kind != "labels"
    probabilities = {output.name, *([] if source is None or source.sigmoid else [source.value])}
    probabilities = {name for name in probabilities if _are_probabilities(everything[name])}
    back = Back(output, len(classes), threshold, source, from_source, frozenset(probabilities))
    return Looked(session, picture, rule, back, classes, image, seen, _frame_size(size))


def _are_probabilities(array: NDArray[Any]) -> bool:
    return bool(((array >= 0) & (array <= 1 + 1e-3)).all())


def _channels_of(output: ClassOutput, source: Source | None, values: dict[str, NDArray[Any]]) -> int | None:
    if output.kind != "labels":
        return output.channels
    if source is None:
        return None
    shape = values[source.value].shape
    return int(shape[1] if source.layout == "nchw" else shape[3])


def _threshold(given: GivenModel, request: Request, output: ClassOutput, array: NDArray[Any]) -> float:
    if output.kind != "score":
        if request.threshold is not None:
            raise UsageError(
                f"--threshold {request.threshold:g}: output {output.name} has no single channel: leave it out"
            )
        return 0.0
    probability = ends_in_sigmoid(given.proto.graph, output.name)
    if request.threshold is None and not probability:
        raise UsageError(
            f"{given.name}: output {output.name} has one channel and no sigmoid at its end, so that nothing says above "
            "which value a pixel is foreground: give --threshold (0 for logits, 0.5 for probabilities)"
        )
    threshold = 0.5 if request.threshold is None else request.threshold
    if probability and not 0 < threshold < 1:
        raise UsageError(f"--threshold {threshold:g}: output {output.name} is a probability: give one between 0 and 1")
    return float(threshold)


def _frame_size(size: Size | None) -> Size:
    """Return the size of the frames that a model is compared on: those that it sees, unless they are large."""
    if size is None:
        return EASY
    smaller = min(1.0, _LARGEST_COMPARED / max(size))
    return max(SMALLEST_SIDE, int(size[0] * smaller)), max(SMALLEST_SIDE, int(size[1] * smaller))

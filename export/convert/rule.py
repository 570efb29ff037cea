"""How a frame becomes what the model takes: by what was asked for, what lies beside the model, and what is seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, get_args

from arseg_edge.checked_json import check
from arseg_edge.errors import UsageError
from arseg_edge.export.convert.beside import PREPROCESSOR, Beside
from arseg_edge.export.convert.front import channel_count
from arseg_edge.export.convert.image_input import ImageInput
from arseg_edge.export.convert.probing import Size
from arseg_edge.export.convert.request import Layout, Request, Resize
from arseg_edge.manifest import ConvertedInput

FILL: Final = 114
"""The grey that letterboxes mostly have."""
_BYTE: Final = 1 / 255


def check_request(request: Request) -> None:
    """Refuse what makes no sense, whatever the model is.

    Raises:
        UsageError: with the value.
    """
    if request.resize is not None and request.resize not in get_args(Resize):
        raise UsageError(f"resize {request.resize!r}: must be stretch or letterbox")
    for name, layout in (("layout", request.layout), ("output layout", request.output_layout)):
        if layout is not None and layout not in get_args(Layout):
            raise UsageError(f"{name} {layout!r}: must be nchw or nhwc")
    if request.size is not None and request.size != "any":
        pair = isinstance(request.size, (tuple, list)) and len(request.size) == 2
        if not pair or not all(type(side) is int and 1 <= side <= 65535 for side in request.size):
            raise UsageError(
                f"size {request.size!r}: must be (height, width) in whole pixels, such as (512, 512), or any"
            )
    if request.multiple is not None and not (type(request.multiple) is int and 1 <= request.multiple <= 4096):
        raise UsageError(f"multiple {request.multiple!r}: must be a whole number from 1 to 4096")
    if request.fill is not None and not (type(request.fill) is int and 0 <= request.fill <= 255):
        raise UsageError(f"fill {request.fill!r}: must be a grey level from 0 to 255")


def size_of(picture: ImageInput, request: Request, beside: Beside, name: str) -> Size | None:
    """Return the one size that the model sees; None for each frame's own.

    Raises:
        UsageError: it takes another than the one that was asked for, or none is known.
    """
    own = picture.height, picture.width
    wanted = request.size
    if wanted is None and None in own:
        wanted = beside.size
    if wanted in (None, "any"):
        if own == (None, None):
            return None
        if None in own:
            raise UsageError(f"{name}: only one side of its picture is fixed ({_shown(own)}): give --size HxW")
        if wanted == "any":
            raise UsageError(f"size any: {name} takes {_shown(own)} alone: leave it out")
        return _pair(own)
    assert wanted is not None
    assert wanted != "any"
    if any(side is not None and side != asked for side, asked in zip(own, wanted, strict=True)):
        raise UsageError(f"size {_shown(wanted)}: {name} takes {_shown(own)} alone (height x width): leave it out")
    return wanted[0], wanted[1]


def _pair(own: tuple[int | None, int | None]) -> Size:
    assert own[0] is not None
    assert own[1] is not None
    return own[0], own[1]


def _shown(size: Sequence[int | None]) -> str:
    return "x".join("?" if side is None else str(side) for side in size)


def input_rule(
    picture: ImageInput,
    request: Request,
    beside: Beside,
    name: str,
    *,
    channels: int,
    size: Size | None,
    multiple: int,
    output: str,
) -> ConvertedInput:
    """Return how a frame becomes the model's picture.

    Raises:
        UsageError: something is neither seen nor said, or cannot be.
    """
    scale, mean, std = _bytes_alone(request, name) if picture.bytes else _normalisation(request, beside, name, channels)
    rule = ConvertedInput(
        size=size,
        multiple=multiple,
        resize=_resize(request, beside, name, size),
        antialias=bool(beside.antialias if request.antialias is None else request.antialias),
        channels=_channels(request, beside, name, channels),
        fill=FILL if request.fill is None else request.fill,
        scale=scale,
        mean=mean,
        std=std,
        output=output,
    )
    assert channel_count(rule) == channels
    try:
        check(rule, "what the model takes")
    except ValueError as error:
        raise UsageError(f"{name}: {error}: correct the flags") from None
    return rule


def _resize(request: Request, beside: Beside, name: str, size: Size | None) -> Literal["stretch", "letterbox"]:
    if request.resize is not None:
        return request.resize
    if size is None or (beside.size is not None and request.size in (None, beside.size)):
        return "stretch"
    raise UsageError(
        f"{name}: sees pictures of {size[0]}x{size[1]} (height x width), and nothing says how frames of other "
        "proportions become that: give --resize stretch or --resize letterbox, as in its training"
    )


def _channels(
    request: Request, beside: Beside, name: str, channels: int
) -> Literal["rgb", "bgr", "grey", "grey+alpha", "rgb+alpha", "bgr+alpha"]:
    if channels < 3:
        if request.bgr is not None:
            raise UsageError(f"--{'bgr' if request.bgr else 'rgb'}: {name} takes grey pictures: leave it out")
        return "grey" if channels == 1 else "grey+alpha"
    bgr = beside.bgr if request.bgr is None else request.bgr
    if bgr is None:
        raise UsageError(
            f"{name}: nothing says whether its colours are in the order red, green, blue: give --rgb or --bgr, as in "
            f"its training (Pillow and torchvision read RGB, OpenCV reads BGR), or {PREPROCESSOR} beside it"
        )
    if channels == 3:
        return "bgr" if bgr else "rgb"
    return "bgr+alpha" if bgr else "rgb+alpha"


_Normalisation = tuple[float, tuple[float, ...], tuple[float, ...]]


def _bytes_alone(request: Request, name: str) -> _Normalisation:
    for flag, value in (("mean", request.mean), ("std", request.std), ("scale", request.scale)):
        if value is not None:
            raise UsageError(
                f"--{flag} {_listed(value)}: {name} takes bytes, which it normalises itself: leave --{flag} out"
            )
    return 1.0, (0.0,), (1.0,)


def _listed(value: object) -> str:
    return ",".join(f"{each:g}" for each in value) if isinstance(value, (tuple, list)) else str(value)


def _normalisation(request: Request, beside: Beside, name: str, channels: int) -> _Normalisation:
    mean = beside.mean if request.mean is None else tuple(request.mean)
    std = beside.std if request.std is None else tuple(request.std)
    scale = beside.scale if request.scale is None else request.scale
    if mean is None and std is None and scale is None:
        raise UsageError(
            f"{name}: takes numbers, and nothing says how they are made of a picture's bytes: give --mean and --std "
            "as in its training (of values 0 to 1; with --scale 1 of values 0 to 255), --scale alone where there is "
            f"neither, or {PREPROCESSOR} beside it"
        )
    if (mean is None) != (std is None):
        given, lacks = ("mean", "std") if std is None else ("std", "mean")
        raise UsageError(
            f"{name}: a {given} without a {lacks}: give --{lacks}, too ({'1' if lacks == 'std' else '0'} if none)"
        )
    scale = _BYTE if scale is None else scale
    mean, std = mean or (0.0,), std or (1.0,)
    if not 0 < scale <= 1000:
        raise UsageError(f"--scale {scale:g}: must be more than 0, such as 1/255 or 1")
    for flag, values in (("mean", mean), ("std", std)):
        if len(values) not in (1, channels):
            raise UsageError(
                f"--{flag} {_listed(values)}: {len(values)} numbers for {channels} channels: give one for each"
            )
        # A mean, or a deviation, lies within the values; what lies outside is of another scale.
        largest = 255 * scale * 1.001
        for value in values:
            if not (0 <= value <= largest if flag == "mean" else 0 < value <= max(1.0, largest)):
                raise UsageError(
                    f"--{flag} {_listed(values)}: cannot be right for values 0 to {255 * scale:g} (--scale "
                    f"{scale:.6g}): {_other_scale(value, largest)}"
                )
    return float(scale), tuple(map(float, mean)), tuple(map(float, std))


def _other_scale(value: float, largest: float) -> str:
    if value > largest and value <= 255:
        return "give --scale 1 if it is of values 0 to 255"
    return "give that of the model's training"

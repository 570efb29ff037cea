"""Which size the networks see a frame at."""

from __future__ import annotations

from dataclasses import dataclass

from arseg_edge.errors import SizeError, UsageError
from arseg_edge.manifest import Manifest
from arseg_edge.runtime.inference.networks import Size


@dataclass(frozen=True)
class NetworkSize:
    """The rule of one segmenter; labels have the frame's own size, whatever it says."""

    name: str
    """The bundle's, for messages."""
    smallest: Size
    largest: Size
    exported: Size | None
    """The one size that the bundle was exported for; None: any between the two."""
    common: Size | None
    """What every frame is resized to; None: frames keep their size."""

    def of(self, height: int, width: int) -> Size:
        """Return (height, width) that the networks run at for a frame of this size.

        Raises:
            SizeError: the networks do not take it, and frames are not to be resized.
        """
        if self.common is not None:
            return self.common
        if self.exported is not None and self.exported != (height, width):
            raise SizeError(
                f"frames of {height}x{width} (height x width) do not fit {self.name}, exported for "
                f"{_shown(self.exported)}: let them be resized (resize=True, --resize), or export it for any size"
            )
        if not self._within(height, width):
            raise SizeError(
                f"frames of {height}x{width} (height x width) are outside what {self.name} takes, "
                f"{_shown(self.smallest)} to {_shown(self.largest)}: let the networks see another size (size=, --size)"
            )
        return height, width

    def _within(self, height: int, width: int) -> bool:
        (low_height, low_width), (high_height, high_width) = self.smallest, self.largest
        return low_height <= height <= high_height and low_width <= width <= high_width


def _check_size(size: Size) -> None:
    """Raise UsageError unless ``size`` is (height, width) in whole pixels."""
    pair = isinstance(size, tuple | list) and len(size) == 2
    if not pair or not all(isinstance(side, int) and not isinstance(side, bool) and side > 0 for side in size):
        raise UsageError(f"size {size!r}: must be (height, width) in whole pixels, such as (720, 960)")


def network_size(manifest: Manifest, name: str, size: Size | None, *, resize: bool) -> NetworkSize:
    """Return the rule for a bundle: frames resized to ``size``, or with ``resize`` to the bundle's own, or kept.

    Raises:
        SizeError: the bundle's networks do not run at ``size``.
        UsageError: ``size`` is none.
    """
    if size is not None:
        _check_size(size)
    rule = NetworkSize(name, manifest.smallest_size, manifest.largest_size, manifest.size, None)
    given = None if manifest.converted is None else manifest.converted.size
    if size is None:
        common = manifest.size if resize else None
    elif given is not None:
        raise SizeError(
            f"size {_shown(size)} (height x width): the model in {name} sees {_shown(given)} alone, to which its graph "
            "resizes every frame: leave the size out"
        )
    elif manifest.size not in (None, size):
        raise SizeError(
            f"size {_shown(size)} (height x width): {name} was exported for {_shown(manifest.size or size)} alone: "
            "leave the size out and let frames be resized (resize=True, --resize), or export it for any size"
        )
    elif not rule._within(*size):
        raise SizeError(
            f"size {_shown(size)} (height x width) is outside what {name} takes, {_shown(rule.smallest)} to "
            f"{_shown(rule.largest)}: choose one between"
        )
    else:
        common = size
    return NetworkSize(name, manifest.smallest_size, manifest.largest_size, manifest.size, common)


def _shown(size: Size) -> str:
    return f"{size[0]}x{size[1]}"

"""The demo model that comes with the package; ``demo.md`` says what it was trained on and how good it is."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from arseg_edge.errors import BundleError

_NAME = "demo.arseg"


def demo_bundle() -> Path:
    """Return the path of the demo model: family ``edge``, CamVid's eleven classes of road scenes, LR scale 0.5.

    Raises:
        BundleError: this installation lacks it.
    """
    path = Path(str(files("arseg_edge").joinpath(_NAME)))
    if not path.is_file():
        raise BundleError(f"{path}: this installation lacks the demo model: install arseg-edge again, or name a bundle")
    return path

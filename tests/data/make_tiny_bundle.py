"""Makes the bundles that the runtime's tests run without PyTorch: ``python tests/data/make_tiny_bundle.py``.

The network has three layers and weights from a fixed seed. It is also the proof that a network of one's own
can be exported: it is in no list of families.

``tiny-format1.arseg`` beside them is the same, ``tiny.arseg``, as bundle format 1 had it; nothing writes that any more.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from arseg_edge.export import Family, export_bundle
from arseg_edge.palette import ClassSet

CLASSES = ClassSet(("sky", "road", "car"), ((70, 130, 180), (128, 64, 128), (0, 0, 142)))


class Tiny(nn.Module):
    """Stride 4, 8 channels, 3 classes."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.second = nn.Conv2d(8, 8, 3, stride=2, padding=1)
        self.final_conv = nn.Conv2d(8, 3, 1)

    def feature(self, image: Tensor) -> Tensor:
        """Return [N, 8, H/4, W/4]."""
        return F.relu(self.second(F.relu(self.first(image))))


FAMILY = Family("tiny", CLASSES, channels=8, stride=4, network=Tiny, align_corners=True)


def weights(seed: int, *, fused: bool) -> dict[str, Tensor]:
    """Return a state dict of normally distributed values that depend on the seed alone."""
    network = FAMILY.build_ar() if fused else FAMILY.build_hr()
    assert isinstance(network, nn.Module)
    generator = torch.Generator().manual_seed(seed)
    return {key: 0.3 * torch.randn(tensor.shape, generator=generator) for key, tensor in network.state_dict().items()}


def main() -> None:
    """Write both bundles beside this file."""
    here = Path(__file__).parent
    hr, lr = weights(0, fused=False), weights(1, fused=True)
    for name, size in (("tiny.arseg", None), ("tiny-64x96.arseg", (64, 96))):
        print(export_bundle(FAMILY, hr=hr, lr=lr, out=here / name, size=size, scale=(0.5, 0.3)))


if __name__ == "__main__":
    main()

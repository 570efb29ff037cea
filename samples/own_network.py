"""A network of one's own, fitted to the drawn street, as a bundle that runs: python own_network.py small.arseg."""

import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import arseg_edge
from arseg_edge.export import ClassSet, Family, export_bundle
from arseg_edge.runtime import read_motion

STREET = Path(__file__).with_name("street.mp4")
CLASSES = ClassSet(("other", "road", "car"), ((90, 90, 90), (128, 64, 128), (0, 0, 200)))


class Small(nn.Module):
    """Whatever it is, it needs a method ``feature`` and, as its last layer, a 1x1 convolution ``final_conv``."""

    def __init__(self) -> None:
        super().__init__()
        blocks = [(nn.Conv2d(i, o, 3, 2, 1), nn.BatchNorm2d(o), nn.ReLU()) for i, o in ((3, 16), (16, 32), (32, 32))]
        self.body = nn.Sequential(*(layer for block in blocks for layer in block), nn.Conv2d(32, 32, 3, 1, 1))
        self.final_conv = nn.Conv2d(32, len(CLASSES.names), 1)

    def feature(self, image: Tensor) -> Tensor:
        """Return [N, 32, H/8, W/8]."""
        return F.relu(self.body(image))

    def forward(self, image: Tensor) -> Tensor:
        """Return logits [N, 3, H, W]: not needed, but where it is there, the export compares labels with its."""
        return F.interpolate(self.final_conv(self.feature(image)), image.shape[2:], mode="bilinear")


FAMILY = Family("small", CLASSES, 32, 8, Small, align_corners=False, mean=(0, 0, 0), std=(1, 1, 1))


def main(out: str, steps: int = 60) -> None:
    """Fit HR, export it with an LR network that is not trained yet, print how many pixels of each frame are right."""
    truth = np.array([0, 0, 0, 1, 0, 0, 0, 0, 2, 0, 0])[np.load(STREET.with_name("street-labels.npz"))["labels"]]
    frames = torch.tensor(np.stack([frame.rgb for frame in read_motion(STREET)])).permute(0, 3, 1, 2)
    network = Small()
    optimiser = torch.optim.Adam(network.parameters(), lr=3e-3)
    for _ in range(steps):
        chosen = torch.randint(48, (4,))  # of the first two seconds; the others are new
        loss = F.cross_entropy(network(frames[chosen] / 255), torch.from_numpy(truth)[chosen])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    export_bundle(FAMILY, hr=network.state_dict(), untrained=True, out=out)
    with arseg_edge.load(out) as segmenter:
        for result in segmenter.stream(STREET):
            print(result.index, result.branch, f"{(result.labels == truth[result.index]).mean():.1%}")


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))

"""Makes ``street.arseg``: a small network for the drawn streets, trained here and exported.

``python samples/make_street_bundle.py`` takes about ten minutes on two cores. Streets of other seeds than the
sample video's are drawn, encoded and decoded again with their motion vectors; HR is trained alone, then LR +
CReFF with HR frozen as its teacher (feature similarity training: Hu et al., CVPR 2023, section 3.4). It shows
how a network of one's own becomes a bundle, from beginning to end.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from draw_street import write_street
from torch import Tensor, nn

from arseg_edge.export import Family, export_bundle
from arseg_edge.export.models.resizing import lr_size, resize
from arseg_edge.palette import CAMVID, ClassSet
from arseg_edge.runtime import read_motion

CLASSES = ClassSet(CAMVID.names[:11], CAMVID.colours[:11])
CHANNELS, STRIDE, SCALE, INTERVAL = 32, 8, 0.5, 12


def block(inputs: int, outputs: int, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    """3×3 convolution, batch norm, ReLU."""
    layer = nn.Conv2d(inputs, outputs, 3, stride, dilation, dilation, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs), nn.ReLU())


class StreetNet(nn.Module):
    """Eight convolutions down to 1/8, the last three dilated for a wider view."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            block(3, 16, stride=2),
            block(16, 24, stride=2),
            block(24, 24),
            block(24, CHANNELS, stride=2),
            block(CHANNELS, CHANNELS),
            *(block(CHANNELS, CHANNELS, dilation=dilation) for dilation in (2, 4, 8)),
        )
        self.final_conv = nn.Conv2d(CHANNELS, len(CLASSES.names), 1)

    def feature(self, image: Tensor) -> Tensor:
        """Return [N, 32, H/8, W/8]."""
        feature: Tensor = self.body(image)
        return feature


FAMILY = Family("street", CLASSES, channels=CHANNELS, stride=STRIDE, network=StreetNet, upscale=STRIDE)


@dataclass(frozen=True)
class Sample:
    """A frame [3, H, W] normalised, its labels [H, W], and its keyframe with the motion to it [H, W, 2]."""

    image: Tensor
    labels: Tensor
    keyframe: Tensor
    motion: Tensor


def draw_samples(seeds: range, frames: int) -> list[Sample]:
    """Draw a street for each seed and take its frames as a decoder gives them."""
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in (FAMILY.mean, FAMILY.std))
    samples = []
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            write_street(Path(folder), seed, frames, size=(360, 480), quality=24)
            labels = np.load(Path(folder) / "street-labels.npz")["labels"]
            for frame in read_motion(Path(folder) / "street.mp4", INTERVAL):
                image = (torch.from_numpy(frame.rgb).permute(2, 0, 1) / 255 - mean) / std
                if frame.motion is None:
                    keyframe, motion = image, np.zeros((*image.shape[1:], 2), np.float32)
                else:
                    motion = frame.motion
                samples.append(
                    Sample(
                        image,
                        torch.from_numpy(labels[frame.index]).long(),
                        keyframe,
                        torch.from_numpy(motion).half(),
                    )
                )
    return samples


def train(
    network: nn.Module, samples: list[Sample], steps: int, loss: Callable[[list[Sample]], Tensor], name: str
) -> None:
    """Minimise ``loss`` of random batches of four, Adam at 3e-3 with cosine decay."""
    rng = np.random.default_rng(0)
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimiser = torch.optim.Adam(trained, 3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    network.train()
    for step in range(1, steps + 1):
        value = loss([samples[index] for index in rng.integers(len(samples), size=4)])
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        schedule.step()
        if step % 50 == 0 or step == steps:
            print(f"{name} step {step}/{steps}: loss {value.item():.3f}", flush=True)
    network.eval()


def main() -> None:
    """Draw, train HR, train LR + CReFF, export."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=900, help="of HR and of LR training each")
    parser.add_argument("--streets", type=int, default=20)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "street.arseg")
    options = parser.parse_args()
    torch.manual_seed(0)
    samples = draw_samples(range(100, 100 + options.streets), frames=2 * INTERVAL)
    print(f"{len(samples)} frames of {options.streets} streets")

    hr = FAMILY.build_hr()
    assert isinstance(hr, nn.Module)

    def stacked(batch: list[Sample]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        columns = ([getattr(each, name) for each in batch] for name in ("image", "labels", "keyframe", "motion"))
        image, labels, keyframe, motion = (torch.stack(column) for column in columns)
        if torch.rand(()) < 0.5:
            image, labels, keyframe, motion = image.flip(-1), labels.flip(-1), keyframe.flip(-1), motion.flip(-2)
            motion = motion * torch.tensor([-1.0, 1.0])
        return image, labels, keyframe, motion.float()

    def scores(logits: Tensor, size: torch.Size) -> Tensor:
        enlarged = F.interpolate(logits, scale_factor=FAMILY.upscale, mode="bilinear")
        return resize(enlarged, (size[0], size[1]))

    def hr_loss(batch: list[Sample]) -> Tensor:
        image, labels, _, _ = stacked(batch)
        return F.cross_entropy(scores(hr.final_conv(hr.feature(image)), labels.shape[1:]), labels)

    train(hr, samples, options.steps, hr_loss, "HR")
    hr.requires_grad_(False)

    lr = FAMILY.build_ar()
    assert isinstance(lr, nn.Module)
    # The student has the teacher's layout: it starts from its weights, and keeps its last layer.
    lr.load_state_dict(hr.state_dict(), strict=False)
    lr.final_conv.requires_grad_(False)

    def lr_loss(batch: list[Sample]) -> Tensor:
        image, labels, keyframe, motion = stacked(batch)
        with torch.no_grad():
            target, keyframe_feature = hr.feature(image), hr.feature(keyframe)
        small = resize(image, lr_size(image.shape[2], image.shape[3], SCALE))
        fused = lr.fuse_attention(lr.feature(small), keyframe_feature, motion).fused
        segmentation = F.cross_entropy(scores(lr.final_conv(fused), labels.shape[1:]), labels)
        return segmentation + F.mse_loss(fused, target)

    train(lr, samples, options.steps, lr_loss, "LR")
    print(export_bundle(FAMILY, hr=hr.state_dict(), lr=lr.state_dict(), out=options.output, scale=SCALE))


if __name__ == "__main__":
    main()

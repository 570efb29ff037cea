"""A PyTorch network in two parts, a feature extractor and a last layer, without a change to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from arseg_edge.export.last_layer import ScoresOf
from arseg_edge.export.models.sum_of_layers import SumOfLayers


@dataclass(frozen=True)
class Sizes:
    """The images that a network takes: sides of at least ``smallest``, multiples of ``multiple``."""

    multiple: int = 1
    smallest: int = 1

    def fitting(self, side: int) -> int:
        """Return the smallest side that the network takes and that is no less; of a symbol, a symbol.

        >>> Sizes(multiple=32, smallest=64).fitting(33), Sizes(32, 64).fitting(65), Sizes().fitting(65)
        (64, 96, 65)
        """
        if self.multiple > 1:
            side = (side + self.multiple - 1) // self.multiple * self.multiple
        return cast(Any, torch).sym_max(side, self.smallest) if self.smallest > 1 else side


class _Reached(BaseException):
    """Raised where the last layer is called; no ``except Exception`` of a network's own stops it."""


class SplitNetwork(nn.Module):
    """A network as ``Family`` takes it: ``feature`` is whatever its own ``forward`` gives to its last layer.

    ``forward`` of the network itself runs up to there, in training as in evaluation, so that its modules, its names of
    weights and its own ways of training stay what they are. Sizes that it does not take are enlarged to the next that
    it does.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        last: Sequence[str],
        dropouts: Sequence[str] = (),
        outputs: int,
        sigmoid: bool = False,
        output: str | int | None = None,
        sizes: Sizes | None = None,
        align_corners: bool = False,
    ) -> None:
        """Take a network apart.

        Args:
            model: the network.
            last: the names of the convolutions whose sum is its scores.
            dropouts: the names of what drops parts of the feature; never while this network is trained, since
                features are compared with one another.
            outputs: how many classes the scores are of; 1 becomes 2.
            sigmoid: whether ``forward`` returns probabilities; of one output, those of the second class.
            output: which of its results are the scores (``ScoresOf``).
            sizes: of the images that it takes.
            align_corners: how images are enlarged to these and scores to the image.
        """
        super().__init__()
        self.model = model
        self.last, self._dropouts = tuple(last), tuple(dropouts)
        self._binary = outputs == 1
        self._threshold = 0.5 if sigmoid else 0.0
        self._output = output
        self.sizes = sizes or Sizes()
        self._align_corners = align_corners
        self.train(model.training)

    @property
    def final_conv(self) -> nn.Conv2d | SumOfLayers:
        """The last layer: a convolution of the network, or several of them as one."""
        layers = [self.model.get_submodule(path) for path in self.last]
        convolutions = [layer for layer in layers if isinstance(layer, nn.Conv2d)]
        if len(convolutions) == 1 and not self._binary:
            return convolutions[0]
        return SumOfLayers(convolutions, binary=self._binary)

    def feature(self, image: Tensor) -> Tensor:
        """Return what goes into the last layer, [N, C, h, w], for an image [N, 3, H, W]; of several, one by one."""
        inputs: dict[nn.Module, Tensor] = {}
        layers = [self.model.get_submodule(path) for path in self.last]

        def reach(layer: nn.Module, arguments: tuple[Any, ...], options: Mapping[str, Any]) -> None:
            inputs[layer] = arguments[0] if arguments else options["input"]
            # A trace must go on to its end; what nothing needs is left out of it.
            if len(inputs) == len(layers) and not torch.compiler.is_exporting():
                raise _Reached

        hooks = [layer.register_forward_pre_hook(reach, with_kwargs=True) for layer in layers]
        try:
            self.model(self._fitting(image))
        except _Reached:
            pass
        finally:
            for hook in hooks:
                hook.remove()
        return torch.cat([inputs[layer] for layer in layers], dim=1) if len(layers) > 1 else inputs[layers[0]]

    def forward(self, image: Tensor) -> Tensor:
        """Return the network's own scores [N, n, H', W'], where H' and W' are those of the image that it takes."""
        fitting = self._fitting(image)
        scores: Tensor = ScoresOf(self.model, self._output)(fitting)
        if self._binary:
            scores = torch.cat([torch.full_like(scores, self._threshold), scores], dim=1)
        if scores.shape[2:] == fitting.shape[2:]:
            return scores
        return F.interpolate(scores, fitting.shape[2:], mode="bilinear", align_corners=self._align_corners)

    def train(self, mode: bool = True) -> SplitNetwork:
        """Switch between training and evaluation; the feature is whole in both."""
        super().train(mode)
        for path in self._dropouts:
            self.model.get_submodule(path).eval()
        return self

    def _fitting(self, image: Tensor) -> Tensor:
        height, width = (self.sizes.fitting(side) for side in image.shape[2:])
        # Not compared where they are symbols: an export for any size would then be for sizes that fit.
        if isinstance(height, int) and (height, width) == tuple(image.shape[2:]):
            return image
        if self.sizes == Sizes():
            return image
        return F.interpolate(image, (height, width), mode="bilinear", align_corners=self._align_corners)

"""Statistics of batch normalisation, measured anew without a change to what the network computes.

Weights out of a bundle have none (``export/bundle_weights.py``). A student that starts from them is normalised by its
batches: only where the layers expect what the batches bring does it begin with what the teacher computes.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


@torch.no_grad()
def restate_statistics(network: nn.Module, images: Iterable[Tensor]) -> None:
    """Give each normalisation the mean and variance of what it takes; scale and bias change so as to make up for it.

    Args:
        network: in evaluation mode, with a ``feature`` method.
        images: normalised images [N, 3, H, W], one batch at least.
    """
    layers = [each for each in network.modules() if isinstance(each, _BatchNorm) and each.affine]
    sums: dict[_BatchNorm, list[Tensor]] = {}

    def measure(layer: nn.Module, taken: tuple[Tensor, ...]) -> None:
        assert isinstance(layer, _BatchNorm)
        values = taken[0].double().transpose(0, 1).flatten(1)
        count = torch.tensor(float(values.shape[1]), dtype=torch.float64, device=values.device)
        now = [count, values.sum(1), values.square().sum(1)]
        sums[layer] = [a + b for a, b in zip(sums[layer], now, strict=True)] if layer in sums else now

    hooks = [layer.register_forward_pre_hook(measure) for layer in layers]
    try:
        for image in images:
            network.feature(image)  # type: ignore[operator]
    finally:
        for hook in hooks:
            hook.remove()
    for layer, (count, total, squares) in sums.items():
        mean = total / count
        variance = (squares / count - mean.square()).clamp_min(0)
        assert layer.running_mean is not None
        assert layer.running_var is not None
        gain = layer.weight / (layer.running_var + layer.eps).sqrt()
        layer.bias.add_((mean - layer.running_mean).float() * gain)
        layer.weight.copy_(gain * (variance + layer.eps).sqrt())
        layer.running_mean.copy_(mean)
        layer.running_var.copy_(variance)

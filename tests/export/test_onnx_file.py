"""From a module to an ONNX model: names, metadata, and what cannot be exported."""

from __future__ import annotations

import logging

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from arseg_edge.errors import OperatorError
from arseg_edge.export.onnx_file import to_onnx


class Halves(nn.Module):
    """Two results."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        inner = self.norm(self.conv(x))
        return torch.relu(inner) * 2, inner


def run(model: bytes, x: Tensor) -> list[np.ndarray]:
    return onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]).run(None, {"x": x.numpy()})


def test_results_are_outputs_by_their_names(capfd: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    module = Halves().eval()
    axes = {"x": {2: torch.export.Dim("height"), 3: torch.export.Dim("width")}}
    model = to_onnx(module, {"x": torch.zeros(1, 3, 8, 8)}, outputs=["y", "inner"], dynamic=axes, metadata={"a": "b"})
    assert capfd.readouterr() == ("", "")  # the exporter's chatter is not for the user's terminal
    assert [value.name for value in model.graph.output] == ["y", "inner"]
    assert {each.key: each.value for each in model.metadata_props} == {"a": "b"}
    assert model.ir_version <= 9
    assert not any(node.doc_string or node.metadata_props for node in model.graph.node)
    onnx.checker.check_model(model)
    x = torch.rand(1, 3, 11, 7)
    with torch.no_grad():
        expected = module(x)
    for found, value in zip(run(model.SerializeToString(), x), expected, strict=True):
        np.testing.assert_allclose(found, value.numpy(), atol=1e-5)


def test_training_mode_is_left(capfd: pytest.CaptureFixture[str]) -> None:
    module = Halves().train()
    model = to_onnx(module, {"x": torch.zeros(2, 3, 8, 8)}, outputs=["y", "inner"], metadata={})
    x = torch.rand(2, 3, 8, 8)
    with torch.no_grad():
        expected = module.eval()(x)[0]
    np.testing.assert_allclose(run(model.SerializeToString(), x)[0], expected.numpy(), atol=1e-5)


class Branches(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + 1 if x.sum() > 0 else x - 1


def test_module_that_branches_on_data_is_refused_in_one_line() -> None:
    level = logging.getLogger("torch.onnx").level
    with pytest.raises(OperatorError, match=r"Branches: PyTorch cannot export it \(") as error:
        to_onnx(Branches(), {"x": torch.zeros(4)}, outputs=["y"], metadata={})
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 500
    assert logging.getLogger("torch.onnx").level == level

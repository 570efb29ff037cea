"""Weights in half precision: what is stored, that it is rounded right, and that results hardly move."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

import arseg_edge
from arseg_edge.bundle import KEYFRAME, Bundle
from arseg_edge.export import export_bundle
from arseg_edge.export.families import find_family
from arseg_edge.export.half_weights import SMALLEST, store_half
from arseg_edge.export.models import SegmentationNetwork
from arseg_edge.export.parity import HALF_TOLERANCE, TOLERANCE
from arseg_edge.runtime.reports.verify import verify

MEMBERS = (KEYFRAME, "nonkeyframe.onnx")
SIZE = (96, 128)
LARGEST = 65504.0


def rounded(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """To 11 significant bits, the last of which is never below 2⁻²⁴; ties to even (IEEE 754 binary16)."""
    exact = values.astype(np.float64)
    _, exponents = np.frexp(exact)
    steps = np.ldexp(1.0, np.maximum(exponents - 11, -24))
    return np.clip(np.round(exact / steps) * steps, -LARGEST, LARGEST)


def levelled(network: SegmentationNetwork) -> dict[str, Tensor]:
    """Return weights with which no class wins everywhere, as one does where they are random."""
    assert isinstance(network, nn.Module)
    with torch.no_grad():
        scores = network.final_conv(network.feature(torch.randn(1, 3, *SIZE)))
        network.final_conv.bias -= scores.mean((0, 2, 3))
        network.final_conv.weight /= scores.std()
    return network.state_dict()


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Bundle]:
    """The same random weights of a real network, in half and in single precision."""
    torch.manual_seed(0)
    family, folder = find_family("edge"), tmp_path_factory.mktemp("half")
    hr, lr = (levelled(network) for network in (family.build_hr(), family.build_ar()))
    return {
        half: export_bundle(family, hr=hr, lr=lr, out=folder / f"{half}.arseg", size=SIZE, half_weights=half)
        for half in (True, False)
    }


def graphs(bundles: Mapping[bool, Bundle], member: str) -> tuple[onnx.GraphProto, onnx.GraphProto]:
    """Return the graph in half and the one in single precision."""
    half, single = (onnx.load_from_string(bundles[each].read(member)).graph for each in (True, False))
    return half, single


def constants(graph: onnx.GraphProto) -> dict[str, onnx.TensorProto]:
    return {each.name: each for each in graph.initializer}


@pytest.mark.parametrize("member", MEMBERS)
def test_every_weight_is_the_single_one_rounded(bundles: dict[bool, Bundle], member: str) -> None:
    half, single = graphs(bundles, member)
    found, casts = constants(half), {node.output[0]: node for node in half.node if node.input[0].endswith(".half")}
    large = set()
    for name, before in constants(single).items():
        if before.data_type == TensorProto.FLOAT and np.prod(before.dims) >= SMALLEST:
            large.add(name)
            (stored,) = casts[name].input
            assert found[stored].data_type == TensorProto.FLOAT16
            after = numpy_helper.to_array(found.pop(stored))
            np.testing.assert_array_equal(after, rounded(numpy_helper.to_array(before)))
            assert (casts[name].op_type, casts[name].attribute[0].i) == ("Cast", TensorProto.FLOAT)
        else:
            assert found.pop(name) == before
    assert not found
    assert large == set(casts)
    assert len(large) > 20


@pytest.mark.parametrize("member", MEMBERS)
def test_nothing_else_of_the_graph_changes(bundles: dict[bool, Bundle], member: str) -> None:
    half, single = graphs(bundles, member)
    casts = [node for node in half.node if node.input[0].endswith(".half")]
    assert [*half.node[len(casts) :]] == [*single.node]
    assert (half.input, half.output) == (single.input, single.output)


@pytest.mark.parametrize("member", MEMBERS)
def test_half_the_size(bundles: dict[bool, Bundle], member: str) -> None:
    half, single = (bundles[each].manifest.members[member].bytes for each in (True, False))
    assert 0.5 < half / single < 0.53


@pytest.mark.parametrize("member", MEMBERS)
def test_casts_are_evaluated_while_loading(bundles: dict[bool, Bundle], member: str, tmp_path: Path) -> None:
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "loaded.onnx")
    options.log_severity_level = 3  # it warns that the file fits this machine alone
    onnxruntime.InferenceSession(bundles[True].read(member), options, providers=["CPUExecutionProvider"])
    graph = onnx.load(tmp_path / "loaded.onnx").graph
    assert graph.initializer
    assert TensorProto.FLOAT16 not in {each.data_type for each in graph.initializer}
    assert not [node for node in graph.node if node.op_type == "Cast" and node.input[0] in constants(graph)]


def test_labels_hardly_change(bundles: dict[bool, Bundle]) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (3, *SIZE, 3), np.uint8)
    motion = np.random.default_rng(1).uniform(-20, 20, (*SIZE, 2)).astype(np.float32)
    labels = {}
    for half, bundle in bundles.items():
        with arseg_edge.load(bundle.path, providers="cpu", threads=1) as segmenter:
            steps = [segmenter.step(rgb[0], keyframe=True)]
            steps += [segmenter.step(each, motion=motion) for each in rgb[1:]]
        labels[half] = np.stack([each.labels for each in steps])
    differ = np.mean(labels[True] != labels[False], axis=(1, 2))
    assert (differ < HALF_TOLERANCE).all(), differ
    assert len(np.unique(labels[False])) > 4


def test_verify_holds_it_to_the_wider_tolerance(bundles: dict[bool, Bundle]) -> None:
    for half, tolerance in ((True, HALF_TOLERANCE), (False, TOLERANCE)):
        assert {figure.tolerance for figure in bundles[half].parity} == {tolerance}
        outcome = verify(bundles[half], providers="cpu", threads=1)
        assert outcome.passed, outcome.blame
        assert {finding.tolerance for finding in outcome.findings} == {tolerance}


def adding(values: NDArray[np.generic]) -> onnx.ModelProto:
    """Return a model that adds a constant to its input."""
    shape, kind = values.shape, helper.np_dtype_to_tensor_dtype(values.dtype)
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "constant"], ["y"])],
        "adding",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info("y", kind, shape)],
        [numpy_helper.from_array(values, "constant")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_values_beyond_the_range_become_its_ends() -> None:
    values = np.linspace(-2e5, 2e5, SMALLEST, dtype=np.float32)
    # Rounding alone would make an infinity of the first, and nothing of the last.
    values[:6] = [65520, -3.4e38, 65504, 1e-7, 2**-24, 1e-9]
    model = adding(values)
    store_half(model)
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"x": np.zeros(SMALLEST, np.float32)})
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(found, rounded(values))
    np.testing.assert_array_equal(found[:6], np.float32([65504, -65504, 65504, 2 * 2**-24, 2**-24, 0]))


@pytest.mark.parametrize(
    "values",
    [
        np.ones(SMALLEST - 1, np.float32),
        np.ones((), np.float32),
        np.ones(SMALLEST, np.int64),
        np.ones(SMALLEST, np.float64),
        np.ones(SMALLEST, np.float16),
    ],
    ids=["small", "scalar", "integers", "double", "half"],
)
def test_what_is_left_alone(values: NDArray[np.generic]) -> None:
    model = adding(values)
    before = model.SerializeToString()
    store_half(model)
    assert model.SerializeToString() == before

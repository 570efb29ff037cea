"""The golden clips of all families in other runtimes than ONNX Runtime's own CPU provider.

OpenVINO, built into an ONNX Runtime and as a plugin package, and ONNX Runtime for the web in Node; each is installed in
an environment of its own. The labels are compared with PyTorch's, which the bundles carry.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import golden
import numpy as np
import onnx
import pytest
import torch
from environments import build_wheel, make_environment, run_in

from arseg_edge.bundle import GOLDEN, KEYFRAME, Bundle, read_bundle
from arseg_edge.demo import demo_bundle
from arseg_edge.export.operators.segmentation_labels import resize_logits
from arseg_edge.golden import read_golden
from arseg_edge.manifest import LabelRule

pytestmark = pytest.mark.long

EQUAL = 0.995
FAMILIES = (*golden.FAMILIES, "edge")
NODE_SCRIPT = Path(__file__).with_name("onnxruntime_web.mjs")

VERIFY = """
import json, sys
path, provider, pretend = sys.argv[1:]
if pretend == "intel":
    # OpenVINO's plugin offers its CPU device on Intel's processors alone, though it runs on others of the kind:
    # there ONNX Runtime's record of this processor (type, vendor, ...) is made to say so.
    import ctypes, onnxruntime
    device = next(each.device for each in onnxruntime.get_ep_devices() if each.ep_name == "CPUExecutionProvider")
    record = (ctypes.c_uint32 * 2).from_address(ctypes.c_void_p.from_address(id(device) + 16).value)
    assert (record[0], record[1]) == (device.type.value, device.vendor_id)
    record[1] = 0x8086
    assert device.vendor_id == 0x8086
import arseg_edge
from arseg_edge.bundle import read_bundle
from arseg_edge.golden import golden_of
from arseg_edge.runtime.reports.verify import verify
found = verify(read_bundle(path), providers=provider, threads=2)
equal = {f"{each.member} {each.frame}": 1 - each.error for each in found.findings if each.stage == "labels"}
sure = []
for each in (provider, "cpu"):
    with arseg_edge.load(path, providers=each, threads=2, confidence=True) as segmenter:
        sure.append(segmenter.step(golden_of(read_bundle(path)).frames[0], keyframe=True).confidence.astype(int))
off = float(abs(sure[0] - sure[1]).mean())
print(json.dumps({"equal": equal, "off": off, "provider": found.provider, "native": found.native}))
"""


@pytest.fixture(scope="module")
def bundle_of(export_golden: Callable[[str], Bundle]) -> Callable[[str], Bundle]:
    """Return a family's bundle: of the golden weights, or the demo model."""
    return lambda family: read_bundle(demo_bundle()) if family == "edge" else export_golden(family)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def openvino(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with an ONNX Runtime that has OpenVINO built in."""
    return make_environment(tmp_path_factory.mktemp("openvino"), [wheel, "onnxruntime-openvino>=1.24"])


@pytest.fixture(scope="module")
def plugin(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with the usual ONNX Runtime and OpenVINO as a plugin package."""
    requirements = [wheel, "onnxruntime", "onnxruntime-ep-openvino"]
    return make_environment(tmp_path_factory.mktemp("plugin"), requirements)


@pytest.fixture(scope="module")
def node_modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which ONNX Runtime for the web is installed, with the script that runs it."""
    if shutil.which("npm") is None:
        pytest.skip("needs Node and npm")
    folder = tmp_path_factory.mktemp("web")
    install = ["npm", "install", "--prefix", folder, "--no-audit", "--no-fund", "--ignore-scripts", "onnxruntime-web"]
    subprocess.run(install, check=True, capture_output=True)
    shutil.copy(NODE_SCRIPT, folder)
    return folder


def assert_equal_labels(what: str, equal: dict[str, float]) -> None:
    print(f"{what}: {', '.join(f'{name} {share:.3%}' for name, share in equal.items())}")
    assert len(equal) >= 2
    assert min(equal.values()) >= EQUAL, equal


def check_openvino(python: Path, bundle: Bundle, native: str, pretend: str = "") -> None:
    command = [python, "-c", VERIFY, bundle.path, "openvino", pretend]
    found = json.loads(run_in(python.parent, command, {"ARSEG_EDGE_NATIVE": native}))
    assert found["provider"] == "OpenVINOExecutionProvider"
    assert found["native"] == (native == "1")
    assert found["off"] <= 1  # of 255, how sure the labels are, beside ONNX Runtime's own provider
    assert_equal_labels(f"{bundle.manifest.family}, native operators {native}", found["equal"])


@pytest.mark.parametrize("native", ["1", "0"], ids=["native", "bodies"])
@pytest.mark.parametrize("family", FAMILIES)
def test_openvino_built_in(openvino: Path, bundle_of: Callable[[str], Bundle], family: str, native: str) -> None:
    check_openvino(openvino, bundle_of(family), native)


@pytest.mark.parametrize("native", ["1", "0"], ids=["native", "bodies"])
@pytest.mark.parametrize("family", FAMILIES)
def test_openvino_as_a_plugin(plugin: Path, bundle_of: Callable[[str], Bundle], family: str, native: str) -> None:
    check_openvino(plugin, bundle_of(family), native, pretend="intel")


def test_doctor_lists_a_plugin(plugin: Path) -> None:
    found = json.loads(run_in(plugin.parent, [plugin, "-m", "arseg_edge", "doctor", "--json"]))
    assert found["versions"]["onnxruntime-ep-openvino"]
    assert "openvino" in [check["name"] for check in found["providers"]]


@pytest.mark.parametrize("family", FAMILIES)
def test_onnxruntime_web(node_modules: Path, bundle_of: Callable[[str], Bundle], tmp_path: Path, family: str) -> None:
    bundle = bundle_of(family)
    clip = read_golden(bundle.read(GOLDEN), "golden")
    values: dict[str, np.ndarray[Any, Any]] = {"frame_size": np.array(clip.frames.shape[1:3], np.int64)}
    equal = {}
    for member in (KEYFRAME, "nonkeyframe.onnx"):
        (tmp_path / member).write_bytes(bundle.read(member))
        inputs = [each.name for each in onnx.load_model_from_string(bundle.read(member)).graph.input]
        for index, expected in clip.expected[member].items():
            values |= {"frame": clip.frames[index : index + 1], "motion": clip.motion[index : index + 1]}
            values["labels_size"] = np.array(expected.labels.shape, np.int64)
            values["confidence_size"] = values["labels_size"]
            found = run_in_node(node_modules, tmp_path / member, {each: values[each] for each in inputs})
            if member == KEYFRAME and index == 0:
                values["keyframe_feature"] = found["feature"]
            equal[f"{member} {index}"] = float(np.mean(found["labels"][0] == expected.labels))
            rule = bundle.manifest.label_rule
            assert rule is not None
            share = share_of(found["logits"], expected.labels.shape, rule)
            assert np.abs(found["confidence"][0] - share).max() <= 1
    assert_equal_labels(f"{family}, web", equal)


def share_of(logits: np.ndarray[Any, Any], size: tuple[int, ...], rule: LabelRule) -> np.ndarray[Any, Any]:
    """The confidence by PyTorch, before it is rounded."""
    full = resize_logits(
        torch.from_numpy(logits), (size[0], size[1]), upscale=rule.upscale, align_corners=rule.align_corners
    )
    return np.asarray(255 * full.softmax(dim=1).amax(dim=1)[0].numpy())


def run_in_node(folder: Path, model: Path, inputs: dict[str, np.ndarray[Any, Any]]) -> dict[str, np.ndarray[Any, Any]]:
    """Return all outputs of a model; arrays go to the script and come back as raw files."""
    described = {}
    for name, array in inputs.items():
        model.with_name(f"{name}.raw").write_bytes(np.ascontiguousarray(array).tobytes())
        described[name] = {"type": str(array.dtype), "dims": array.shape, "file": f"{name}.raw"}
    model.with_name("inputs.json").write_text(json.dumps(described))
    outputs = json.loads(run_in(folder, ["node", folder / NODE_SCRIPT.name, model, model.with_name("inputs.json")]))
    return {
        name: np.fromfile(model.with_name(each["file"]), each["type"]).reshape(each["dims"])
        for name, each in outputs.items()
    }

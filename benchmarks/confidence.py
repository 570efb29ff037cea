"""Times what it costs to say how sure labels are: the step that makes labels alone, and each of the three ways whole.

With and without take turns, frame by frame. The labels are made of the logits that the bundle's HR network has for
frames of the video: how long it takes hangs on how sure a network is.
``python benchmarks/confidence.py VIDEO [-m BUNDLE] [--threads 2] [--frames 8] [--rounds 15] [--json]``; data on stdout.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from itertools import islice

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper

import arseg_edge
from arseg_edge.bundle import KEYFRAME, Bundle, read_bundle
from arseg_edge.demo import demo_bundle
from arseg_edge.export.operators.segmentation_labels import segmentation_labels_node
from arseg_edge.operators import DOMAIN, VERSION
from arseg_edge.runtime import native
from arseg_edge.runtime.source.open_source import open_source

Image = NDArray[np.uint8]
Run = Callable[[], object]


def step_of_labels(bundle: Bundle, frames: Sequence[Image], threads: int) -> list[tuple[Run, Run]]:
    """The operator alone on the logits of each frame, without and with the confidence."""
    rule = bundle.manifest.label_rule
    assert rule is not None
    network = ort.InferenceSession(bundle.read(KEYFRAME), providers=["CPUExecutionProvider"])
    node = segmentation_labels_node(
        "logits", "size", "labels", upscale=rule.upscale, align_corners=rule.align_corners, confidence=True
    )
    inputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, None)]
    inputs += [helper.make_tensor_value_info(name, TensorProto.INT64, [2]) for name in ("size", "confidence_size")]
    outputs = [helper.make_tensor_value_info(name, TensorProto.UINT8, None) for name in ("labels", "confidence")]
    imports = [helper.make_opsetid("", 18), helper.make_opsetid(DOMAIN, VERSION)]
    graph = helper.make_graph([node], "labels", inputs, outputs)
    model = helper.make_model(graph, opset_imports=imports, ir_version=9)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.register_custom_ops_library(str(native.library_path()))
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    pairs = []
    nothing = np.zeros(2, np.int64)
    for frame in frames:
        size = np.array(frame.shape[:2])
        feeds = {"frame": frame[None], "labels_size": size, "confidence_size": nothing}
        (logits,) = network.run(["logits"], feeds)
        given = {"logits": logits, "size": size}
        without, with_it = {**given, "confidence_size": nothing}, {**given, "confidence_size": size}
        pairs.append((_call(session, without), _call(session, with_it)))
    return pairs


def _call(session: ort.InferenceSession, feeds: dict[str, NDArray[np.generic]]) -> Run:
    return lambda: session.run(None, feeds)


def whole_ways(path: str | None, frames: Sequence[Image], threads: int) -> dict[str, list[tuple[Run, Run]]]:
    """HR, LR and moving, each as ``step`` does it."""
    first, second = frames[0], frames[-1]
    still = np.zeros((*first.shape[:2], 2), np.float32)
    ways: dict[str, list[tuple[Run, Run]]] = {}
    segmenters = [arseg_edge.load(path, threads=threads, confidence=asked) for asked in (False, True)]
    for each in segmenters:
        each.step(first, keyframe=True)

    def pair(**how: object) -> list[tuple[Run, Run]]:
        without, with_it = segmenters
        return [(lambda: without.step(second, **how), lambda: with_it.step(second, **how))]  # type: ignore[arg-type]

    if segmenters[0].manifest.has_lr:
        ways["LR, whole"] = pair(motion=still)
    ways["moved, whole"] = pair(motion=still, branch="moved")
    ways["HR, whole"] = pair(keyframe=True)
    return ways


def milliseconds(run: Run) -> float:
    start = time.perf_counter()
    run()
    return (time.perf_counter() - start) * 1e3


def main() -> None:
    """Measure, and print a line for each."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("video")
    arguments.add_argument("-m", "--model")
    arguments.add_argument("--threads", type=int, default=2)
    arguments.add_argument("--frames", type=int, default=8, help="spread over the first 200 of the video")
    arguments.add_argument("--rounds", type=int, default=15)
    arguments.add_argument("--json", action="store_true")
    options = arguments.parse_args()
    with open_source(options.video) as source:
        shown = [frame.rgb for frame in islice(source.frames(), 0, 200, max(1, 200 // options.frames))]
    bundle = read_bundle(demo_bundle() if options.model is None else options.model)
    cases = {
        "labels of logits": step_of_labels(bundle, shown, options.threads),
        **whole_ways(options.model, shown, options.threads),
    }
    found = {}
    for name, pairs in cases.items():
        times: list[tuple[float, float]] = []
        for turn in range(options.rounds + 1):
            measured = [(milliseconds(without), milliseconds(with_it)) for without, with_it in pairs]
            times += measured if turn else []
        without, with_it = (statistics.median(each) for each in zip(*times, strict=True))
        found[name] = {"without": without, "with": with_it, "ratio": with_it / without}
        if not options.json:
            print(f"{name:<18}{without:9.2f} ms without {with_it:9.2f} ms with   {with_it / without:.3f}")
    if options.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()

"""Times the native operators, each alone, against what the machine can do: its sgemm rate and its copy time.

All cases take turns within each round, so that a machine whose speed drifts slows all of them; medians and quartiles.
``python benchmarks/operators.py [--threads 2] [--rounds 15] [--only creff] [--json]``; data on stdout.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
arguments.add_argument("--threads", type=int, default=2)
arguments.add_argument("--rounds", type=int, default=15)
arguments.add_argument("--only", default="", help="only cases whose name contains this")
arguments.add_argument("--json", action="store_true")
options = arguments.parse_args()
os.environ["OPENBLAS_NUM_THREADS"] = str(options.threads)  # read when NumPy is imported

import cv2  # noqa: E402
import numpy as np  # noqa: E402
import onnxruntime as ort  # noqa: E402
from numpy.typing import NDArray  # noqa: E402
from onnx import FunctionProto, NodeProto, TensorProto, helper, numpy_helper  # noqa: E402

from arseg_edge.export.operators.local_attention import body  # noqa: E402
from arseg_edge.operators import DOMAIN, VERSION  # noqa: E402
from arseg_edge.runtime import native  # noqa: E402
from arseg_edge.runtime.labels.moved import Moved, logits_place, moved_labels  # noqa: E402
from arseg_edge.runtime.labels.seen import Seen  # noqa: E402
from arseg_edge.runtime.labels.uniform import uniform_labels  # noqa: E402
from arseg_edge.runtime.motion.step import blocks_of  # noqa: E402

Array = NDArray[np.generic]
_TYPES = {"float32": TensorProto.FLOAT, "uint8": TensorProto.UINT8, "int64": TensorProto.INT64}


@dataclass(frozen=True)
class Case:
    """Something to time once, and how much work it is."""

    name: str
    run: Callable[[], object]
    gigaflops: float = 0.0


@dataclass(frozen=True)
class Timing:
    """Milliseconds over all rounds; GFLOP/s where the case has a count of operations."""

    name: str
    median_ms: float
    lower_quartile_ms: float
    upper_quartile_ms: float
    gflops_per_second: float | None


def bound_run(
    nodes: list[NodeProto],
    inputs: dict[str, Array],
    output: Array,
    initializers: list[TensorProto] | None = None,
    functions: list[FunctionProto] | None = None,
    library: bool = True,
) -> Callable[[], object]:
    """A call that runs these nodes on memory that stays where it is."""
    graph = helper.make_graph(
        nodes,
        "benchmark",
        [helper.make_tensor_value_info(name, _TYPES[str(a.dtype)], a.shape) for name, a in inputs.items()],
        [helper.make_tensor_value_info("output", _TYPES[str(output.dtype)], output.shape)],
        initializers or [],
    )
    imports = [helper.make_opsetid("", 18), helper.make_opsetid(DOMAIN, VERSION)]
    model = helper.make_model(graph, functions=functions or [], opset_imports=imports, ir_version=9)
    session_options = ort.SessionOptions()
    session_options.intra_op_num_threads = options.threads
    session_options.log_severity_level = 3
    # Sessions that spin after their turn would take the processors from the next one.
    session_options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if library:
        session_options.register_custom_ops_library(str(native.library_path()))
    session = ort.InferenceSession(model.SerializeToString(), session_options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    for name, array in inputs.items():
        binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(array))
    binding.bind_ortvalue_output("output", ort.OrtValue.ortvalue_from_numpy(output))
    return lambda: session.run_with_iobinding(binding)


def operator_run(name: str, inputs: dict[str, Array], output: Array, **attributes: object) -> Callable[[], object]:
    """A call that runs one native operator."""
    node = helper.make_node(name, list(inputs), ["output"], domain=DOMAIN, **attributes)
    return bound_run([node], inputs, output)


def body_attention(inputs: dict[str, Array], output: Array) -> Callable[[], object]:
    """The operator's function body, which runs where there is no native library."""
    function = body(7)
    node = helper.make_node(function.name, list(inputs), ["output"], domain=function.domain, kernel_size=7)
    return bound_run([node], inputs, output, functions=[function], library=False)


def elementwise_attention(inputs: dict[str, Array], output: Array) -> Callable[[], object]:
    """The same attention in standard operators, offset by offset, to compare with."""
    h, w = output.shape[2:]
    nodes = [helper.make_node("Pad", [name, "pads"], [f"{name}_padded"]) for name in ("key", "value")]
    constants = {
        "pads": np.array([0, 0, 3, 3, 0, 0, 3, 3]),
        "axes": np.array([2, 3]),
        "channels": np.array([1]),
    }
    offsets = [(i, j) for i in range(7) for j in range(7)]
    for o, (i, j) in enumerate(offsets):
        constants[f"start{o}"], constants[f"end{o}"] = np.array([i, j]), np.array([i + h, j + w])
        window = [f"start{o}", f"end{o}", "axes"]
        nodes += [
            helper.make_node("Slice", ["key_padded", *window], [f"key{o}"]),
            helper.make_node("Mul", ["query", f"key{o}"], [f"product{o}"]),
            helper.make_node("ReduceSum", [f"product{o}", "channels"], [f"score{o}"], keepdims=1),
        ]
    scores, weights = [f"score{o}" for o in range(49)], [f"weight{o}" for o in range(49)]
    nodes += [
        helper.make_node("Concat", scores, ["scores"], axis=1),
        helper.make_node("Softmax", ["scores"], ["weights"], axis=1),
        helper.make_node("Split", ["weights"], weights, axis=1, num_outputs=49),
    ]
    for o in range(49):
        nodes += [
            helper.make_node("Slice", ["value_padded", f"start{o}", f"end{o}", "axes"], [f"value{o}"]),
            helper.make_node("Mul", [f"weight{o}", f"value{o}"], [f"term{o}"]),
            helper.make_node("Add", [f"sum{o - 1}", f"term{o}"] if o else [f"term{o}", "zero"], [f"sum{o}"]),
        ]
    nodes.append(helper.make_node("Identity", ["sum48"], ["output"]))
    initializers = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    initializers.append(numpy_helper.from_array(np.float32(0), "zero"))
    return bound_run(nodes, inputs, output, initializers, library=False)


random = np.random.default_rng(0)


def noise(*shape: int) -> Array:
    """Numbers of the size that features have."""
    return (random.standard_normal(shape, np.float32) * np.float32(0.3)).astype(np.float32)


def codec_motion(height: int, width: int) -> Array:
    """Motion as from a codec: quarter pixels, the same over blocks of 16, a pan and some that differs from it."""
    blocks = random.integers(-8, 8, (1, -(-height // 16), -(-width // 16), 2)) / 4
    blocks = np.where(random.random((*blocks.shape[:3], 1)) < 0.3, blocks * 6, blocks * 0 + [5.25, -1.5])
    return blocks.repeat(16, 1).repeat(16, 2)[:, :height, :width].astype(np.float32)


def chained_motion(height: int, width: int, frames: int = 6) -> Array:
    """Such motion joined over several frames in whole pixels: the same over a few pixels only."""
    rows, columns = np.indices((height, width))
    y, x = rows, columns
    for _ in range(frames):
        step = np.rint(codec_motion(height, width)[0, y, x]).astype(int)
        y, x = np.clip(y + step[..., 1], 0, height - 1), np.clip(x + step[..., 0], 0, width - 1)
    return np.stack([x - columns, y - rows], axis=-1)[None].astype(np.float32)


@dataclass(frozen=True)
class Setting:
    """The sizes of one published family at its usual frame size."""

    name: str
    frame: tuple[int, int]
    channels: int
    feature: tuple[int, int]
    lr_feature: tuple[int, int]
    classes: int
    upscale: int


SETTINGS = (
    Setting("bise18", (720, 960), 256, (92, 120), (48, 60), 12, 8),
    Setting("psp18", (720, 960), 64, (720, 960), (360, 480), 12, 1),
    Setting("cityscapes-psp18", (1024, 2048), 512, (128, 256), (64, 128), 19, 1),
)


def cases_of(s: Setting) -> list[Case]:
    """The operators at one family's sizes."""
    c, (h, w), n = s.channels, s.feature, s.classes
    feature, motion = noise(1, c, h, w), codec_motion(*s.frame)
    output = np.empty_like(feature)
    published = {"sampling": "published"}
    weights: dict[str, Array] = {}
    for name in ("query", "key", "value"):
        weights |= {f"{name}_weight": noise(c, 1, 3, 3), f"{name}_bias": noise(c)}
    weights |= {"head_weight": noise(n, c, 1, 1), "head_bias": noise(n)}
    lr_feature = noise(1, c, *s.lr_feature)
    scattered = (random.standard_normal((1, *s.frame, 2)) * 8).astype(np.float32)
    chained = chained_motion(*s.frame)
    logits, size = noise(1, n, h, w), np.array(s.frame)
    labels = np.empty((1, *s.frame), np.uint8)
    warp_inputs = {"feature": feature, "motion": motion}
    attention_gflops = 2 * 2 * 49 * c * h * w / 1e9
    creff_gflops = attention_gflops + 2 * (27 + n) * c * h * w / 1e9
    attention_inputs = {"query": feature, "key": noise(1, c, h, w), "value": noise(1, c, h, w)}

    def creff(motion: Array) -> Callable[[], object]:
        inputs = {"lr_feature": lr_feature, "keyframe_feature": feature, "motion": motion} | weights
        return operator_run("Creff", inputs, np.empty((1, n, h, w), np.float32), kernel_size=7, **published)

    scale, zero_point = np.array(2.4 / 255, np.float32), np.array(128, np.uint8)
    in_bytes = np.clip(np.rint(feature / scale) + zero_point, 0, 255).astype(np.uint8)
    quantised = {"feature_scale": scale, "feature_zero_point": zero_point}

    def creff_uint8(motion: Array) -> Callable[[], object]:
        inputs = {"lr_feature": lr_feature, "keyframe_feature": in_bytes, "motion": motion} | weights | quantised
        return operator_run("CreffUint8", inputs, np.empty((1, n, h, w), np.float32), kernel_size=7, **published)

    return [
        Case(f"copy {s.name}", lambda: np.copyto(output, feature)),
        Case(f"MotionWarp {s.name}", operator_run("MotionWarp", warp_inputs, output, **published)),
        Case(
            f"MotionWarp {s.name}, scattered",
            operator_run("MotionWarp", {"feature": feature, "motion": scattered}, output, **published),
        ),
        Case(
            f"MotionWarpUint8 {s.name}",
            operator_run("MotionWarpUint8", {"feature": in_bytes, "motion": motion} | quantised, output, **published),
        ),
        Case(
            f"LocalAttention {s.name}",
            operator_run("LocalAttention", attention_inputs, output, kernel_size=7),
            attention_gflops,
        ),
        Case(f"Creff {s.name}", creff(motion), creff_gflops),
        Case(f"CreffUint8 {s.name}", creff_uint8(motion), creff_gflops),
        Case(f"Creff {s.name}, chained motion", creff(chained), creff_gflops),
        Case(f"CreffUint8 {s.name}, chained motion", creff_uint8(chained), creff_gflops),
        Case(
            f"SegmentationLabels {s.name}",
            operator_run("SegmentationLabels", {"logits": logits, "size": size}, labels, upscale=s.upscale),
        ),
    ]


def image_cases() -> list[Case]:
    """Normalisation at full and at half size."""
    frame = random.integers(0, 256, (1, 720, 960, 3)).astype(np.uint8)
    attributes = {f"{kind}_{colour}": 0.4 for kind in ("mean", "std") for colour in "rgb"}
    quantised = {"image_scale": np.array(0.02, np.float32), "image_zero_point": np.array(120, np.uint8)}
    in_bytes = [
        Case(
            f"NormalizeImageUint8 to {h} x {w}",
            operator_run(
                "NormalizeImageUint8",
                {"frame": frame, "size": np.array([h, w])} | quantised,
                np.empty((1, 3, h, w), np.uint8),
                **attributes,
            ),
        )
        for h, w in ((720, 960), (360, 480))
    ]
    return in_bytes + [
        Case(
            f"NormalizeImage to {h} x {w}",
            operator_run(
                "NormalizeImage",
                {"frame": frame, "size": np.array([h, w])},
                np.empty((1, 3, h, w), np.float32),
                **attributes,
            ),
        )
        for h, w in ((720, 960), (360, 480))
    ]


def moved_cases() -> list[Case]:
    """Labels moved along, as regions with smooth edges have them, from one frame and from two that partly differ."""
    size, classes = (720, 960), 11
    blocks = blocks_of(*size)
    logits = [cv2.GaussianBlur(noise(*blocks, classes), (0, 0), 6) for _ in range(2)]
    logits[1] = logits[0] + np.float32(0.15) * logits[1]
    sources = []
    for each in logits:
        large = cv2.resize(each, size[::-1], interpolation=cv2.INTER_LINEAR)
        motion = cv2.GaussianBlur(noise(*blocks, 2), (0, 0), 2)
        weight = random.uniform(0.1, 1, blocks).astype(np.float32)
        sources.append(Moved(Seen(large.argmax(axis=2).astype(np.uint8), each), motion, weight))
    place = logits_place(size, blocks, upscale=8, align_corners=False)
    found = [moved_labels([source], classes, None)[0] for source in sources]
    apart = (found[0] != found[1]).mean()
    return [
        Case("moved labels, one frame", lambda: moved_labels(sources[:1], classes, place)),
        Case(f"moved labels, two, {apart:.0%} apart", lambda: moved_labels(sources, classes, place)),
        Case("uniform labels of a frame", lambda: uniform_labels(sources[0].seen.labels)),
    ]


def reference_cases() -> list[Case]:
    """The processor's sgemm rate, and the attention in standard operators."""
    a, b, product = noise(1536, 1536), noise(1536, 1536), np.empty((1536, 1536), np.float32)
    shape = (1, 256, 90, 120)
    inputs = {name: noise(*shape) for name in ("query", "key", "value")}
    gflops = 2 * 2 * 49 * 256 * 90 * 120 / 1e9
    return [
        Case("sgemm", lambda: np.matmul(a, b, out=product), 2 * 1536**3 / 1e9),
        Case(
            "LocalAttention 256 x 90 x 120",
            operator_run("LocalAttention", inputs, np.empty(shape, np.float32), kernel_size=7),
            gflops,
        ),
        Case("its function body", body_attention(inputs, np.empty(shape, np.float32)), gflops),
        Case(
            "the same offset by offset",
            elementwise_attention(inputs, np.empty(shape, np.float32)),
            gflops,
        ),
    ]


def measure(cases: list[Case], rounds: int) -> list[Timing]:
    """Each case once a round, after one warm-up."""
    seconds: dict[str, list[float]] = {case.name: [] for case in cases}
    for turn in range(rounds + 1):
        for case in cases:
            start = time.perf_counter()
            case.run()
            if turn:
                seconds[case.name].append(time.perf_counter() - start)
            if case.name == "sgemm":
                time.sleep(0.2)  # OpenBLAS's threads spin on for a while
    timings = []
    for case in cases:
        lower, median, upper = np.percentile(np.array(seconds[case.name]) * 1e3, [25, 50, 75])
        rate = case.gigaflops / (median / 1e3) if case.gigaflops else None
        timings.append(Timing(case.name, float(median), float(lower), float(upper), rate))
    return timings


def main() -> None:
    """Measure and print."""
    cases = [*reference_cases(), *image_cases(), *moved_cases(), *(case for s in SETTINGS for case in cases_of(s))]
    kept = [case for case in cases if options.only in case.name or case.name.startswith(("sgemm", "copy"))]
    timings = measure(kept, options.rounds)
    if options.json:
        report = {
            "threads": options.threads,
            "simd": native.state().simd,
            "cases": [asdict(t) for t in timings],
        }
        json.dump(report, sys.stdout, indent=2)
        return
    sgemm = next(t.gflops_per_second for t in timings if t.name == "sgemm") or 1.0
    copies = {t.name.removeprefix("copy "): t.median_ms for t in timings if t.name.startswith("copy ")}
    print(f"{options.threads} threads, {native.state().simd}; medians of {options.rounds}, in brackets the quartiles")
    for t in timings:
        line = f"{t.name:38} {t.median_ms:9.2f} ms  [{t.lower_quartile_ms:8.2f}, {t.upper_quartile_ms:8.2f}]"
        if t.gflops_per_second:
            line += f"  {t.gflops_per_second:6.1f} GFLOP/s = {t.gflops_per_second / sgemm:4.0%} of sgemm"
        for name, copy in copies.items():
            if t.name.startswith(f"MotionWarp {name}"):
                line += f"  {t.median_ms / copy:5.2f} x copy"
        print(line)


if __name__ == "__main__":
    main()

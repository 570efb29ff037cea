"""What a person with a CPU would take instead of us: tools that run a network on every frame, and HR's labels moved.

    python -m venv peers && peers/bin/pip install ".[cpu]" onnx openvino ncnn pnnx
    peers/bin/python benchmarks/peers.py VIDEO -m model.arseg --int8 model-int8.arseg

Every way goes from the packets of the same video to uint8 labels at its full size, on the same number of threads. Each
lives in a process of its own, which loads its model and then segments the whole video whenever it is its turn: the ways
take turns for ``--rounds`` rounds, and what counts is the median. *Agreement* is the share of pixels that have the
label of the float network on every frame in ONNX Runtime. *Memory* is the most that the process ever held. Peers run
the bundle's own graph of the HR network, in standard operators alone; ncnn has its convolutions, and OpenCV and NumPy
make the labels. The machine must be idle.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from arseg_edge.bundle import read_bundle

Labels = npt.NDArray[np.uint8]
Segment = Callable[[], Iterator[Labels]]
"""Segments the video once."""

EVERY = (3, 8)
"""HR sees a frame every so many, and its labels are moved to the others."""


@dataclass(frozen=True)
class Peer:
    """A way of segmenting the video; ``tool`` and ``settings`` tell its process how."""

    name: str
    tool: str
    bundle: Path
    settings: dict[str, Any] = field(default_factory=dict)


def peers(model: Path, int8: Path | None, others: dict[str, Path]) -> list[Peer]:
    """Return all ways; the first is what the others are compared with."""
    precisions = {"float32": model} | ({} if int8 is None else {"int8": int8})
    found = [Peer(f"ONNX Runtime {name}, every frame", "onnxruntime", path) for name, path in precisions.items()]
    found += [Peer(f"OpenVINO {name}, every frame", "openvino", path) for name, path in precisions.items()]
    found += [Peer("OpenVINO bfloat16, every frame", "openvino", model, {"precision": "bf16"})]
    found += [Peer("ncnn float32, every frame", "ncnn", model)]
    found += [Peer(f"{name}, ONNX Runtime, every frame", "onnxruntime", path) for name, path in others.items()]
    for name, path in precisions.items():
        live = {"lookahead": False}
        found += [
            Peer(
                f"HR every {k} frames, labels moved, {name}", "arseg-edge", path, {"interval": k, "tolerance": 1} | live
            )
            for k in EVERY
        ]
        found += [
            Peer(f"`paper`, {name}", "arseg-edge", path, {"schedule": "paper"}),
            Peer(f"`adaptive`, live, {name}", "arseg-edge", path, live),
            Peer(f"`adaptive`, file, {name}", "arseg-edge", path),
        ]
    half = {"schedule": "paper", "interval": 1, "half": True}
    return [*found, Peer("half the size, every frame, float32", "arseg-edge", model, half)]


def frames_of(video: Path) -> Iterator[npt.NDArray[np.uint8]]:
    """Decode as anybody would: uint8 [H, W, 3] RGB."""
    import av

    with av.open(str(video)) as container:
        container.streams.video[0].thread_type = "AUTO"
        for frame in container.decode(video=0):
            yield frame.to_ndarray(format="rgb24")


def plain_graph(bundle: Path) -> Any:
    """Return the HR network as an ONNX model of standard operators alone."""
    import onnx
    from onnx.inliner import inline_local_functions

    return inline_local_functions(onnx.load_from_string(read_bundle(bundle).read("keyframe.onnx")))


def feeds(names: set[str], frame: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[Any]]:
    """Return what the graph takes: the frame, the labels' size, and that nobody asks for the confidence."""
    sizes = {"labels_size": np.array(frame.shape[:2], np.int64), "confidence_size": np.zeros(2, np.int64)}
    return {"frame": frame[None]} | {name: value for name, value in sizes.items() if name in names}


def with_onnxruntime(peer: Peer, video: Path, threads: int) -> Segment:
    """Run the graph in ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(plain_graph(peer.bundle).SerializeToString(), options)
    names = {each.name for each in session.get_inputs()}

    def segment() -> Iterator[Labels]:
        for frame in frames_of(video):
            (labels,) = session.run(["labels"], feeds(names, frame))
            yield labels[0]

    return segment


def with_openvino(peer: Peer, video: Path, threads: int) -> Segment:
    """Run the graph in OpenVINO."""
    import openvino

    core = openvino.Core()
    frame = next(frames_of(video))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "keyframe.onnx"
        path.write_bytes(plain_graph(peer.bundle).SerializeToString())
        model = core.read_model(path)
    # Sizes that stand fast are what a person would give, and what OpenVINO is fastest with.
    model.reshape({"frame": [1, *frame.shape]})
    hints = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": peer.settings.get("precision", "f32")}
    compiled = core.compile_model(model, "CPU", hints)
    names = {name for each in compiled.inputs for name in each.names}
    request = compiled.create_infer_request()

    def segment() -> Iterator[Labels]:
        for frame in frames_of(video):
            request.infer(feeds(names, frame))
            yield np.asarray(request.get_tensor("labels").data[0], np.uint8).copy()

    return segment


def folded(graph: Any, size: tuple[int, ...]) -> Any:
    """Return the graph for frames of one size, with all that follows from it computed."""
    import onnx
    import onnxruntime

    (frame,) = (each for each in graph.graph.input if each.name == "frame")
    for dimension, length in zip(frame.type.tensor_type.shape.dim, (1, *size), strict=True):
        dimension.dim_value = length
    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(Path(folder) / "folded.onnx")
        onnxruntime.InferenceSession(graph.SerializeToString(), options)
        return onnx.load(options.optimized_model_filepath)


def with_ncnn(peer: Peer, video: Path, threads: int) -> Segment:
    """Run the convolutions in ncnn; OpenCV and NumPy do the rest."""
    import cv2
    import ncnn
    import onnx
    from onnx.utils import Extractor

    manifest = read_bundle(peer.bundle).manifest
    first = next(frames_of(video))
    graph = folded(plain_graph(peer.bundle), first.shape)
    head = next(node for node in graph.graph.node if node.op_type == "Conv")
    core = Extractor(onnx.shape_inference.infer_shapes(graph)).extract_model([head.input[0]], ["logits"])
    shape = [1, 3, *first.shape[:2]]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "core.onnx"
        onnx.save(core, path)
        subprocess.run(
            [Path(sys.executable).with_name("pnnx"), path, f"inputshape=[{','.join(map(str, shape))}]", "fp16=0"],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=folder,
        )
        net = ncnn.Net()
        net.opt.num_threads = threads
        net.load_param(str(Path(folder) / "core.ncnn.param"))
        net.load_model(str(Path(folder) / "core.ncnn.bin"))
    mean = [255 * value for value in manifest.normalisation.mean]
    scale = [1 / (255 * value) for value in manifest.normalisation.std]

    def segment() -> Iterator[Labels]:
        for frame in frames_of(video):
            height, width = frame.shape[:2]
            image = ncnn.Mat.from_pixels(frame, ncnn.Mat.PixelType.PIXEL_RGB, width, height)
            image.substract_mean_normalize(mean, scale)
            extractor = net.create_extractor()
            extractor.input("in0", image)
            logits = np.asarray(extractor.extract("out0")[1]).transpose(1, 2, 0)
            yield cv2.resize(logits, (width, height)).argmax(-1).astype(np.uint8)

    return segment


def with_arseg_edge(peer: Peer, video: Path, threads: int) -> Segment:
    """Run ours."""
    import arseg_edge

    settings = dict(peer.settings)
    if settings.pop("half", False):
        height, width = next(frames_of(video)).shape[:2]
        settings["size"] = (height // 2, width // 2)
    segmenter = arseg_edge.load(peer.bundle, providers="cpu", threads=threads, **settings)
    return lambda: (result.labels for result in segmenter.stream(video))


TOOLS: dict[str, Callable[[Peer, Path, int], Segment]] = {
    "onnxruntime": with_onnxruntime,
    "openvino": with_openvino,
    "ncnn": with_ncnn,
    "arseg-edge": with_arseg_edge,
}


def work(peer: Peer, video: Path, threads: int) -> None:
    """Segment the video whenever a line comes, which names a file for the labels or is empty; answer with a line."""
    segment = TOOLS[peer.tool](peer, video, threads)
    for line in sys.stdin:
        keep = line.strip()
        start = perf_counter()
        made = [labels.copy() if keep else labels.shape for labels in segment()]
        seconds = perf_counter() - start
        if keep:
            np.save(keep, np.stack(made))
        megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"milliseconds": 1e3 * seconds / len(made), "megabytes": megabytes}), flush=True)


class Worker:
    """The process of one way."""

    def __init__(self, peer: Peer, video: Path, threads: int) -> None:
        told = {"name": peer.name, "tool": peer.tool, "bundle": str(peer.bundle), "settings": peer.settings}
        command = [sys.executable, __file__, str(video), "--threads", str(threads), "--worker", json.dumps(told)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def turn(self, keep: Path | None = None) -> dict[str, float]:
        """Segment the video once; raises ``RuntimeError`` where the process ended."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(f"{keep or ''}\n")
        stdin.flush()
        answer = _last_line(stdout)
        if not answer:
            raise RuntimeError(f"the process ended with {self._process.wait()}")
        report: dict[str, float] = json.loads(answer)
        return report

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()


def _last_line(stdout: IO[str]) -> str:
    """Return the next line that is a report: some tools greet on standard output."""
    for line in stdout:
        if line.startswith('{"milliseconds"'):
            return line
    return ""


def table(rows: dict[str, dict[str, Any]]) -> str:
    """Return the table; ratios are to the first row."""
    lines = ["| | ms a frame | times as fast | as HR, % | memory, MB |", "| --- | --- | --- | --- | --- |"]
    base = next(iter(rows.values()))["milliseconds"]
    for name, row in rows.items():
        if "failed" in row:
            lines.append(f"| {name} | {row['failed']} | | | |")
        else:
            ratio = base / row["milliseconds"]
            cells = f"{row['milliseconds']:.1f} | {ratio:.2f} | {row['agreement']:.1f} | {row['megabytes']:.0f}"
            lines.append(f"| {name} | {cells} |")
    return "\n".join(lines)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("-m", "--model", type=Path)
    parser.add_argument("--int8", type=Path, help="the same, by `arseg-edge quantize`")
    parser.add_argument(
        "--other", action="append", default=[], metavar="NAME=BUNDLE", help="another network, every frame"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", action="append", help="ways whose names contain this; the first always runs")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker is not None:
        told = json.loads(given.worker)
        work(Peer(told["name"], told["tool"], Path(told["bundle"]), told["settings"]), given.video, given.threads)
        return
    if given.model is None:
        from arseg_edge.demo import demo_bundle

        given.model = demo_bundle()
    others = {name: Path(path) for name, _, path in (each.partition("=") for each in given.other)}
    chosen = peers(given.model, given.int8, others)
    if given.only:
        chosen = [peer for peer in chosen if peer is chosen[0] or any(part in peer.name for part in given.only)]
    rows = measure(chosen, given.video, given.threads, given.rounds)
    print(json.dumps(rows, indent=2) if given.json else table(rows))


def measure(chosen: list[Peer], video: Path, threads: int, rounds: int) -> dict[str, dict[str, Any]]:
    """Let all ways take turns; the round in which labels are kept warms up, and is not counted."""
    rows: dict[str, dict[str, Any]] = {}
    workers: dict[str, Worker] = {}
    with tempfile.TemporaryDirectory(prefix="peers-") as folder:
        kept = Path(folder) / "labels.npy"
        truth: npt.NDArray[np.uint8] | None = None
        try:
            for peer in chosen:
                worker = Worker(peer, video, threads)
                try:
                    worker.turn(kept)
                    labels = np.load(kept)
                    truth = labels if truth is None else truth
                    rows[peer.name] = {"times": [], "agreement": 100 * float((labels == truth).mean())}
                    workers[peer.name] = worker
                except (RuntimeError, ValueError) as error:
                    rows[peer.name] = {"failed": f"failed: {error}"}
                    worker.close()
                print(f"{peer.name}: ready", file=sys.stderr)
            for _ in range(rounds):
                for name, worker in workers.items():
                    report = worker.turn()
                    rows[name]["times"].append(report["milliseconds"])
                    rows[name]["megabytes"] = report["megabytes"]
        finally:
            for worker in workers.values():
                worker.close()
    for name in workers:
        rows[name]["milliseconds"] = median(rows[name].pop("times"))
    return rows


if __name__ == "__main__":
    main()

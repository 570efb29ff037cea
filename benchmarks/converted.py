"""How much faster a converted model is on a video than the model itself on every frame, and how far they agree.

    python benchmarks/converted.py MODEL.onnx BUNDLE.arseg VIDEO [--size 720x960] [--frames 49] [--rounds 3]

The model runs in a bare session of ONNX Runtime on pictures that are ready for it; neither decoding nor preparing
counts. The bundle made of it by ``arseg-edge convert`` segments the video by the adaptive schedule, decoding and all
else included. Both have the same threads and take turns; figures are medians over the rounds, the ratio that of
medians. Agreement is the share of pixels whose label is the one that the bundle's HR gives on every frame.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

import av
import numpy as np
import onnxruntime

import arseg_edge
from arseg_edge.bundle import read_bundle
from arseg_edge.export.convert.given_model import read_model
from arseg_edge.export.convert.image_input import image_input
from arseg_edge.export.convert.reference import prepared


def resized_video(video: Path, size: tuple[int, int], frames: int, folder: Path) -> Path:
    """Write the first frames of a video at another size, as H.264 of 3 Mbit/s."""
    target = folder / "video.mp4"
    with av.open(str(video)) as given, av.open(str(target), "w") as made:
        stream = made.add_stream("libx264", rate=given.streams.video[0].average_rate)
        stream.height, stream.width = size
        stream.bit_rate, stream.pix_fmt = 3_000_000, "yuv420p"
        for index, frame in enumerate(given.decode(video=0)):
            if index == frames:
                break
            picture = frame.reformat(width=size[1], height=size[0], format="yuv420p")
            picture.pts = None
            made.mux(stream.encode(picture))
        made.mux(stream.encode())
    return target


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("video", type=Path)
    parser.add_argument("--size", help="height x width that the video is brought to first, such as 720x960")
    parser.add_argument("--frames", type=int, default=49)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--time-only", action="store_true", help="no agreement, for which HR runs on every frame")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        video = given.video
        if given.size is not None:
            height, width = map(int, given.size.split("x"))
            video = resized_video(video, (height, width), given.frames, Path(folder))
        print(json.dumps(measure(given, video), indent=2))


def measure(given: argparse.Namespace, video: Path) -> dict[str, Any]:
    """Return the figures."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = given.threads
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(str(given.model), options, ["CPUExecutionProvider"])
    rule = read_bundle(given.bundle).manifest.converted
    assert rule is not None
    picture = image_input(read_model(given.model), None)
    common = {"providers": "cpu", "threads": given.threads}
    with (
        arseg_edge.load(given.bundle, **common) as adaptive,
        arseg_edge.load(given.bundle, lookahead=False, **common) as live,
        arseg_edge.load(given.bundle, schedule="paper", interval=1, **common) as every,
    ):
        truth = []
        for result in every.stream(str(video)):
            if not truth:
                image = prepared(result.rgb, rule, picture)[0]
            truth.append(result.labels)
            if given.time_only or len(truth) == given.frames:
                break
        alone, agreement, branches = [], {}, {}
        times: dict[str, list[float]] = {"adaptive": [], "adaptive, live": []}
        for number in range(given.rounds + 1):
            start = perf_counter()
            session.run([rule.output], {picture.name: image})
            alone.append((perf_counter() - start) * 1e3)
            for name, segmenter in (("adaptive", adaptive), ("adaptive, live", live)):
                results = []
                start = perf_counter()
                with segmenter.stream(str(video)) as stream:
                    for result in stream:
                        results.append(result.detach())
                        if len(results) == given.frames:
                            break
                milliseconds = (perf_counter() - start) * 1e3 / len(results)
                if number:  # the first round warms up
                    times[name].append(milliseconds)
                same = [float(np.mean(a.labels == b)) for a, b in zip(results, truth, strict=not given.time_only)]
                agreement[name] = None if given.time_only else round(100 * statistics.fmean(same), 2)
                branches[name] = sum(each.branch == "hr" for each in results) / len(results)
    bare = statistics.median(alone[1:])
    return {
        "model": given.model.name,
        "frames": len(results),
        "size": list(truth[0].shape),
        "threads": given.threads,
        "alone_ms": round(bare, 1),
        **{
            name: {
                "ms": round(statistics.median(each), 1),
                "faster": round(bare / statistics.median(each), 2),
                "agreement": agreement[name],
                "hr": round(branches[name], 3),
            }
            for name, each in times.items()
        },
    }


if __name__ == "__main__":
    main()

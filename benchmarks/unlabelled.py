"""What ``train lr --videos`` comes to: on a video of which nothing is labelled, and beside training with labels.

    python benchmarks/unlabelled.py video drive.mp4 --output runs/unlabelled
    python benchmarks/unlabelled.py stills CAMVID --output runs/unlabelled

The teacher is the HR network of the demo model.

``video`` goes on from the demo model's LR, on the first two thirds of a video, as they were encoded, and measures on
the last third how far AR agrees with HR, by the distance from the keyframe and at every alignment of the keyframes;
beside it the demo model.

``stills`` trains LR twice from the same start, for the same number of steps. Once with labels, on CamVid's stills as
the demo model did (without the drawn streets). Once without any: the same stills become short videos, two of each, by
the simulated camera and, a quarter of them, by optical flow from the still before; but without cut-out things, for
which labels are needed. Both are measured on the CamVid clip, which has no part in either, as
``arseg-edge eval CAMVID --split val`` does.
"""

from __future__ import annotations

import argparse
import json
import time
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import numpy as np

from arseg_edge.bundle import read_bundle
from arseg_edge.datasets import Dataset, open_dataset, without
from arseg_edge.datasets.between import frames_between
from arseg_edge.datasets.camera import simulate_clip
from arseg_edge.datasets.encode import Encoding, encode_clip
from arseg_edge.demo import demo_bundle
from arseg_edge.evaluation.bundle_predictor import BundlePredictor
from arseg_edge.evaluation.by_distance import AR, HR, evaluate
from arseg_edge.evaluation.clips import From
from arseg_edge.export import export_bundle
from arseg_edge.runtime.read_motion import motion_frames
from arseg_edge.runtime.source.open_source import open_source
from arseg_edge.training.settings import LrSettings
from arseg_edge.training.train import Watcher, train_lr
from arseg_edge.training.values import DataSource

INTERVAL = 12
BESIDE_THE_CLIP = r"0016E5_0(7[89]|8[012])\d+"


def train(settings: LrSettings, folder: Path, half: bool = True) -> Path:
    """Train, export with the teacher, and return the bundle; say what it took."""
    start, used = time.monotonic(), time.process_time()
    outcome = train_lr(settings, folder, watcher=Watcher(on_row=lambda row: print(row, flush=True)))
    print(
        f"{folder.name}: {(time.monotonic() - start) / 60:.1f} min, {(time.process_time() - used) / 60:.1f} min of CPU "
        f"time without that of other processes; {outcome.measure} {outcome.score:.2f}",
        flush=True,
    )
    bundle = folder / f"{folder.name}.arseg"
    export_bundle("edge", hr=demo_bundle(), lr=outcome.best, out=bundle, half_weights=half)
    return bundle


def cut(video: Path, frames: int, out: Path) -> None:
    """Copy the first frames of a video, which has no B-frames, as they were encoded."""
    with av.open(str(video)) as source, av.open(str(out), "w") as target:
        stream = source.streams.video[0]
        copied = target.add_stream_from_template(stream)
        for packet in islice((each for each in source.demux(stream) if each.dts is not None), frames):
            packet.stream = copied
            target.mux(packet)


def agreement(bundle: Path, video: Path, first: int) -> np.ndarray:
    """Return the share of pixels that AR labels as HR does, by distance, in percent, from frame ``first`` on."""
    predictor = BundlePredictor(read_bundle(bundle), threads=2)
    alike, pixels = np.zeros(INTERVAL), np.zeros(INTERVAL)
    hr: dict[int, np.ndarray] = {}
    for shift in range(INTERVAL):
        with open_source(video) as source:
            for frame in motion_frames(From(source, first + shift), INTERVAL, predictor.chaining, guards=None):
                if frame.index not in hr:
                    hr[frame.index] = predictor.hr(frame.rgb)
                if frame.motion is None:
                    predictor.keyframe(frame.rgb)
                    continue
                labels = predictor.ar(frame.rgb, frame.motion)
                alike[frame.distance] += (labels == hr[frame.index]).sum()
                pixels[frame.distance] += labels.size
    return 100 * alike[1:] / pixels[1:]


def on_video(given: argparse.Namespace) -> None:
    """Train on the first two thirds, measure on the last."""
    with open_source(given.source) as source:
        count = sum(1 for _ in source.frames())
    part = given.output / f"{given.source.stem}-two-thirds.mp4"
    part.parent.mkdir(parents=True, exist_ok=True)
    if not part.exists():
        cut(given.source, 2 * count // 3, part)
    settings = LrSettings.of(
        videos=(DataSource(part),),
        hr=demo_bundle(),
        start=demo_bundle(),
        learning_rate=1.5e-3,
        epochs=given.epochs,
        precision=given.precision,
        threads=given.threads,
    )
    bundle = train(settings, given.output / "video")
    for name, each in (("demo", demo_bundle()), ("trained without labels", bundle)):
        found = agreement(each, given.source, 2 * count // 3)
        print(f"{name}: distances 1 to 11 {found.mean():.2f} %, {json.dumps(found.round(2).tolist())}", flush=True)


def write_videos(dataset: Dataset, folder: Path, seed: int = 0) -> None:
    """Make two videos of each still, like the clips that training with labels makes."""
    folder.mkdir(parents=True, exist_ok=True)
    encoding = Encoding("libx264", 1_500_000, INTERVAL, Fraction(15))
    for place, still in enumerate(dataset.sequences):
        image, before = next(still.read_frames()), dataset.before(still)
        for number in range(2):
            path = folder / f"{still.name}-{number}.mkv"
            if path.exists():
                continue
            rng = np.random.default_rng((seed, place, number))
            if before is not None and rng.random() < LrSettings.neighbours:
                frames = frames_between(next(before.read_frames()), image, INTERVAL - 1)
            else:
                frames = simulate_clip(image, INTERVAL, rng, int(rng.integers(INTERVAL))).frames
            encode_clip(frames, path, encoding)


def on_stills(given: argparse.Namespace) -> None:
    """Train with labels and without, measure on the clip."""
    dataset = without(open_dataset(given.source, "train"), [BESIDE_THE_CLIP])
    write_videos(dataset, given.output / "stills")
    common = {"hr": demo_bundle(), "precision": given.precision, "threads": given.threads, "processes": given.threads}
    labelled = LrSettings.of(
        data=(DataSource(given.source, "train"),),
        exclude=(BESIDE_THE_CLIP,),
        hold_out=15,
        hold_together=3,
        epochs=2 * given.epochs,
        variants=(2,),
        **common,
    )
    # There are twice as many videos as stills.
    unlabelled = LrSettings.of(
        videos=(DataSource(given.output / "stills"),),
        hold_out=15,
        hold_together=6,
        epochs=given.epochs,
        variants=(4,),
        **common,
    )
    for name, settings in (("with labels", labelled), ("without labels", unlabelled)):
        bundle = train(settings, given.output / name.replace(" ", "-"))
        report = evaluate(
            BundlePredictor(read_bundle(bundle), threads=2),
            open_dataset(given.source, "val"),
            Encoding("libx264", 1_500_000, INTERVAL, Fraction(15)),
        )
        ar, hr = report.methods[AR], report.methods[HR]
        print(
            f"{name}: HR {hr.mean:.2f}, AR {ar.mean:.2f}, distances 1 to 11 {ar.mean_after_keyframe:.2f}, "
            f"distance 11 {ar.by_distance[-1]:.2f}",
            flush=True,
        )


def main() -> None:
    """Train and measure, a line for each result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("video", "stills"))
    parser.add_argument("source", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--epochs", type=int, help="default: 300 for a video, 2 for stills (4 with labels)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", choices=("bfloat16", "float32"), default="float32")
    given = parser.parse_args()
    given.epochs = given.epochs or {"video": 300, "stills": 2}[given.what]
    {"video": on_video, "stills": on_stills}[given.what](given)


if __name__ == "__main__":
    main()

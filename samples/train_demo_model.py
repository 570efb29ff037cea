"""Trains the demo model, ``arseg_edge/demo.arseg``: from data to a bundle, in one command.

    python samples/train_demo_model.py CAMVID --output runs

``CAMVID`` is a folder with ``train/`` and ``trainannot/`` (the SegNet tutorial's 480×360 images). Streets are
drawn beside them, HR is trained, then LR + CReFF with HR as its teacher, and the two are exported. On two cores
with bfloat16 instructions (AVX-512 or AMX) it takes little more than an hour; on others give ``--precision float32``
and more time. Stopped at any moment, the same command goes on where it was.

The nine stills beside the clip that the model is measured on are left out; of the others three in a row of every 45
choose the weights, so that they have neighbours that were not trained on either. The clip itself has no part in it:
``arseg-edge eval CAMVID --split val`` measures.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import cv2
from draw_street import FRAME_RATE, draw_street

from arseg_edge.export import export_bundle
from arseg_edge.palette import CAMVID_11
from arseg_edge.training.settings import HrSettings, LrSettings
from arseg_edge.training.train import Watcher, train_hr, train_lr
from arseg_edge.training.values import DataSource

# Other seeds than that of the sample video.
STREETS = range(1000, 1120)
FRAMES, LABELLED = 12, (5, 11)
BESIDE_THE_CLIP = r"0016E5_0(7[89]|8[012])\d+"


def draw_clip(folder: Path, seed: int) -> None:
    """Draw one street as images, with the labels of some of its frames, in the plain layout."""
    name = f"street-{seed:04d}"
    for kind in ("clips", "labels"):
        (folder / kind / name).mkdir(parents=True, exist_ok=True)
    for index, (rgb, labels) in enumerate(draw_street(seed, FRAMES)):
        cv2.imwrite(str(folder / "clips" / name / f"{index:06d}.png"), cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
        if index in LABELLED:
            cv2.imwrite(str(folder / "labels" / name / f"{index:06d}.png"), labels)


def draw_streets(folder: Path) -> None:
    """Draw all of them, and say what the labels mean; a data set that is there already is kept."""
    description = folder / "dataset.yaml"
    if description.exists():
        return
    with ProcessPoolExecutor() as pool:
        list(pool.map(partial(draw_clip, folder), STREETS))
    classes = zip(CAMVID_11.names, CAMVID_11.colours, strict=True)
    lines = ["classes:", *(f"  {name}: {list(colour)}" for name, colour in classes), f"frame_rate: {FRAME_RATE}"]
    description.write_text("\n".join(lines) + "\n")


def main() -> None:
    """Draw, train HR, train LR + CReFF, export."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("camvid", type=Path)
    parser.add_argument("--output", type=Path, default=Path("runs"))
    parser.add_argument("--precision", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--hr-epochs", type=int, default=220)
    parser.add_argument("--lr-epochs", type=int, default=24)
    given = parser.parse_args()

    streets = given.output / "streets"
    draw_streets(streets)

    def mixed(share: float) -> tuple[DataSource, ...]:
        return DataSource(given.camvid, "train", 1 - share), DataSource(streets, None, share)

    common = {
        "exclude": (BESIDE_THE_CLIP,),
        "hold_out": 15,
        "hold_together": 3,
        "precision": given.precision,
    }
    watcher = Watcher(on_row=lambda row: print(row, flush=True))
    hr_settings = HrSettings.of(data=mixed(0.2), variants=(6, 2), epochs=given.hr_epochs, **common)
    hr = train_hr(hr_settings, given.output / "hr", watcher=watcher)
    # In the streets many things move: the more of them, the better LR + CReFF does at a distance.
    lr_settings = LrSettings.of(
        data=mixed(0.3), variants=(8, 2), validation_variants=4, epochs=given.lr_epochs, hr=hr.best, **common
    )
    lr = train_lr(lr_settings, given.output / "lr", watcher=watcher)
    bundle = given.output / "demo.arseg"
    print(export_bundle("edge", hr=hr.best, lr=lr.best, out=bundle, half_weights=True))


if __name__ == "__main__":
    main()

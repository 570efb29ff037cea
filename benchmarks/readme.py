"""Makes the README's figures and its picture: ``python benchmarks/readme.py --clip ../shared/camvid/val``.

The clip's images are scaled to 960×720 and encoded as H.264 (keyframe every 12 frames, no B-frames, 3 Mbit/s); the
bundles have the published layout with weights that depend on names and shapes alone (``tests/reference/fill.py``),
since speed does not depend on what was learnt. Takes a quarter of an hour on two cores, which must be idle.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import subprocess
import sys
from pathlib import Path

import av
import cv2
import numpy as np

ROOT = Path(__file__).parent.parent
REFERENCE = ROOT / "tests" / "reference"
FAMILIES = ("camvid-bise18", "camvid-psp18")
SIZE = (720, 960)


def encode(folder: Path, path: Path) -> None:
    with av.open(str(path), "w") as container:
        options = {"g": "12", "keyint_min": "12", "bf": "0", "refs": "1", "sc_threshold": "0"}
        stream = container.add_stream("libx264", rate=30, options=options)
        stream.height, stream.width = SIZE
        stream.pix_fmt, stream.bit_rate = "yuv420p", 3_000_000
        for image in sorted(folder.glob("*.png")):
            picture = cv2.resize(cv2.imread(str(image)), SIZE[::-1], interpolation=cv2.INTER_CUBIC)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
        container.mux(stream.encode())


def export(family: str, path: Path) -> None:
    sys.path.insert(0, str(REFERENCE))
    from fill import fill_state_dict

    from arseg_edge.export import export_bundle

    keys = json.loads((REFERENCE / f"{family}.keys.json").read_text())
    hr, lr = fill_state_dict(keys["hr"], seed=0), fill_state_dict(keys["ar"], seed=1)
    export_bundle(family, hr=hr, lr=lr, out=path, size=SIZE)


def bench(bundle: Path, clip: Path, rounds: int) -> dict[str, object]:
    command = [Path(sys.executable).with_name("arseg-edge"), "bench", str(clip), "-m", str(bundle), "--json"]
    out = subprocess.run([*command, "--rounds", str(rounds), "--threads", "2"], check=True, capture_output=True)
    report: dict[str, object] = json.loads(out.stdout)
    return report


def table(reports: dict[str, dict]) -> str:
    rows = {
        "HR on every frame, ms a frame": lambda r: f"{r['end_to_end']['hr']['median']:.0f}",
        "HR + LR + CReFF, ms a frame": lambda r: f"{r['end_to_end']['ar']['median']:.0f}",
        "**ratio** (arithmetic alone: 3.0)": lambda r: f"**{r['ratio']:.2f}**",
        "share of the arithmetic bound": lambda r: f"{r['share_of_bound']:.0%} of {r['bound']:.2f}",
        "CReFF, last layer and labels, share of the LR network": lambda r: f"{r['beside_lr']:.1%}",
        "without the native library, ms a frame": lambda r: f"{r['end_to_end']['ar bodies']['median']:.0f}",
        "decoding, motion, conversion not overlapped": lambda r: f"{r['exposed']:.1%} of the time",
        "peak memory of the process": lambda r: f"{r['peak_megabytes'] / 1e3:.2f} GB",
        "from import to loaded": lambda r: f"{r['startup_seconds']:.2f} s",
    }
    lines = [f"| 960×720, 2 threads, interval 12 | {' | '.join(reports)} |", "| --- |" + " --- |" * len(reports)]
    lines += [f"| {name} | {' | '.join(cell(report) for report in reports.values())} |" for name, cell in rows.items()]
    return "\n".join(lines)


def processor() -> str:
    found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    return found.group(1) if found else platform.processor()


def write_figures(text: str) -> None:
    readme = ROOT / "README.md"
    head, rest = readme.read_text().split("<!-- figures", 1)
    command, tail = rest.split("-->", 1)
    _, after = tail.split("<!-- end of figures -->", 1)
    readme.write_text(f"{head}<!-- figures{command}-->\n{text}\n<!-- end of figures -->{after}")


def draw_picture(index: int = 40) -> None:
    import arseg_edge

    with arseg_edge.load() as segmenter:
        results = segmenter.stream(ROOT / "samples" / "street.mp4")
        result = next(each for each in results if each.index == index)
        results.close()
        colours = np.array([each.colour for each in segmenter.classes], np.uint8)[result.labels]
    overlay = cv2.addWeighted(result.rgb, 0.4, colours, 0.6, 0)
    (ROOT / "docs").mkdir(exist_ok=True)
    both = np.hstack([result.rgb, overlay])
    cv2.imwrite(str(ROOT / "docs" / "street.png"), cv2.cvtColor(both, cv2.COLOR_RGB2BGR))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clip", type=Path, default=ROOT.parent / "shared" / "camvid" / "val")
    parser.add_argument(
        "--work", type=Path, default=ROOT / "build" / "figures", help="Where clip and bundles are kept."
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--picture-only", action="store_true")
    given = parser.parse_args()
    draw_picture()
    if given.picture_only:
        return
    given.work.mkdir(parents=True, exist_ok=True)
    clip = given.work / "clip.mp4"
    if not clip.exists():
        encode(given.clip, clip)
    reports = {}
    for family in FAMILIES:
        bundle = given.work / f"{family}.arseg"
        if not bundle.exists():
            export(family, bundle)
        reports[family] = bench(bundle, clip, given.rounds)
    (given.work / "reports.json").write_text(json.dumps(reports, indent=2))
    note = f"`python benchmarks/readme.py`, on {processor()}; medians of {given.rounds} rounds, variants taking turns."
    write_figures(f"{note}\n\n{table(reports)}")


if __name__ == "__main__":
    main()

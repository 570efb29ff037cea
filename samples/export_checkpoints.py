"""Turn two checkpoints into one bundle, and print how well ONNX Runtime agrees with PyTorch.

    python export_checkpoints.py HR.pth LR.pth street.arseg --scale 0.5 --size 720 960

Needs the export side: pip install "arseg-edge[cpu,export]"
"""

from __future__ import annotations

import argparse

from arseg_edge.export import export_bundle


def main() -> None:
    """Read the command line, export, and print the figures that the bundle keeps."""
    parser = argparse.ArgumentParser(description="Export a bundle.")
    parser.add_argument("hr", help="checkpoint of the HR network, .pth or .safetensors")
    parser.add_argument("lr", help="checkpoint of the LR network with CReFF")
    parser.add_argument("bundle", help="NAME.arseg")
    parser.add_argument("--scale", type=float, default=0.5, help="of the LR network, as it was trained")
    parser.add_argument("--size", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"), help="leave out for any size")
    given = parser.parse_args()

    bundle = export_bundle(
        None,  # the family is recognised from the weights' names
        hr=given.hr,
        lr=given.lr,
        out=given.bundle,
        size=tuple(given.size) if given.size else None,
        scale=given.scale,
    )
    for figure in bundle.parity:
        print(f"{figure.member:20} {figure.stage:12} {figure.input:12} {figure.error:.1e}")


if __name__ == "__main__":
    main()

"""Draws the schedules of backpropagation, GPipe and Associated Learning next to each other.

    python -m al_jax.schedule [--components K] [--devices P] [--micro-batches M] [--per-update N] [--output FILE]

Each component's forward pass takes one unit of time and its backward pass two; a device works on one micro-batch of
one component at a time. Transfers between devices and the optimizer's step take none.
"""

import argparse
from pathlib import Path

from al_jax.schedule import associated, backprop, draw, gpipe


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m al_jax.schedule", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--components", type=int, default=4, metavar="K", help="of the network; 4 by default")
    parser.add_argument("--devices", type=int, default=4, metavar="P", help="4 by default")
    parser.add_argument("--micro-batches", type=int, default=8, metavar="M", help="8 by default")
    gpipe_alone = "micro-batches in an update of GPipe, which divides --micro-batches; 4 by default"
    parser.add_argument("--per-update", type=int, default=4, metavar="N", help=gpipe_alone)
    parser.add_argument("--output", default="schedule.png", metavar="FILE", help="a PNG file; schedule.png by default")
    args = parser.parse_args()
    if Path(args.output).suffix.lower() != ".png":
        parser.error(f"--output is {args.output}: it is drawn as PNG, so give a name that ends in .png")
    sizes = args.components, args.devices, args.micro_batches
    try:
        schedules = {
            "Backpropagation": backprop(*sizes),
            "GPipe": gpipe(*sizes, args.per_update),
            "Associated Learning": associated(*sizes),
        }
    except ValueError as error:
        parser.error(str(error))
    try:
        draw(schedules, args.output)
    except OSError as error:
        parser.error(f"cannot write {args.output} ({error.strerror}): choose another --output")
    print(args.output)


if __name__ == "__main__":
    main()

"""Draws the schedules of backpropagation, GPipe and Associated Learning next to each other.

python -m al_jax.schedule [--components K] [--devices P] [--micro-batches M] [--per-update N] [--output FILE]
"""

import argparse

from al_jax.schedule import associated, backprop, draw, gpipe


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m al_jax.schedule", description="Draws the schedules of backprop, GPipe and Associated Learning."
    )
    parser.add_argument("--components", type=int, default=4)
    parser.add_argument("--devices", type=int, default=4)
    parser.add_argument("--micro-batches", type=int, default=8)
    parser.add_argument("--per-update", type=int, default=4, help="micro-batches in an update of GPipe")
    parser.add_argument("--output", default="schedule.png", help="where the PNG goes")
    args = parser.parse_args()
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


if __name__ == "__main__":
    main()

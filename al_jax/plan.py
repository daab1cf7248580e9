"""Plans a pipeline ahead of time and without its devices.

    python -m al_jax.plan --devices=P [--config=configs/X.py[:VARIANT]] [--config.FIELD=VALUE ...] [--memory=16GiB]
                          [--measure] [--picture=FILE] [--json=FILE]

Costs are floating-point operations as XLA counts them, compiled for the CPU and never run; with --measure they are
times of every component's update on this machine's first device. Prints what every stage does, needs and sends, and
what would improve it most, and draws the beginning of the schedule.
"""

import json
import re
import sys
from pathlib import Path

import jax
from absl import app, flags, logging
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from al_jax import schedule
from al_jax.data import DataError
from al_jax.engines import exact
from al_jax.engines.forecast import in_words
from al_jax.training import command_line
from al_jax.training.config import from_text
from al_jax.training.errors import ConfigError, RunError
from al_jax.training.plan import Plan, Stage, make_plan
from al_jax.training.records import writable, write_json

DEFAULT_CONFIG = Path(__file__).resolve().parents[1] / "configs" / "digits.py"
UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}
WIDE = 120  # characters in which every cell of the table has one line
SHOWN_TICKS = 6  # in the picture, after the pipeline is full


def define_flags() -> None:
    flags.DEFINE_string("devices", None, "For how many devices to plan; they need not exist.")
    flags.DEFINE_string("memory", None, "What a device has, as 16GiB or 800MB; no limit by default.")
    flags.DEFINE_boolean("measure", False, "Time every component on this machine in place of counting its FLOPs.")
    flags.DEFINE_string("picture", "plan.png", "Where the picture goes, a PNG file; plan.png by default.")
    flags.DEFINE_string("json", None, "Where the plan goes as JSON.")


def bytes_from(text: str) -> int:
    """Bytes of `16GiB`, `800MB` or `1024`.

    Raises:
      ConfigError: the text is no size.

    Example:
      >>> bytes_from("1.5KiB"), bytes_from("2MB")
      (1536, 2000000)
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?(|[KMG]i?)B?", text)
    if not found or not (size := int(float(found[1]) * UNITS[found[2]])):
        raise ConfigError(f"--memory is {text!r}: it must be a positive number of bytes, as 16GiB, 800MB or 1024")
    return size


def picture_from(text: str) -> Path:
    """Where a picture goes.

    Raises:
      ConfigError: the name is that of another kind of file.
    """
    if Path(text).suffix.lower() != ".png":
        raise ConfigError(f"--picture is {text!r}: it is drawn as PNG, so give a name that ends in .png")
    return Path(text)


def show(plan: Plan, devices: int, processor: str, console: Console) -> None:
    """Prints the table and the sentences below it."""
    narrow = console.width < WIDE
    title = f"{len(plan.costs)} components on {devices} devices in {len(plan.stages)} stages"
    table = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, int(not narrow)))
    heads = ("stage", "components", "cost", "share", "busy", "held", "empty slots", "temporaries", "signal in", "sends")
    rows = [(str(index + 1), *_cells(plan, stage)) for index, stage in enumerate(plan.stages)]
    for head, *cells in zip(heads, *rows, strict=True):
        word = max(len(word) for cell in (head, *cells) for word in cell.split())  # cut by no terminal of 80
        table.add_column(head, justify="left" if head in heads[:2] else "right", width=word if narrow else None)
    for row in rows:
        table.add_row(*row)
    console.print(table)
    memory = plan.memory
    costs = f"times of updates on {processor}" if plan.measured else "FLOPs by XLA, none of them run (--measure: times)"
    lines = [
        ("partition", f"--config.partition={','.join(map(str, plan.partition))} (train.py's own default is even)"),
        ("costs", f"{costs}; of a micro-batch, with backward pass and optimizer"),
        ("tick", f"{plan.cost(plan.tick)}, predicted from work alone: the transfer between devices comes on top"),
        ("efficiency", f"{plan.efficiency:.1%} of a tick is work on average ({plan.even_efficiency:.1%} if even)"),
        ("speed-up", f"{plan.speed_up:.2f} over one device, for all {plan.micro_batches:,} micro-batches"),
        ("bubble", _bubble(plan)),
        (
            "memory",
            f"{in_words(memory.total)} on every device: slots {in_words(memory.held)}, temporaries "
            f"{in_words(memory.temporaries)}, boundary buffers {in_words(memory.boundary)}, belt "
            f"{in_words(memory.belt)}",
        ),
        (
            "traffic",
            f"every device sends {in_words(memory.boundary // 2)} of signals up or messages down in a tick, and "
            f"{in_words(plan.stages[0].entering)} of the belt down",
        ),
        ("empty slots", f"{in_words(sum(memory.padding))} of all devices together, {memory.padding_share:.1%} of them"),
        ("improvement", plan.advice),
    ]
    words = Table.grid(padding=(0, 3))
    for name, value in lines:
        words.add_row(name, Text(value))
    console.print(words)


def _bubble(plan: Plan) -> str:
    empty = plan.flush - plan.filling
    return (
        f"{plan.bubble:.2%}: {plan.filling:,} tick{'s' * (plan.filling != 1)} whenever the pipeline fills and drains, "
        f"{plan.fills:,} times for the first call, evaluations and epochs whose last call is not full, and again for "
        f"every checkpoint; it drains in what such a call leaves empty, or in a call of {plan.flush:,} ticks, of "
        f"them {empty:,} without work, which take the time of their transfers"
    )


def _cells(plan: Plan, stage: Stage) -> list[str]:
    first, last = stage.components
    return [
        f"{first}" if first == last else f"{first} to {last}",
        plan.cost(stage.cost),
        f"{stage.share:.1%}",
        f"{stage.busy:.1%}",
        in_words(stage.held),
        f"{in_words(stage.empty)} ({stage.empty / plan.memory.held:.0%})",
        *map(in_words, (stage.temporaries, stage.entering, stage.sent)),
    ]


def draw(plan: Plan, path: Path) -> None:
    """Draws the first ticks to scale."""
    scale, unit = (1e3, "milliseconds") if plan.measured else (1e-9, "billions of floating-point operations")
    costs, stages = [scale * cost for cost in plan.costs], len(plan.stages)
    number = min(stages + SHOWN_TICKS, plan.micro_batches)
    tasks = schedule.associated(len(costs), stages, number, plan.partition, costs=costs)
    title = f"Efficiency {plan.efficiency:.0%} once filled; these {number} micro-batches alone"
    path.parent.mkdir(parents=True, exist_ok=True)
    schedule.draw({title: tasks}, path, unit)


def main(argv):
    del argv
    logging.set_verbosity(logging.WARNING)
    options, config = flags.FLAGS, flags.FLAGS.config
    if options.devices is None:
        raise ConfigError("--devices is missing: say for how many devices to plan, as --devices=4")
    if not options.measure:
        jax.config.update("jax_platforms", "cpu")
    if config.exact:
        exact.request()  # before the backend starts, as in train.py
    config.engine, config.devices = "pipelined", from_text("devices", options.devices)
    limit = bytes_from(options.memory) if options.memory else float("inf")
    picture = writable(picture_from(options.picture))
    if options.json:
        writable(Path(options.json))
    console = Console(width=None if Console().is_terminal else 140)
    work = "compiling and timing" if options.measure else "compiling"
    with console.status(f"{work} components") as status:  # on a terminal

        def progress(number: int, of: int) -> None:
            status.update(f"{work} component {number} of {of}")

        plan = make_plan(config, limit, jax.devices()[0] if options.measure else None, progress)
    show(plan, config.devices, jax.devices()[0].device_kind, console)
    if options.json:
        command = " ".join(["python -m al_jax.plan", *sys.argv[1:]])
        write_json(Path(options.json), {"command": command, **plan.record(), "config": json.loads(config.to_json())})
    draw(plan, picture)
    console.print(f"picture of the schedule: {picture}", markup=False, highlight=False)


if __name__ == "__main__":
    try:
        app.run(main, flags_parser=command_line.parser(DEFAULT_CONFIG, define_flags))
    except (RunError, DataError) as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        sys.exit(f"error: a file cannot be written ({error}): choose another")

"""Bytes of leaf slots that stay empty, for every network of the paper on 2 and 4 devices.

Every device has slots for its parameters, model state and optimizer state that are as long as the stages need together
(`al_jax/engines/packing.py`). `unequal` is what would stay empty if slots were no longer than the fullest stage needs;
the rest is due to leaves of different sizes. Stages are cut for the shortest tick by XLA's count of FLOPs. Nothing is
run.

  python -m benchmarks.padding [--quick] [--json FILE]
"""

import runpy
from pathlib import Path
from typing import Any

import jax

from al_jax.data import size_of, unit_range
from al_jax.engines.forecast import efficiency_of, in_words, memory_of, plan_partition
from al_jax.engines.packing import bytes_of
from al_jax.training.facts import DataFacts
from al_jax.training.partition import profile_config
from benchmarks import timing

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
# The paper's networks and bridges as the authors have them, and what the project's own recipes make of them.
CASES = [
    (name, ",".join(filter(None, variants)))
    for name, network in [
        ("mnist_mlp", "three"),
        ("mnist_cnn", ""),
        ("cifar_mlp", ""),
        ("cifar_cnn", ""),
        ("cifar_vgg", ""),
        ("cifar_resnet", ""),
        ("cifar_resnet", "resnet32"),
    ]
    for variants in [(network, "authors"), (network,)]
]
QUICK = [("mnist_mlp", "smoke")]
DEVICES = 2, 4


def measure(name: str, variant: str) -> dict[str, Any]:
    """Partition and padding by the number of devices, where there are as many components."""
    config = runpy.run_path(str(CONFIGS / f"{name}.py"))["get_config"](variant)
    size = size_of(config.dataset)
    found = profile_config(config, DataFacts(size.classes, size.image, unit_range()))
    flops = [cost.flops for cost in found.costs]
    by_devices = {}
    for devices in DEVICES:
        if devices > len(flops):
            continue
        sizes = plan_partition(found, flops, devices, micro_batches=config.updates_per_call)
        memory = memory_of(found, sizes, config.updates_per_call)
        needed = sum(map(bytes_of, found.held))
        by_devices[str(devices)] = {
            "partition": sizes,
            "efficiency": efficiency_of(flops, sizes),
            "needed": needed,
            "slots": devices * memory.held,
            "empty": sum(memory.padding),
            "empty_share": memory.padding_share,
            "unequal": devices * (memory.held - min(memory.padding)) - needed,
            "a_device": memory._asdict(),
        }
    return {"components": len(flops), "devices": by_devices}


def rows_of(case: str, found: dict[str, Any]) -> list[list[str]]:
    return [
        [
            case,
            ",".join(map(str, own["partition"])),
            devices,
            in_words(own["needed"]),
            in_words(own["slots"]),
            in_words(own["empty"]),
            f"{own['empty_share']:.1%}",
            f"{own['unequal'] / own['slots']:.1%}",
        ]
        for devices, own in found["devices"].items()
    ]


def main():
    options = timing.arguments(__doc__, "padding")
    jax.config.update("jax_platforms", "cpu")
    results = {}
    for name, variant in QUICK if options.quick else CASES:
        case = f"{name}:{variant}".rstrip(":")
        results[case] = measure(name, variant)
        print(case, flush=True)
    columns = [
        "network",
        "partition",
        "devices",
        "parameters and state",
        "slots of all devices",
        "empty",
        "share",
        "unequal",
    ]
    rows = [row for case, found in results.items() for row in rows_of(case, found)]
    timing.report("Leaf slots that stay empty", columns, rows, {**timing.machine(), "networks": results}, options.json)


if __name__ == "__main__":
    main()

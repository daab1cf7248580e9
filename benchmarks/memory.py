"""Bytes that one update needs, ahead of time: end-to-end backpropagation, with remat, and the local rules.

Every arm is compiled for the CPU, whatever devices there are, and never run. A row is what XLA's own accounting says of
the program: its arguments (parameters, optimizer state, one micro-batch) and its temporaries, which are mostly
activations. A GPU's convolutions have other work space: `benchmarks.memory_measured` measures it, on no GPU so far. DGL
has its authors' head here, with three dense layers (`mlp_sr`); `configs/local_learning.py` takes AugLocal's of two.

  python -m benchmarks.memory [NETWORK ...] [--arms PATTERN] [--quick] [--json FILE]

Arms that the JSON has already are not compiled again, so delete it after changes of the code. Each says which command
and versions counted it, except those of ResNet-32 and ResNet-101, which were counted on several days, before arms said
so; the command and versions of the record itself are the latest arm's. The arms of the ImageNet networks take four to
ten minutes and up to 15 GB each on one core.

Rematerialisation needs an option of the CPU compiler that only this benchmark sets: by default the compiler first drops
the barriers that keep the second forward pass apart from the first one, then merges equal work, and nothing is saved on
a CPU.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

import al_jax as al
from al_jax.data import unit_range
from al_jax.training.config import default_config
from al_jax.training.facts import DataFacts
from al_jax.training.networks import build_network
from benchmarks import timing
from benchmarks.compiled import Program, compile_updates, total

UNOPTIMISED = {"xla_backend_optimization_level": 0}  # instructions; buffers are the same, and it is faster
KEPT_BARRIERS = {"xla_disable_hlo_passes": "cse_barrier_expander"}
OPTIMIZER = optax.chain(optax.add_decayed_weights(1e-4), optax.sgd(0.1, momentum=0.9, nesterov=True))
INFOPRO = {"infopro_first": "5,0.5", "infopro_last": "0.5,1"}  # both losses of every component count
ARMS = tuple((rule, remat) for remat in (False, True) for rule in ("greedy", "infopro", "predsim"))
END_TO_END = {"rule": "greedy", "components": 1}  # the plain network
SMALL, LARGE = ((32, 32, 3), 10, 1024), ((224, 224, 3), 1000, 128)  # image, classes, batch
# Network: image, classes, batch, and (components, cuts) of the local rules.
NETWORKS = {
    "resnet32": (*SMALL, ((8, "infopro"), (16, "infopro"), (4, "memory"))),
    "resnet110": (*SMALL, ((32, "infopro"), (55, "infopro"), (4, "memory"), (16, "memory"))),
    "resnet101": (*LARGE, ((2, "man"), (4, "man"), (4, "memory"), (8, "memory"))),
    "resnet152": (*LARGE, ((2, "man"), (4, "man"), (4, "memory"), (8, "memory"))),
    "resnext101": ((224, 224, 3), 1000, 64, ((2, "man"), (4, "man"), (4, "memory"), (8, "memory"))),
}
QUICK = {"vanilla_cnn": ((32, 32, 3), 10, 64, ((4, "memory"),))}


def arms_of(cuts: tuple[tuple[int, str], ...], quick: bool) -> Iterator[tuple[str, dict[str, Any]]]:
    """Names of arms and the config fields that make them."""
    yield "end to end", END_TO_END
    yield "end to end, remat", {**END_TO_END, "remat": True}
    for components, where in cuts:
        for rule, remat in [("greedy", True)] if quick else ARMS:
            for momentum in (True,) if quick else (False, True):
                fields = {"rule": rule, "components": components, "cuts": where, "momentum": momentum, "remat": remat}
                name = f"{rule}{' + MAN' * momentum}{', remat' * remat}"
                yield f"{name}, K = {components}, cuts: {where}", fields | (INFOPRO if rule == "infopro" else {})


def compiled(network: str, fields: Mapping[str, Any], updates: int = 1, options=None) -> tuple[Program, al.Network]:
    """The program of an arm, for JAX's default device."""
    image, classes, batch, _ = {**NETWORKS, **QUICK}[network]
    residual = {"residual": "standard"} if network in ("resnet32", "resnet110") else {}
    config = default_config(network=network, activation="relu", **residual, **fields)
    built = build_network(config, DataFacts(classes, image, unit_range()))
    images = jax.ShapeDtypeStruct((batch, *image), jnp.float32)
    return compile_updates(built, OPTIMIZER, images, updates, options), built


def ahead_of_time(network: str, fields: Mapping[str, Any]) -> dict[str, int]:
    """The bytes of one update, compiled for the CPU."""
    program, built = compiled(
        network, fields, options={**UNOPTIMISED, **(KEPT_BARRIERS if fields.get("remat") else {})}
    )
    return {"components": len(built.components), **program.memory}


def rows_of(network: str, arms: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    whole = total(arms["end to end"])
    return [
        [
            network,
            name,
            f"{total(arm) / 1e9:.2f} GB",
            f"{arm['arguments'] / 1e6:.0f} MB",
            f"{total(arm) / whole - 1:+.1%}",
        ]
        for name, arm in arms.items()
    ]


def main():
    parser = timing.arguments_of(__doc__, "one small network")
    parser.add_argument("networks", nargs="*", help=f"of {', '.join(NETWORKS)}; all by default")
    kept = "a regular expression; end to end is always there"
    parser.add_argument("--arms", type=timing.pattern, default="", metavar="PATTERN", help=kept)
    options = timing.parse(parser, "memory")
    if unknown := set(options.networks) - set(NETWORKS):
        parser.error(f"there is no network {min(unknown)}: choose from {', '.join(NETWORKS)}")
    jax.config.update("jax_platforms", "cpu")
    chosen = QUICK if options.quick else {name: NETWORKS[name] for name in options.networks or NETWORKS}
    found = json.loads(options.json.read_text())["networks"] if options.json.exists() else {}
    for network, (image, _, batch, cuts) in chosen.items():
        entry = found.setdefault(network, {"image": image, "batch": batch, "arms": {}})
        for name, fields in arms_of(cuts, options.quick):
            wanted = name == "end to end" or re.search(options.arms, name)
            if wanted and name not in entry["arms"]:
                machine = timing.machine()
                provenance = {"versions": machine["versions"], "command": machine["command"]}
                entry["arms"][name] = {**ahead_of_time(network, fields), **provenance}
                print(network, name, f"{total(entry['arms'][name]) / 1e9:.2f} GB", flush=True)
                timing.write(options.json, {**machine, "networks": found})
    rows = [row for network, entry in found.items() for row in rows_of(network, entry["arms"])]
    timing.show("Memory of an update", ["network", "arm", "total", "of it arguments", "to end to end"], rows)


if __name__ == "__main__":
    main()

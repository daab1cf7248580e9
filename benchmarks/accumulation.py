"""Memory for activations on a device: 1F1B's first stage against local losses that accumulate, in XLA's own accounting.

Both cut a batch into m micro-batches and update once. In 1F1B the first of p stages has begun p micro-batches before
the gradient of the first one comes back, so it keeps the activations of p; its bubble is (p-1)/(m+p-1). A component
with a local loss goes backward at once, so it keeps those of one, and its only bubble is where a run is filled and
drained.

Activations are what grows with the batch: twice the difference between the temporaries of the program compiled for
micro-batches of b examples and those for b/2. For 1F1B it is the same first block without any local loss, p forward
passes before the first backward pass; for a component its forward, local losses, backward and accumulation. All devices
of the pipelined engine run one program, whose temporaries are those of the component that needs most, so that one
counts. Component 1, which has the very block of 1F1B's first stage, stands beside it; its ratio to that stage is 1/p
plus what the local loss adds. Signals that wait in buffers between stages are counted apart. Nothing is run.

  python -m benchmarks.accumulation [--quick] [--json FILE]
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from al_jax.chain import signal_shapes
from al_jax.components import call_block
from al_jax.data import unit_range
from al_jax.engines.costs import profile
from al_jax.engines.forecast import in_words
from al_jax.engines.optimizers import optimizers_of
from al_jax.engines.packing import bytes_of
from al_jax.training.config import default_config
from al_jax.training.facts import DataFacts
from al_jax.training.networks import build_blocks, build_network
from benchmarks import timing

# By default the CPU compiler drops barriers before it orders operations; the passes in flight need them.
KEPT_BARRIERS = {"xla_disable_hlo_passes": "cse_barrier_expander", "xla_backend_optimization_level": 0}


class Case(NamedTuple):
    """A network of p components, one a device, and m micro-batches an update."""

    name: str
    stages: int
    micro_batches: int
    batch: int
    fields: dict[str, Any]


POOLED = {"rule": "associated", "bridge": "pooled", "pool": 4, "code": 256}
DGL = {"rule": "greedy", "head": "mlp_sr2"}
CASES = [
    Case(f"{network}, {name}", stages, 2 * stages, 256, {"network": network, "cuts": "memory", **rule})
    for network in ("vanilla_cnn", "resnet32")
    for name, rule in (("Associated Learning", POOLED), ("DGL", DGL))
    for stages in (2, 4)
]
QUICK = [Case("vanilla_cnn, DGL", 2, 4, 64, {"network": "vanilla_cnn", "width_factor": 0.25, **DGL})]
IMAGE = (32, 32, 3)


def measure(case: Case) -> dict[str, Any]:
    """Bytes for activations of both arms, and of the signals between stages."""
    config = default_config(components=case.stages, **case.fields)
    size = case.batch // case.micro_batches
    block = build_blocks(config, IMAGE)[0]
    in_flight, alone = _growth(lambda b: [backprop_temporaries(block, b, n) for n in (case.stages, 1)], size)
    own, sent = _growth(lambda b: component_bytes(config, b, case.micro_batches), size)
    return {
        "case": case.name,
        "stages": case.stages,
        "micro_batches": case.micro_batches,
        "micro_batch": size,
        "one_f_one_b": in_flight,
        "one_micro_batch_of_its": alone,
        "components": own,
        "device": max(own),
        "ratio": max(own) / in_flight,
        "ratio_of_component_1": own[0] / in_flight,
        "boundary": 2 * max(sent[:-1]),  # the top one hands up to nobody
        "one_f_one_b_bubble": (case.stages - 1) / (case.micro_batches + case.stages - 1),
    }


def backprop_temporaries(block: nn.Module, size: int, in_flight: int) -> int:
    """Bytes that a stage needs for so many forward passes, then their backward passes, gradients summed."""
    image = jax.ShapeDtypeStruct((size, *IMAGE), jnp.float32)
    variables = jax.eval_shape(lambda x: block.init(jax.random.key(0), x, True, method=call_block), image)
    state = {name: tree for name, tree in variables.items() if name != "params"}

    def forward(params, state, x):
        return block.apply({"params": params, **state}, x, True, method=call_block, mutable=list(state))

    y, _ = jax.eval_shape(forward, variables["params"], state, image)

    def gradients(params, state, images, cotangents):
        passes = [jax.vjp(lambda p, x: forward(p, state, x)[0], params, x) for x in images]
        # What comes back from the stage above does so after all these passes.
        outputs, cotangents = jax.lax.optimization_barrier(([y for y, _ in passes], cotangents))
        total = None
        for (_, backward), cotangent in zip(passes, cotangents, strict=True):
            gradient, _ = backward(cotangent)
            total = gradient if total is None else jax.tree.map(jnp.add, total, gradient)
            total, cotangents = jax.lax.optimization_barrier((total, cotangents))
        return total, outputs

    lowered = jax.jit(gradients).lower(variables["params"], state, [image] * in_flight, [y] * in_flight)
    return _temporaries(lowered)


def component_bytes(config, size: int, accumulate: int) -> tuple[list[int], list[int]]:
    """Bytes that each component needs for one micro-batch but for what it hands up, and of that."""
    network = build_network(config, DataFacts(10, IMAGE, unit_range()))
    image, label = jax.ShapeDtypeStruct((size, *IMAGE), jnp.float32), jax.ShapeDtypeStruct((size,), jnp.int32)
    batch = {"image": image, "label": label}
    _, leaving = signal_shapes(network, batch)
    sent = [bytes_of(signal) for signal, *_ in leaving]
    costs = profile(network, optimizers_of(network, optax.adam(1e-3)), batch, accumulate=accumulate).costs
    return [cost.temporaries - above for cost, above in zip(costs, sent, strict=True)], sent


def _temporaries(lowered: jax.stages.Lowered) -> int:
    memory: Any = lowered.compile(KEPT_BARRIERS).memory_analysis()
    return memory.temp_size_in_bytes


def _growth(bytes_for: Callable[[int], Any], size: int) -> list:
    """What grows with the batch, of `size` examples."""
    return (2 * (np.asarray(bytes_for(size)) - np.asarray(bytes_for(size // 2)))).tolist()


def rows_of(results: Sequence[dict[str, Any]]) -> list[list[str]]:
    return [
        [
            found["case"],
            f"{found['stages']}, {found['micro_batches']} of {found['micro_batch']}",
            in_words(found["one_f_one_b"]),
            in_words(found["one_micro_batch_of_its"]),
            in_words(found["components"][0]),
            f"{found['ratio_of_component_1']:.3f}",
            in_words(found["device"]),
            f"{found['ratio']:.3f}",
            in_words(found["boundary"]),
            f"{found['one_f_one_b_bubble']:.0%}",
        ]
        for found in results
    ]


def main():
    options = timing.arguments(__doc__, "accumulation")
    jax.config.update("jax_platforms", "cpu")
    results = []
    for case in QUICK if options.quick else CASES:
        results.append(measure(case))
        print(case.name, case.stages, f"{results[-1]['ratio']:.3f}", flush=True)
    columns = ["network", "p, m of b", "1F1B, stage 1", "with one", "component 1", "ratio", "any device", "ratio"]
    columns += ["boundary", "1F1B's bubble"]
    record = {**timing.machine(), "image": IMAGE, "results": results}
    timing.report("Activations on a device", columns, rows_of(results), record, options.json)


if __name__ == "__main__":
    main()

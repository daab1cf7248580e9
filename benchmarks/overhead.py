"""What the pipeline's machinery costs: `al.pipelined` on p devices that share one core, against `al.sequential`.

On one core a pipeline can gain nothing, so the time it takes beyond the sequential engine's is its overhead: packing,
the belt, the collectives, the loop over stages. `overhead` is its time over that of `al.sequential` in the same
process, less one; the target for balanced components is at most 15 %. JAX's thread pool grows with the number of
devices, which costs something on one core and is no fault of the pipeline's; `over one device` is the overhead against
`al.sequential` in a process of its own with one device, and contains that too.

Before any time is measured, every p trains under `exact` to the digest of the sequential engine; the arms that are
timed, compiled without `exact`, must agree to rounding (`apart`, in units of how far training moved). If either
fails the benchmark stops. Each number of devices has a process of its own; they take turns on the core.

  python -m benchmarks.overhead [--quick] [--json FILE]
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import numpy as np
import optax

import al_jax as al
from al_jax.training.digest import digest
from benchmarks import timing
from benchmarks.workers import Worker, start_jax, two_cores


class ConvBlock(nn.Module):
    """Convolution, batch norm, activation."""

    width: int
    stride: int = 1

    @nn.compact
    def __call__(self, x, train):
        x = nn.Conv(self.width, (3, 3), strides=self.stride)(x)
        return nn.elu(nn.BatchNorm(use_running_average=not train, momentum=0.9)(x))


class Case(NamedTuple):
    """A network, a micro-batch `(batch, *image)`, and how many updates make one repetition; goes to other processes."""

    name: str
    blocks: Callable[[], tuple[nn.Module, ...]]
    code: int
    classes: int
    batch: int
    image: tuple[int, ...]
    updates: int

    def network(self) -> al.Network:
        return al.associated(self.blocks(), self.classes, self.code)

    def batches(self):
        rng = np.random.default_rng(0)
        image = rng.random((self.updates, self.batch, *self.image), np.float32)
        return {"image": image, "label": rng.integers(0, self.classes, image.shape[:2]).astype(np.int32)}


def mixed(width: int, *widths: int) -> tuple[nn.Module, ...]:
    return (ConvBlock(width), ConvBlock(2 * width, 2), ConvBlock(2 * width), *al.networks.mlp(widths))


four = functools.partial(al.networks.mlp, (256,) * 4)
CASES = (
    Case("4 equal dense", four, 128, 128, 64, (256,), updates=48),
    Case("MNIST dense 4x256", four, 128, 10, 64, (784,), updates=48),
    Case("3 conv, 2 dense", functools.partial(mixed, 16, 128, 64), 64, 10, 32, (16, 16, 3), updates=16),
)
QUICK = (Case("tiny dense", functools.partial(al.networks.mlp, (8, 8)), 4, 3, 4, (6,), updates=6),)
OPTIMIZER = optax.adam(1e-3)


def start_of(case: Case):
    """Batches, and the components before the first update."""
    batches = case.batches()
    trainer = al.sequential(case.network(), OPTIMIZER)
    return batches, trainer.components(trainer.init(jax.random.key(0), {name: x[0] for name, x in batches.items()}))


def engines(case: Case, stages: tuple[int, ...], exact: bool = False) -> dict[str, al.Trainer]:
    network, devices = case.network(), jax.devices()
    pipelines = {f"p={p}": al.pipelined(network, OPTIMIZER, devices[:p], exact=exact) for p in stages}
    return {"sequential": al.sequential(network, OPTIMIZER, exact=exact), **pipelines}


def digests(case: Case, stages: tuple[int, ...]) -> dict[str, Callable]:
    """Each engine's digest after two calls, the pipeline still full between them."""
    batches, start = start_of(case)
    batches = {name: x[:6] for name, x in batches.items()}

    def trained(trainer):
        state = trainer.place(start)
        for _ in range(2):
            state, _ = trainer.step(state, batches)
        return digest(trainer.components(state))

    return {name: lambda trainer=trainer: trained(trainer) for name, trainer in engines(case, stages, True).items()}


def repetitions(case: Case, stages: tuple[int, ...]) -> dict[str, Callable]:
    """Each engine's time for one call, and how far the engines end apart after a first call."""
    batches, start = start_of(case)
    trainers = engines(case, stages)
    states = {name: trainer.step(trainer.place(start), batches)[0] for name, trainer in trainers.items()}
    ends = {name: [state.params for state in trainer.components(states[name])] for name, trainer in trainers.items()}
    origin = [state.params for state in start]

    apart = {name: timing.movement_apart(origin, ends["sequential"], end) for name, end in ends.items()}
    calls = {name: timing.training(trainer.step, states[name], batches) for name, trainer in trainers.items()}
    return {"apart": lambda: apart, **calls}


def in_jax(devices: int, exact: bool, make: Callable[..., dict[str, Callable]], *args) -> dict[str, Callable]:
    """What a worker process makes its functions by: `make(*args)`, with so many devices."""
    start_jax(devices, exact)
    return make(*args)


def worker_of(*args) -> Worker:
    """A process on the benchmark's core, with the arguments of `in_jax`."""
    return Worker(two_cores()[:1], in_jax, *args)


def compare(case: Case, stages: tuple[int, ...], rounds: int) -> dict:
    """Checks that all engines compute the same, then times them."""
    worker = worker_of(max(stages), True, digests, case, stages)
    found = {name: worker(name) for name in ("sequential", *[f"p={p}" for p in stages])}
    worker.close()
    if len(set(found.values())) > 1:
        raise SystemExit(f"{case.name}: no time is measured, the digests differ: {found}")

    workers = {p: worker_of(p, False, repetitions, case, (p,)) for p in stages}
    apart = {p: worker("apart")[f"p={p}"] for p, worker in workers.items()}
    if not max(apart.values()) < 1e-2:
        raise SystemExit(f"{case.name}: no time is measured, the engines differ by more than rounding: {apart}")
    arms = {
        f"{name} of {p}": lambda worker=worker, name=name: worker(name)
        for p, worker in workers.items()
        for name in ("sequential", f"p={p}")
    }
    samples = timing.interleaved(arms, rounds)
    for worker in workers.values():
        worker.close()

    def over(baseline, field="wall"):
        return {str(p): timing.ratio(samples, f"p={p} of {p}", baseline(p), field) - 1 for p in stages}

    return {
        "case": case.name,
        "digest": found["sequential"],
        "apart": {str(p): distance for p, distance in apart.items()},
        "overhead": over("sequential of {}".format),
        "overhead_cpu": over("sequential of {}".format, "cpu"),
        "over_one_device": over(lambda p: f"sequential of {min(stages)}"),
        "arms": {name: timing.summarise(own, case.updates) for name, own in samples.items()},
    }


def row(result: dict, p: int) -> list[str]:
    arms = result["arms"][f"sequential of {p}"], result["arms"][f"p={p} of {p}"]
    times = [f"{arm['ms_per_update']:.2f}" for arm in arms]
    shares = [f"{result[key][str(p)]:+.1%}" for key in ("overhead", "overhead_cpu", "over_one_device")]
    reliability = [f"{arms[1]['cpu_over_wall']:.2f}", f"{result['apart'][str(p)]:.0e}"]
    return [result["case"], str(p), *times, *shares, *reliability]


def main():
    options = timing.arguments(__doc__, "overhead")
    cases, stages, rounds = (QUICK, (2,), 3) if options.quick else (CASES, (1, 2, 4), 15)
    results = [compare(case, stages, rounds) for case in cases]
    columns = ["network", "p", "sequential ms", "pipelined ms", "overhead", "of cpu time", "over one device"]
    columns += ["cpu/wall", "apart"]
    record = {**timing.machine(), "rounds": rounds, "results": results}
    rows = [row(result, p) for result in results for p in stages]
    timing.report("al.pipelined and al.sequential on one core", columns, rows, record, options.json)


if __name__ == "__main__":
    main()

"""What learning machines cost: gradients against `jax.grad`, a ridge input step against scipy, trees against sklearn.

A chain of Flax modules under `al.machines.trainer` and a scan of `jax.grad` and optax written by hand train the same
network with Adam on the same random batches, on one core; unless they end at the same parameters to rounding, no time
is measured. `ratio` is the time of an arm over that of the loop by hand; the target is at most 1.05.

The input step solves the normal equations of ridge regression for what to change in the input of a dense layer: in one
call of a compiled function, and on the host by `scipy.linalg.lstsq` and by scipy's Cholesky. `ratio` is the time over
that of `lstsq`; the target is at most 0.2.

Of an ensemble of nine members the newest is grown and all are asked, by `al.machines.ensemble` and by scikit-learn's
trees. `ratio` is the time over that of scikit-learn. The trees are not the same, as ties and random cuts fall
differently: no time is measured if those of machines miss a larger share of the targets' variance, by 5 points.

  python -m benchmarks.machines [--quick] [--json FILE]
"""

from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import scipy.linalg
from threadpoolctl import threadpool_limits

from al_jax import machines
from al_jax.losses import cross_entropy
from al_jax.machines.least_squares import input_step
from benchmarks import timing, trees

CLASSES, RIDGE = 10, 1e-2
HAND, MACHINES = "jax.grad by hand", "al.machines"
LSTSQ, CHOLESKY, JITTED = "scipy lstsq", "scipy Cholesky", "al.machines, jitted"


class Training(NamedTuple):
    """A network of three layers, a batch, and how many updates make one repetition."""

    width: int
    batch: int
    features: int
    updates: int

    @property
    def name(self) -> str:
        return f"{self.features}-{self.width}-{self.width}-{CLASSES}, batch {self.batch}"


class Solving(NamedTuple):
    """A square layer, a batch, and how many solutions make one repetition."""

    width: int
    batch: int
    updates: int

    @property
    def name(self) -> str:
        return f"ridge {self.width}x{self.width}, batch {self.batch}"


Case = Training | Solving | trees.Growing
CASES = (
    Training(128, 128, 784, updates=100),
    Training(512, 128, 784, updates=20),
    Solving(128, 128, updates=100),
    *trees.CASES,
)
QUICK = Training(8, 4, 9, updates=4), Solving(8, 4, updates=4), *trees.QUICK


def modules_of(case: Training) -> list[nn.Module]:
    return [nn.Sequential([nn.Dense(case.width), nn.relu]) for _ in range(2)] + [nn.Dense(CLASSES)]


def training_arms(case: Training):
    """For each arm its step, its first state and how to read its parameters."""
    modules = modules_of(case)
    rng = np.random.default_rng(0)
    batches = {
        "image": rng.random((case.updates, case.batch, case.features), np.float32),
        "label": rng.integers(0, CLASSES, (case.updates, case.batch)).astype(np.int32),
    }
    chain = machines.chain(*(machines.from_linen(module, optax.adam(1e-3)) for module in modules))
    trainer = machines.trainer(chain)
    state = trainer.init(jax.random.key(0), {name: x[0] for name, x in batches.items()})
    start = jax.tree.map(jnp.copy, tuple(own.params for own in trainer.components(state)))
    optimizer = optax.adam(1e-3)

    def loss(params, batch):
        x = batch["image"]
        for module, own in zip(modules, params, strict=True):
            x = module.apply({"params": own}, x)
        return cross_entropy(x, batch["label"])

    def update(carry, batch):
        params, opt_state = carry
        value, gradients = jax.value_and_grad(loss)(params, batch)
        changes, opt_state = optimizer.update(gradients, opt_state, params)
        return (optax.apply_updates(params, changes), opt_state), value

    train = jax.jit(lambda state, batches: jax.lax.scan(update, state, batches), donate_argnums=0)
    by_hand = jax.tree.map(jnp.copy, start), optimizer.init(start)
    arms = {
        HAND: (train, by_hand, lambda state: state[0]),
        MACHINES: (trainer.step, state, lambda state: tuple(own.params for own in trainer.components(state))),
    }
    return arms, start, jax.device_put(batches)


def compare_training(case: Training, rounds: int) -> dict:
    """Checks that the arms compute the same, then times them."""
    arms, start, batches = training_arms(case)
    states, ends = {}, {}
    for name, (step, state, params) in arms.items():
        states[name], _ = step(state, batches)
        ends[name] = jax.device_get(params(states[name]))
    apart = timing.movement_apart(start, ends[HAND], ends[MACHINES])
    if not apart < 1e-3:
        raise SystemExit(f"{case.name}: no time is measured, {MACHINES} and {HAND} train differently ({apart:.1e})")

    repetitions = {name: timing.training(step, states[name], batches) for name, (step, _, _) in arms.items()}
    samples = timing.interleaved(repetitions, rounds)
    return timing.compared(case, samples, HAND, parameters_apart=apart)


def solving_arms(case: Solving) -> dict[str, Callable]:
    """Three solutions of `(gram) @ dx.T = kernel @ delta.T`, from JAX arrays to JAX arrays."""
    rng = np.random.default_rng(0)
    kernel = jnp.asarray(rng.normal(size=(case.width, case.width)) / case.width**0.5, jnp.float32)
    delta = jnp.asarray(rng.normal(size=(case.batch, case.width)), jnp.float32)
    compiled, ridge = jax.jit(input_step), jnp.float32(RIDGE)

    def on_host(solve):
        def run():
            weights, d = np.asarray(kernel), np.asarray(delta)
            gram = weights @ weights.T + np.float32(RIDGE) * np.eye(case.width, dtype=np.float32)
            return jnp.asarray(solve(gram, weights @ d.T).T)

        return run

    return {
        LSTSQ: on_host(lambda gram, right: scipy.linalg.lstsq(gram, right)[0]),
        CHOLESKY: on_host(lambda gram, right: scipy.linalg.solve(gram, right, assume_a="pos")),
        JITTED: lambda: compiled(kernel, delta, ridge),
    }


def compare_solving(case: Solving, rounds: int) -> dict:
    """Checks that the arms find the same, then times them."""
    arms = solving_arms(case)
    expected = np.asarray(arms[CHOLESKY]())
    for name, run in arms.items():
        apart = np.abs(np.asarray(run()) - expected).max() / np.abs(expected).max()
        if not apart < 1e-2:
            raise SystemExit(f"{case.name}: no time is measured, {name} solves something else ({apart:.1e})")

    def repetition(run):
        return lambda: timing.measure(lambda: [jax.block_until_ready(run()) for _ in range(case.updates)])

    samples = timing.interleaved({name: repetition(run) for name, run in arms.items()}, rounds)
    return timing.compared(case, samples, LSTSQ)


def compare_growing(case: trees.Growing, rounds: int) -> dict:
    """Checks that machines learn no less, then times the arms."""
    arms = trees.growing_arms(case)
    missed = {name: trees.missed(case, run()) for name, run in arms.items()}
    if not missed[trees.MACHINES] < missed[trees.SKLEARN] + 0.05:
        raise SystemExit(f"{case.name}: no time is measured, the trees miss {missed} of their targets")
    samples = timing.interleaved({name: lambda run=run: timing.measure(run) for name, run in arms.items()}, rounds)
    return timing.compared(case, samples, trees.SKLEARN, missed=missed)


def compare(case: Case, rounds: int) -> dict:
    if isinstance(case, Training):
        return compare_training(case, rounds)
    return compare_solving(case, rounds) if isinstance(case, Solving) else compare_growing(case, rounds)


def main():
    options = timing.arguments(__doc__, "machines")
    timing.one_core()
    cases, rounds = (QUICK, 3) if options.quick else (CASES, 15)
    with threadpool_limits(1):  # scipy's and scikit-learn's
        results = [compare(case, rounds) for case in cases]
    timing.report_arms("Learning machines, one core", "case", results, rounds, options.json)


if __name__ == "__main__":
    main()

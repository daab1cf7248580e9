"""Ensembles of regression trees, grown inside jit and by scikit-learn: what `benchmarks/machines.py` times of them."""

import collections
import itertools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.tree import DecisionTreeRegressor, ExtraTreeRegressor

from al_jax import machines

SKLEARN, MACHINES = "scikit-learn", "al.machines"


class Growing(NamedTuple):
    """An ensemble of trees, of which each repetition grows the newest member and asks all of them.

    Attributes:
      cuts: random ones among which a node chooses; None: all. scikit-learn's extra trees draw one of each of so many
        features, anywhere between its extremes, which parts a node less evenly than values of its samples do.
      joint: one tree answers all outputs; otherwise each has its own.
    """

    samples: int
    features: int
    outputs: int
    depth: int
    members: int
    cuts: int | None
    joint: bool
    updates: int = 1

    @property
    def name(self) -> str:
        trees = f"a tree for {self.outputs} outputs" if self.joint else f"{self.outputs} trees"
        return f"{trees}, depth {self.depth}, {self.cuts or 'all'} cuts, {self.samples} x {self.features}"


CASES = [
    Growing(samples, features, 32, 11, 9, cuts, joint)
    for samples, features, cuts in ((2000, 64, None), (5000, 784, 200))
    for joint in (False, True)
]
QUICK = [Growing(64, 5, 2, 8, 2, None, False), Growing(64, 5, 2, 8, 2, 4, True)]


def data_of(case: Growing) -> tuple[np.ndarray, np.ndarray]:
    """Inputs, and targets that follow from them."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(case.samples, case.features)).astype(np.float32)
    return x, np.tanh(x @ rng.normal(size=(case.features, case.outputs)) / case.features**0.5).astype(np.float32)


def growing_arms(case: Growing) -> dict[str, Callable]:
    """Functions that grow the next member and return what the ensemble then answers, `(samples, outputs)`."""
    return {SKLEARN: _by_sklearn(case), MACHINES: _by_machine(case)}


def _by_machine(case: Growing) -> Callable:
    x, t = map(jnp.asarray, data_of(case))
    trees = machines.tree_layer(case.outputs, case.depth, feedback=None, cuts=case.cuts, joint=case.joint)
    ring = machines.ensemble(trees, case.members)

    def grow(state, x, t, step):  # data as arguments, or compilation would sort it
        key = jax.random.fold_in(jax.random.key(0), step)
        y, residuals = ring.forward(state.params, state.fixed, x, key, True)
        context = machines.Context(None, None, step, key)
        state, _, _ = machines.learn(ring, state, residuals, machines.Feedback.toward(y, t), context)
        return state, ring.forward(state.params, state.fixed, x, key, False)[0]

    compiled, steps = jax.jit(grow, donate_argnums=0), itertools.count()
    held = [jax.jit(ring.init)(jax.random.key(1), x)]

    def run():
        held[0], answer = compiled(held[0], x, t, jnp.int32(next(steps)))
        return answer

    return run


def _by_sklearn(case: Growing) -> Callable:
    x, t = data_of(case)
    targets, seeds = [t] if case.joint else list(t.T), itertools.count()
    ring = collections.deque(maxlen=case.members)

    def tree():
        if case.cuts is None:
            return DecisionTreeRegressor(max_depth=case.depth, random_state=next(seeds))
        return ExtraTreeRegressor(max_depth=case.depth, max_features=case.cuts, random_state=next(seeds))

    def run():
        newest = [tree().fit(x, target) for target in targets]
        ring.extend([newest] * (case.members if not ring else 1))  # as many are asked from the first time on
        answers = [np.concatenate([own.predict(x).reshape(len(x), -1) for own in member], axis=1) for member in ring]
        return np.mean(answers, axis=0)

    return run


def missed(case: Growing, answer) -> float:
    """The share of the targets' variance that an answer misses."""
    _, t = data_of(case)
    return float(np.mean((np.asarray(answer) - t) ** 2) / np.var(t))

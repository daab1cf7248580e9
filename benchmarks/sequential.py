"""What the library costs: `al.sequential` against a loop written by hand.

Both train Associated Learning on the same multi-layer perceptron with Adam, from the same parameters, on the same
random images, on one core. They first train a few updates side by side: unless losses and parameters agree to
rounding, no time is measured. `ratio` is the time of an arm over that of the plain loop by hand, below 1 is faster;
the target is at most 1.05. `by hand, in place` is the same loop under an experimental compiler option that saves
copies (see `handwritten.make_train`), the fastest that is known to be possible; al_jax does not use the option.

  python -m benchmarks.sequential [--quick] [--json FILE]
"""

from typing import NamedTuple

import jax
import numpy as np
import optax

import al_jax as al
from benchmarks import handwritten, timing

LEARNING_RATE, CLASSES = 1e-3, 10
HAND, IN_PLACE, LIBRARY = "by hand", "by hand, in place", "al.sequential"


class Case(NamedTuple):
    """A network, a micro-batch, and how many updates make one repetition."""

    widths: tuple[int, ...]
    code: int
    batch: int
    side: int
    updates: int

    @property
    def name(self) -> str:
        return f"{len(self.widths)}x{self.widths[0]}, code {self.code}, batch {self.batch}, {self.side}x{self.side}"


CASES = (
    Case((128,) * 4, 128, 32, 8, updates=100),
    Case((256,) * 4, 128, 64, 8, updates=50),
    Case((1024,) * 2, 1024, 32, 28, updates=3),
)
QUICK = (Case((12,) * 2, 8, 4, 3, updates=4),)


def make_arms(case: Case):
    """For each arm its step, its first state and how to read its parameters; the parameters and the batches."""
    network = al.associated(al.networks.mlp(case.widths), CLASSES, case.code)
    trainer = al.sequential(network, optax.adam(LEARNING_RATE))
    rng = np.random.default_rng(0)
    batches = {
        "image": rng.random((case.updates, case.batch, case.side, case.side, 1), np.float32),
        "label": rng.integers(0, CLASSES, (case.updates, case.batch)).astype(np.int32),
    }
    state = trainer.init(jax.random.key(0), {name: x[0] for name, x in batches.items()})
    start = to_handwritten(trainer.components(state))
    arms = {LIBRARY: (trainer.step, state, lambda state: to_handwritten(trainer.components(state)))}
    for name, in_place in {HAND: False, IN_PLACE: True}.items():
        train = handwritten.make_train(CLASSES, LEARNING_RATE, in_place)
        arms[name] = (train, handwritten.initial(start), lambda state: state["params"])
    return arms, start, batches


def to_handwritten(components) -> list[dict[str, list]]:
    """The library's parameters as the loop by hand arranges them."""

    def layers(tree):
        if "kernel" in tree:
            return [(tree["kernel"], tree["bias"])]
        return [layer for own in tree.values() for layer in layers(own)]

    return [{part: layers(state.params[part]) for part in "fbgh"} for state in components]


def losses_of(measured) -> np.ndarray:
    """Losses `(M, K, 2)` of either kind of arm."""
    if isinstance(measured, al.Metrics):
        measured = np.stack([np.stack([own["associated"], own["autoencoder"]], -1) for own in measured.losses], 1)
    return np.asarray(measured)


def compare(case: Case, rounds: int) -> dict:
    """Checks that the arms compute the same, then times them."""
    arms, start, batches = make_arms(case)
    states, ends, losses = {}, {}, {}
    for name, (step, state, params) in arms.items():
        states[name], measured = step(state, batches)
        ends[name] = jax.device_get(params(states[name]))
        losses[name] = losses_of(measured)
    apart = {name: timing.movement_apart(start, ends[HAND], ends[name]) for name in (IN_PLACE, LIBRARY)}
    for name, distance in apart.items():
        if not (distance < 1e-3 and np.allclose(losses[name], losses[HAND], rtol=1e-4, atol=0)):
            raise SystemExit(f"{case.name}: no time is measured, {name} and {HAND} train differently ({distance:.1e})")

    repetitions = {name: timing.training(step, states[name], batches) for name, (step, _, _) in arms.items()}
    samples = timing.interleaved(repetitions, rounds)
    over_in_place = timing.ratio(samples, LIBRARY, IN_PLACE)
    return timing.compared(case, samples, HAND, parameters_apart=apart, library_over_in_place=over_in_place)


def main():
    options = timing.arguments(__doc__, "sequential")
    timing.one_core()
    cases, rounds = (QUICK, 3) if options.quick else (CASES, 15)
    results = [compare(case, rounds) for case in cases]
    timing.report_arms("al.sequential and a loop written by hand, one core", "network", results, rounds, options.json)


if __name__ == "__main__":
    main()

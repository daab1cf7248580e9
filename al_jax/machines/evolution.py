"""Machines that learn without gradients: evolution strategies and any search that asks and tells."""

import contextlib
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from al_jax.arguments import whole
from al_jax.machines.fitting import InputRule, handed_down, tells_by
from al_jax.machines.linen import ADAM, applied, from_linen, initial
from al_jax.machines.schedules import refuse_negative
from al_jax.machines.scores import Score
from al_jax.machines.search import best_individuals, gaussian_mutation, rank_probabilities, select, uniform_crossover
from al_jax.machines.types import Feedback, Machine, MachineState, is_real


class Trial(NamedTuple):
    """What a forward pass leaves for a search: its input, key, output and the new model state."""

    x: jax.Array
    key: jax.Array
    y: jax.Array
    model_state: Any


def evolved(
    module: nn.Module,
    population: int,
    sigma: float,
    optimizer: optax.GradientTransformation = ADAM,
    *,
    weigh: Callable[[jax.Array], jax.Array] | None = None,
    name: str | None = None,
) -> Machine:
    """Makes a machine from a Linen module that estimates both its gradients from evaluations alone.

    Its parameters and its input are moved by Gaussian noise and by the same with the other sign; the differences of the
    local errors estimate the gradients of `0.5 * |y - target|²` (evolution strategies with antithetic draws,
    Salimans et al. 2017, arXiv 1703.03864). Inputs are judged sample by sample.

    Args:
      module: as in `al.machines.from_linen`; its input is floating.
      population: evaluations for each of the two estimates, an even number.
      sigma: standard deviation of the noise.
      optimizer: of its parameters; Adam at 1e-3 by default.
      weigh: `errors (population,) -> weights` in place of the errors for parameters, such as `centred_ranks`.
      name: what errors and metrics call it.

    Raises:
      ValueError: there is no module, no optimizer or no noise, or the population has no pairs; or, from `init`, the
        input is not real numbers.
    """
    name = name or type(module).__name__
    weigh = weigh or (lambda errors: errors)
    if whole(f"population of machine {name!r}", population) % 2 or not sigma > 0:
        raise ValueError(f"machine {name!r} needs an even population and a sigma above 0, not {population} and {sigma}")
    base, apply = from_linen(module, optimizer, name=name), applied(module)

    def init(key, x):
        if not is_real(x):
            raise ValueError("evolution moves its input, which must be real numbers")
        return base.init(key, x)

    def backward(params, fixed, residuals, feedback, context):
        key_params, key_x = jax.random.split(context.key)
        x, key, y, _ = residuals
        vector, unravel = ravel_pytree(params)

        def of_params(noise):
            moved = apply(unravel(vector + sigma * noise), fixed, x, key, True)[0]
            return local_errors(y, moved, feedback).sum()

        def of_x(noise):
            return local_errors(y, apply(params, fixed, x + sigma * noise, key, True)[0], feedback)

        noise = _antithetic(key_params, population, vector)
        weights = weigh(jax.vmap(of_params)(noise))
        gradient = jnp.tensordot(weights, noise, 1) / (sigma * population)
        noise = _antithetic(key_x, population, x)
        delta = jnp.einsum("kb,kb...->b...", jax.vmap(of_x)(noise), noise) / (sigma * population)
        return unravel(gradient), Feedback.along(x, delta), {}

    return base._replace(init=init, forward=_tried(apply), backward=backward)


def centred_ranks(errors: jax.Array) -> jax.Array:
    """Weights from -0.5 for the least error to 0.5 for the greatest, which no outlier moves."""
    return jnp.float32(jnp.argsort(jnp.argsort(errors))) / (len(errors) - 1) - 0.5


def local_errors(y: jax.Array, moved: jax.Array, feedback: Feedback) -> jax.Array:
    """`0.5 * |moved - target|² - 0.5 * |y - target|²` of every sample, `(B,)`, where `y - target` is the delta."""
    change = moved - y
    return (change * (feedback.delta + change / 2)).reshape(len(y), -1).sum(1)


class Strategy(NamedTuple):
    """A search for a vector, in terms of populations and their errors.

    Attributes:
      init: `(key, vector) -> state`.
      ask: `(key, state) -> (population (K, D), state)`.
      tell: `(key, state, population, errors (K,)) -> state`; lesser errors are better.
      best: `state -> vector`, the answer so far.
    """

    init: Callable[[jax.Array, jax.Array], Any]
    ask: Callable[[jax.Array, Any], tuple[jax.Array, Any]]
    tell: Callable[[jax.Array, Any, jax.Array, jax.Array], Any]
    best: Callable[[Any], jax.Array]


def searched(module: nn.Module, strategy: Strategy, *, feedback: InputRule | None, name: str | None = None) -> Machine:
    """Makes a machine from a Linen module whose parameters a strategy searches by the local error of each batch.

    Args:
      module: as in `al.machines.from_linen`.
      strategy: `elitist(...)`, `from_evosax(...)`.
      feedback: finds what to hand down, as `al.machines.gaussian_search` does; None: zeros, for the lowest machine
        of a network; `chain` refuses it above what learns by feedback.
      name: what errors and metrics call it.
    """
    apply = applied(module)

    def init(key, x):
        key_init, key_search = jax.random.split(key)
        variables = dict(initial(module, key_init, x))
        params = variables.pop("params", {})
        return MachineState(params, variables, strategy.init(key_search, ravel_pytree(params)[0]))

    def backward(params, fixed, residuals, above, context):
        run = lambda x: apply(params, fixed, x, residuals.key, True)[0]
        return above, handed_down(feedback, run, residuals.x, above, context), {}

    def update(state, residuals, gradients, context):
        key_ask, key_tell = jax.random.split(context.key)
        _, unravel = ravel_pytree(state.params)

        def error(vector):
            moved = apply(unravel(vector), state.fixed, residuals.x, residuals.key, True)[0]
            return local_errors(residuals.y, moved, gradients).sum()

        population, search = strategy.ask(key_ask, state.opt_state)
        search = strategy.tell(key_tell, search, population, jax.vmap(error)(population))
        return MachineState(unravel(strategy.best(search)), residuals.model_state, search)

    return Machine(init, _tried(apply), backward, update, name=name or type(module).__name__, **tells_by(feedback))


def elitist(population: int, elites: int, sigma: float) -> Strategy:
    """A genetic search: the best stay, the others are children of two parents by rank, crossed over, with noise.

    Args:
      population: individuals.
      elites: how many of the best stay as they are; the best of the last batch is the answer.
      sigma: standard deviation of the noise, at first and of mutations.

    Raises:
      ValueError: none stay, or all, or the deviation is negative.
    """
    if not 0 < whole("elites of elitist", elites, 0) < whole("population of elitist", population):
        raise ValueError(f"elitist needs at least one elite and one child, not {elites} elites of {population}")
    refuse_negative(sigma, "sigma of elitist")

    def init(key, vector):
        others = gaussian_mutation(key, jnp.broadcast_to(vector[None], (population - 1, len(vector))), sigma)
        return jnp.concatenate([vector[None], others])

    def tell(key, state, individuals, errors):
        score = Score(errors, maximise=False)
        chances = rank_probabilities(score)
        first, second, cross, mutate = jax.random.split(key, 4)
        parents = [select(own, individuals, chances, population - elites) for own in (first, second)]
        children = gaussian_mutation(mutate, uniform_crossover(cross, *parents), sigma)
        return jnp.concatenate([best_individuals(individuals, score, elites), children])

    return Strategy(init, lambda key, state: (state, state), tell, lambda state: state[0])


def from_evosax(make: Callable[[jax.Array], Any]) -> Strategy:
    """A distribution-based algorithm of evosax, whose answer is the mean of its distribution.

    Args:
      make: for example `lambda vector: CMA_ES(population_size=32, solution=vector)`.
    """

    def of(vector):
        algorithm = make(jnp.zeros(vector.shape, vector.dtype))
        return algorithm, algorithm.default_params

    def init(key, vector):
        with _mixed():
            algorithm, options = of(vector)
            return algorithm.init(key, vector, options)

    def ask(key, state):
        with _mixed():
            algorithm, options = of(state.mean)
            return algorithm.ask(key, state, options)

    def tell(key, state, population, errors):
        with _mixed():
            algorithm, options = of(state.mean)
            return algorithm.tell(key, population, errors, state, options)[0]

    return Strategy(init, ask, tell, lambda state: state.mean)


@contextlib.contextmanager
def _mixed():
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):  # as evosax was written
        yield


def _antithetic(key, population, like):
    noise = jax.random.normal(key, (population // 2, *like.shape), like.dtype)
    return jnp.concatenate([noise, -noise])


def _tried(apply: Callable) -> Callable:
    """The `forward` of a machine that leaves a `Trial`."""

    def forward(params, fixed, x, key, train):
        y, model_state = apply(params, fixed, x, key, train)
        return y, Trial(x, key, y, model_state)

    return forward

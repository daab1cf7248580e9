"""Hill climbing: of several inputs of a machine, every sample hands down the one that the machine answers best to."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from al_jax.arguments import whole
from al_jax.machines.chain import at, joined, label, of_all, split, update_parts
from al_jax.machines.fitting import InputRule
from al_jax.machines.orders import searching
from al_jax.machines.schedules import Schedule, refuse_negative, value_at
from al_jax.machines.scores import Score, ScoreFunction, target_distance, uses_feedback
from al_jax.machines.search import best_per_sample
from al_jax.machines.types import Feedback, Machine, begin, learn, refuse_no_machine
from al_jax.machines.votes import stochastic_votes

DRAWS = 2**31 - 1  # a stream of keys of the search's own: machines that are searched have parts 0, 1, …


def climbed(
    incoming: Machine,
    outgoing: Machine,
    *,
    candidates: int,
    score: ScoreFunction = target_distance,
    name: str = "climbed",
) -> Machine:
    """Chains two machines, of which the lower one learns from how the upper one scores its random draws.

    The lower machine runs again with `candidates` keys. For every sample, these outputs and that of the forward pass
    compete: the one with the best score above, the first of equals, becomes the lower machine's target. The upper
    machine, which may have no gradient, learns from its own feedback, and what it hands down is not used (Short 2023,
    arXiv 2311.09663, experiment 7).

    Args:
      incoming: a machine that is random in training. Prefer noise on its output to dropout inside it: it learns to
        suppress the effect of dropout, until all draws are alike.
      outgoing: any; the scores are those at the parameters with which it ran forward.
      candidates: draws for every batch.
      score: `(y, feedback, context) -> Score` of values `(B,)`, of the outputs of `outgoing`. One that uses the label
        alone has an attribute `hears` that is False, as `label_rate` does.
      name: what errors and metrics call it.

    Raises:
      ValueError: there are no candidates.
    """
    refuse_no_machine("climbed", incoming, outgoing)
    _check(name, candidates)
    lower, upper = label(0, incoming), label(1, outgoing)

    def init(key, x):
        below, y = begin(incoming, jax.random.fold_in(key, 0), x)
        above, _ = begin(outgoing, jax.random.fold_in(key, 1), y)
        return joined([below, above])

    def forward(params, fixed, x, key, train):
        key_above = jax.random.fold_in(key, 1)
        y, below = incoming.forward(params[0], fixed[0], x, jax.random.fold_in(key, 0), train)
        z, above = outgoing.forward(params[1], fixed[1], y, key_above, train)
        return z, ((below, above), (x, y, key_above))

    def taught(params, fixed, residuals, feedback, context):
        x, y, key_above = residuals[1]
        draws = stochastic_votes(incoming, params[0], fixed[0], x, at(context, 2).key, candidates)

        def scored(y):
            return score(outgoing.forward(params[1], fixed[1], y, key_above, True)[0], feedback, context)

        best, metrics = _climb(y, draws, scored)
        return Feedback.toward(y, best), metrics

    def backward(params, fixed, residuals, feedback, context):
        own, climb = taught(params, fixed, residuals, feedback, context)
        (left_below, left_above), _ = residuals
        gradients, _, metrics = outgoing.backward(params[1], fixed[1], left_above, feedback, at(context, 1))
        gradients_below, below, metrics_below = incoming.backward(params[0], fixed[0], left_below, own, at(context, 0))
        return (gradients_below, gradients), below, {lower: {**metrics_below, **climb}, upper: metrics}

    def update(state, residuals, gradients, context):
        return update_parts((incoming, outgoing), state, residuals[0], gradients, context)

    def learn_down(state, residuals, feedback, context):
        own, climb = taught(state.params, state.fixed, residuals, feedback, context)
        (left_below, left_above), _ = residuals
        below, above = split(state)
        above, _, metrics = learn(outgoing, above, left_above, feedback, at(context, 1))
        below, handed, metrics_below = learn(incoming, below, left_below, own, at(context, 0))
        return joined([below, above]), handed, {lower: {**metrics_below, **climb}, upper: metrics}

    about: dict[str, Any] = {
        "hears": outgoing.hears or uses_feedback(score),
        "tells": incoming.tells,
        "initiates": incoming.initiates or (incoming.tells and not uses_feedback(score)),
        **of_all((incoming, outgoing)),
    }
    return Machine(init, forward, backward, update, learn_down, name=name, **about)


def gaussian_search(candidates: int, sigma: Schedule, score: ScoreFunction = target_distance) -> InputRule:
    """Finds better inputs among `candidates` with Gaussian noise; a sample whose own input is best keeps it.

    Args:
      candidates: draws for every batch.
      sigma: standard deviation of the noise, a number or a function of the number of the update.
      score: `(y, feedback, context) -> Score` of values `(B,)`.

    Raises:
      ValueError: there are no candidates, or the deviation is negative.
    """
    _check("gaussian_search", candidates)
    refuse_negative(sigma, "sigma of gaussian_search")

    def rule(forward, x, feedback, context):
        scale = value_at(sigma, context.step)
        noise = jax.random.normal(at(context, DRAWS).key, (candidates, *x.shape))
        x = x.astype(noise.dtype)
        return _climb(x, x[None] + scale * noise, lambda x: score(forward(x), feedback, context))[0]

    vars(rule)["hears"] = uses_feedback(score)
    return rule


def gaussian_climb(
    machine: Machine, *, candidates: int, sigma: Schedule, score: ScoreFunction = target_distance
) -> Machine:
    """The machine, handing down better inputs that `gaussian_search` finds instead of feedback of its own."""
    refuse_no_machine("gaussian_climb", machine)
    rule = gaussian_search(candidates, sigma, score)

    def searched(params, fixed, residuals, feedback, context):
        _, x, key = residuals
        better = rule(lambda x: machine.forward(params, fixed, x, key, True)[0], x, feedback, context)
        return Feedback.toward(x, better)

    return searching(machine, searched)._replace(tells=True, initiates=not uses_feedback(score))


def _climb(own: jax.Array, draws: jax.Array, scored: Callable[[jax.Array], Score]):
    """Of each sample's own value `(B, ...)` and its draws `(K, B, ...)` the best, and what that gains."""
    choices = jax.tree.map(lambda own, draws: jnp.concatenate([own[None], draws]), own, draws)
    score = jax.vmap(scored)(choices)
    gain = score.gain.max(0) - score.gain[0]
    return best_per_sample(choices, score), {"gain": gain.mean(), "climbed": jnp.mean(gain > 0)}


def _check(name: str, candidates: int) -> None:
    whole(f"candidates of machine {name!r}", candidates)

"""Partial updates: which units, examples and parameters take part in learning."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from al_jax.machines.chain import at
from al_jax.machines.types import Feedback, Machine, PyTree, learn, refuse_moving, refuse_no_machine

Mask = Callable[[jax.Array, jax.Array], jax.Array]  # (key, zeros of the shape of what is masked) -> booleans


def masked(
    machine: Machine, *, output: Mask | None = None, input: Mask | None = None, params: PyTree = True
) -> Machine:
    """Restricts what a machine learns from, what it hands down and what it moves.

    Args:
      machine: any.
      output: units and examples of the output whose feedback counts; the others are taken to be right already.
      input: units and examples of the input that shall change; for the others nothing is handed down.
      params: a tree prefix of the parameters, of booleans or arrays of them, True where parameters may move. The
        optimizer's state changes as if all did.

    Raises:
      ValueError: the machine does not listen to its output's feedback, which `output` restricts, or it learns outside
        of the parameters that `params` holds, as trees do; or, from `init`, `params` is no prefix of its parameters.
    """
    refuse_no_machine("masked", machine)
    if output is not None and not (machine.hears or machine.tells):
        raise ValueError(f"machine {machine.name!r} takes no feedback for its output: output= has nothing to mask")

    if params is not True:
        refuse_moving(machine, "model", "average", "members")

    def init(key, x):
        state = machine.init(key, x)
        try:
            jax.tree.map(lambda _mask, _own: None, params, state.params)
        except ValueError:
            shapes = jax.tree.map(jnp.shape, state.params)
            raise ValueError(f"machine {machine.name!r}: params is no prefix of its parameters {shapes}") from None
        return state

    def forward(params, fixed, x, key, train):
        y, residuals = machine.forward(params, fixed, x, key, train)
        return y, (residuals, x, y)

    def heard(residuals, feedback, context):
        return _only(output, 0, residuals[2], feedback, context)

    def handed_down(residuals, below, context):
        return _only(input, 1, residuals[1], below, context)

    def backward(params, fixed, residuals, feedback, context):
        feedback = heard(residuals, feedback, context)
        gradients, below, metrics = machine.backward(params, fixed, residuals[0], feedback, at(context, 2))
        return gradients, handed_down(residuals, below, context), metrics

    def kept(state, before):
        def where(moves, new, old):
            return jax.tree.map(lambda n, o: jnp.where(moves, n, o), new, old)

        return state._replace(params=jax.tree.map(where, params, state.params, before.params))

    def update(state, residuals, gradients, context):
        return kept(machine.update(state, residuals[0], gradients, at(context, 2)), state)

    def learn_part(state, residuals, feedback, context):
        feedback = heard(residuals, feedback, context)
        after, below, metrics = learn(machine, state, residuals[0], feedback, at(context, 2))
        return kept(after, state), handed_down(residuals, below, context), metrics

    hears = machine.hears and params is not False
    whole = machine._replace(init=init, forward=forward, backward=backward, update=update, learn=learn_part)
    return whole._replace(parts=(), hears=hears)


def _only(mask: Mask | None, stream: int, value: jax.Array, feedback: Feedback, context) -> Feedback:
    if mask is None:
        return feedback
    counts = jnp.broadcast_to(mask(at(context, stream).key, jnp.zeros_like(value)), value.shape)
    return Feedback(jnp.where(counts, feedback.delta, 0), jnp.where(counts, feedback.target, value))


def some_examples(count: int) -> Mask:
    """Selects `count` examples, drawn anew in every update.

    Raises:
      ValueError: when an update is traced, there are not so many, or none is asked for.
    """

    return lambda key, value: _drawn(key, count, len(value), "examples").reshape(-1, *[1] * (value.ndim - 1))


def some_units(count: int) -> Mask:
    """Selects `count` units of the last axis, drawn anew in every update.

    Raises:
      ValueError: when an update is traced, there are not so many, or none is asked for.
    """

    return lambda key, value: _drawn(key, count, value.shape[-1], "units").reshape(*[1] * (value.ndim - 1), -1)


def _drawn(key: jax.Array, count: int, there: int, kind: str) -> jax.Array:
    """Booleans `(there,)`, of which `count` are True."""
    if not 1 <= count <= there:
        raise ValueError(f"machines.some_{kind} takes {count} of {there} {kind}: give it a number from 1 to {there}")
    return jnp.zeros(there, bool).at[jax.random.permutation(key, there)[:count]].set(True)

"""Machines of models that are fitted to a batch and have no gradient."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from al_jax.losses import one_hot
from al_jax.machines.types import Context, Feedback, Machine, MachineState

InputRule = Callable[[Callable[[jax.Array], jax.Array], jax.Array, Feedback, Context], jax.Array]


class Fitted(NamedTuple):
    """What a fitted machine keeps in `fixed`.

    Attributes:
      model: any pytree.
      surrogate: float32 `(features, width)`, the linear map that answers until the first update.
      version: int32 scalar, the updates so far.
    """

    model: Any
    surrogate: jax.Array
    version: jax.Array


def fitted(
    init: Callable, predict: Callable, fit: Callable, width: int, *, label: bool, feedback: InputRule | None, name: str
) -> Machine:
    """Makes a machine from a model that every update fits to the batch, `(B, ...) -> (B, width)`.

    Args:
      init: `(key, x) -> model`, with `x` float32 `(B, features)` here and below.
      predict: `(model, x) -> (B, width)`.
      fit: `(model, x, t, key) -> model`, with `t` float32 `(B, width)`.
      width: outputs.
      label: fits one-hot codes of `context.label`, otherwise `feedback.target`.
      feedback: `(forward, x, feedback, context) -> better`, where `forward` maps inputs to outputs and `better` is the
        input to hand down as a target; None hands zeros down. A rule that needs feedback to find one has an attribute
        `hears` that is True.
      name: what errors and metrics call it.
    """

    def begin(key, x):
        key_model, key_surrogate = jax.random.split(key)
        rows = as_rows(x)
        surrogate = jax.random.normal(key_surrogate, (rows.shape[1], width), jnp.float32)
        surrogate = surrogate / jnp.sqrt(jnp.float32(rows.shape[1]))
        return MachineState((), Fitted(init(key_model, rows), surrogate, jnp.int32(0)), ())

    def answer(fixed, x):
        rows = as_rows(x)
        return jax.lax.cond(fixed.version == 0, lambda: rows @ fixed.surrogate, lambda: predict(fixed.model, rows))

    def forward(params, fixed, x, key, train):
        return answer(fixed, x), x

    def backward(params, fixed, residuals, above, context):
        taught = label_codes(name, context, width) if label else above.target
        return taught, handed_down(feedback, lambda x: answer(fixed, x), residuals, above, context), {}

    def update(state, residuals, gradients, context):
        model = fit(state.fixed.model, as_rows(residuals), gradients, jax.random.fold_in(context.key, 1))
        return state._replace(fixed=state.fixed._replace(model=model, version=state.fixed.version + 1))

    needs = frozenset({"label"} if label else ())
    about: dict[str, Any] = {"hears": not label, "beside": frozenset(["model"]), **tells_by(feedback)}
    return Machine(begin, forward, backward, update, needs=needs, name=name, **about)


def tells_by(rule: InputRule | None) -> dict[str, Any]:
    """What a machine of this rule tells the one below, by fields of `Machine`."""
    return {"tells": rule is not None, "initiates": rule is not None and not getattr(rule, "hears", False)}


def label_codes(name: str, context: Context, width: int) -> jax.Array:
    """The one-hot codes `(B, width)` of the labels, NaN for those of no class, which a trainer refuses.

    Raises:
      ValueError: the network has scores for more classes.
    """
    if context.error is not None and context.error.shape[-1] > width:
        raise ValueError(
            f"machine {name!r} learns labels of {width} classes, but the network has scores for "
            f"{context.error.shape[-1]}: give it as many outputs"
        )
    label: Any = context.label
    return one_hot(label, width)


def as_rows(x: jax.Array) -> jax.Array:
    """The features of every sample as numbers."""
    return jnp.float32(x.reshape(len(x), -1))


def handed_down(rule: InputRule | None, forward: Callable, x: jax.Array, feedback: Feedback, context: Context):
    """The feedback for the input: toward what the rule finds, or zeros."""
    if rule is None:
        return Feedback.along(x, jnp.zeros(x.shape, x.dtype if jnp.issubdtype(x.dtype, jnp.floating) else jnp.float32))
    return Feedback.toward(x, rule(forward, x, feedback, context))

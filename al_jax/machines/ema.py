"""Averaged parameters: what predicts is smoother than what learns."""

import jax
import jax.numpy as jnp

from al_jax.arguments import whole
from al_jax.machines.search import decayed
from al_jax.machines.types import Machine, learn, refuse_no_machine


def ema_params(machine: Machine, decay: float, *, every: int | None = None) -> Machine:
    """Keeps an exponential moving average of a machine's parameters, with which it predicts.

    It smooths rules that solve for a batch, such as least squares (Zenkai's `ParamFilter`).

    Args:
      machine: whose parameters they are.
      decay: share of the average that stays in an update, in [0, 1].
      every: updates after which learning goes on from the average; None: never.

    Raises:
      ValueError: the decay is not a share, or there are no updates.
    """
    refuse_no_machine("ema_params", machine)
    if not 0 <= decay <= 1:
        raise ValueError(f"machines.ema_params: decay is {decay}, it must be from 0 to 1")
    if every is not None:
        whole("machines.ema_params: every", every)

    def init(key, x):
        state = machine.init(key, x)
        return state._replace(fixed={"machine": state.fixed, "average": jax.tree.map(jnp.copy, state.params)})

    def forward(params, fixed, x, key, train):
        return machine.forward(params if train else fixed["average"], fixed["machine"], x, key, train)

    def backward(params, fixed, residuals, feedback, context):
        return machine.backward(params, fixed["machine"], residuals, feedback, context)

    def averaged(inner, before, context):
        average = decayed(before.fixed["average"], inner.params, decay)
        params = inner.params
        if every:
            here = (context.step + 1) % every == 0
            params = jax.tree.map(lambda slow, fast: jnp.where(here, slow, fast), average, params)
        return inner._replace(params=params, fixed={"machine": inner.fixed, "average": average})

    def update(state, residuals, gradients, context):
        inner = machine.update(state._replace(fixed=state.fixed["machine"]), residuals, gradients, context)
        return averaged(inner, state, context)

    def learn_inner(state, residuals, feedback, context):
        inner = state._replace(fixed=state.fixed["machine"])
        inner, below, metrics = learn(machine, inner, residuals, feedback, context)
        return averaged(inner, state, context), below, metrics

    slow = machine._replace(init=init, forward=forward, backward=backward, update=update, learn=learn_inner, parts=())
    return slow._replace(beside=machine.beside | {"average"})

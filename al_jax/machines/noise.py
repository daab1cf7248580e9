"""Corrupted inputs: noise and dropout whose strength may follow a schedule."""

import jax
import jax.numpy as jnp

from al_jax.machines.schedules import Schedule, refuse_negative, value_at
from al_jax.machines.types import Context, Feedback, Machine, MachineState, is_real, learn, refuse_no_machine


def with_noise(machine: Machine, scale: Schedule, *, explore: bool = False) -> Machine:
    """Adds Gaussian noise to a machine's input while it trains.

    Args:
      machine: whose input it is.
      scale: standard deviation, a number or a function of the number of the update.
      explore: whether the noisy input is what the machine below should have put out, so that its target is the noisy
        input less the feedback; otherwise feedback passes on as if without noise.

    Raises:
      ValueError: the scale is negative; or, from `init`, the input is not real numbers.
    """
    refuse_no_machine("with_noise", machine)
    refuse_negative(scale, f"the noise on the input of machine {machine.name!r}")

    def corrupt(x, scale, key):
        return x + scale.astype(x.dtype) * jax.random.normal(key, x.shape, x.dtype)

    return _corrupted(machine, corrupt, scale, explore)


def with_dropout(machine: Machine, rate: Schedule) -> Machine:
    """Sets units of a machine's input to zero while it trains, with this probability, and scales up the others.

    Args:
      machine: whose input it is.
      rate: a number or a function of the number of the update, in [0, 1).

    Raises:
      ValueError: the rate is a number outside of that; or, from `init`, the input is not real numbers.
    """
    refuse_no_machine("with_dropout", machine)
    if isinstance(rate, int | float) and not 0 <= rate < 1:
        raise ValueError(f"the rate of dropout below machine {machine.name!r} is {rate}: it must be from 0 to below 1")

    def corrupt(x, rate, key):
        kept = jax.random.bernoulli(key, 1 - rate, x.shape)
        return jnp.where(kept, x / (1 - rate).astype(x.dtype), 0)

    return _corrupted(machine, corrupt, rate, explore=False)


def _corrupted(machine: Machine, corrupt, strength: Schedule, explore: bool) -> Machine:
    """The machine on `corrupt(x, strength, key)`; `fixed` has the number of the update for the strength's schedule."""

    def init(key, x):
        if not is_real(x):
            raise ValueError("noise and dropout are for real numbers")
        state = machine.init(key, x)
        return state._replace(fixed={"machine": state.fixed, "step": jnp.int32(0)})

    def forward(params, fixed, x, key, train):
        key_noise, key = jax.random.split(key)
        if not train:
            seen, pull = x, None
        else:
            now = value_at(strength, fixed["step"])
            seen, pull = jax.vjp(lambda x: corrupt(x, now, key_noise), x)
        y, residuals = machine.forward(params, fixed["machine"], seen, key, train)
        return y, (residuals, x, seen, pull)

    def handed_down(residuals, below):
        _, x, seen, pull = residuals
        return Feedback.toward(x, seen - below.delta) if explore else Feedback.along(x, pull(below.delta)[0])

    def backward(params, fixed, residuals, feedback, context):
        gradients, below, metrics = machine.backward(params, fixed["machine"], residuals[0], feedback, context)
        return gradients, handed_down(residuals, below), metrics

    def update(state, residuals, gradients, context):
        return _outer(machine.update(_inner(state), residuals[0], gradients, context), context)

    def learn_inner(state, residuals, feedback, context):
        inner, below, metrics = learn(machine, _inner(state), residuals[0], feedback, context)
        return _outer(inner, context), handed_down(residuals, below), metrics

    whole = machine._replace(init=init, forward=forward, backward=backward, update=update, learn=learn_inner, parts=())
    beside = machine.beside | ({"schedule"} if callable(strength) else set())
    return whole._replace(tells=machine.tells or explore, initiates=machine.initiates or explore, beside=beside)


def _inner(state: MachineState) -> MachineState:
    return state._replace(fixed=state.fixed["machine"])


def _outer(inner: MachineState, context: Context) -> MachineState:
    return inner._replace(fixed={"machine": inner.fixed, "step": context.step + 1})

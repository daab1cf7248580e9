"""The nouns of learning machines: layers with their own update and their own way to hand feedback down.

In shapes, `B` is the size of a batch. The protocol is that of Zenkai (Short 2023, arXiv 2311.09663) made functional:
`backward` is its accumulate and step_x, `update` its step.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from al_jax.arguments import listed, reason

PyTree = Any

RETURNS = {
    "init": "MachineState(params, fixed, opt_state)",
    "forward": "(y, residuals)",
    "backward": "(gradients, feedback_below, metrics)",
    "update": "MachineState(params, fixed, opt_state)",
    "learn": "(state, feedback_below, metrics)",
}
MOVES = {
    "model": "fits a model, which is no parameter: use feedback_only",
    "average": "averages parameters, also while they rest: put its ema_params outside",
    "members": "begins new members, also while parameters rest: use feedback_only",
    "schedule": "counts updates for a schedule: put its with_noise or with_dropout outside",
}


class Unheard(ValueError):
    """A machine that would never learn, since no feedback reaches it."""


class MachineState(NamedTuple):
    """All that a machine knows between two updates.

    Attributes:
      params: what its update moves.
      fixed: what no optimizer touches: feedback matrices, batch statistics, trees, populations.
      opt_state: what its update remembers.
    """

    params: PyTree
    fixed: PyTree
    opt_state: PyTree


class Feedback(NamedTuple):
    """What a machine hears about its output from above.

    Both have the output's types, where those are real numbers: a machine of bfloat16 may stand below one of float32.

    Attributes:
      delta: what to subtract from the output, as one subtracts the loss's gradient. Rules that compute gradients use it
        alone, since the difference of two large numbers loses digits.
      target: what the output should have been, `output - delta`.
    """

    delta: PyTree
    target: PyTree

    @classmethod
    def along(cls, output: PyTree, delta: PyTree) -> "Feedback":
        """Feedback that is known as a difference."""
        delta = jax.tree.map(_of_type, output, delta)
        return cls(delta, jax.tree.map(lambda y, d: y.astype(d.dtype) - d, output, delta))

    @classmethod
    def toward(cls, output: PyTree, target: PyTree) -> "Feedback":
        """Feedback that is known as a target."""
        target = jax.tree.map(_of_type, output, target)
        return cls(jax.tree.map(lambda y, t: y.astype(t.dtype) - t, output, target), target)


def _of_type(y: jax.Array, value: jax.Array) -> jax.Array:
    return value.astype(y.dtype) if jnp.issubdtype(y.dtype, jnp.floating) else value


class Context(NamedTuple):
    """What every machine may hear beside its own feedback.

    Attributes:
      error: the gradient of the loss at the output of the whole network, `(B, classes)`; None inside a network that
        `jax.grad` trains.
      label: `(B,)` integers, None there too.
      step: int32 scalar, the number of this update from 0.
      key: for draws of this update; combinators give each machine its own.
    """

    error: jax.Array | None
    label: jax.Array | None
    step: jax.Array
    key: jax.Array


class Machine(NamedTuple):
    """A layer, or a network of them, that knows how to learn. Pure functions throughout.

    Attributes:
      init: `(key, x) -> MachineState(params, fixed, opt_state)`; only shapes and types of `x` count.
      forward: `(params, fixed, x, key, train) -> (y, residuals)`. Residuals are what backward and update need of it.
      backward: `(params, fixed, residuals, feedback, context) -> (gradients, feedback_below, metrics)`. Gradients are
        any pytree that `update` understands, metrics a dict of scalars, nested where machines are.
      update: `(state, residuals, gradients, context) -> state`.
      learn: `(state, residuals, feedback, context) -> (state, feedback_below, metrics)`, for machines whose backward
        and update are not simply one after the other; None: they are.
      needs: names of the fields of `Context` that must not be None.
      name: what errors and metrics call it.
      parts: the machines that this one chains, whose states its own is made of.
      effective: a tree prefix of the parameters, True where the forward pass uses them.
      hears: whether it learns from the feedback for its output; False where it learns from the network's error or the
        label alone, or never.
      tells: whether it hands feedback down; False: always a delta of zero.
      initiates: whether it hands feedback down even where it gets none itself, as a search by the label does.
      beside: what its updates change in `fixed` besides batch statistics, as keys of `MOVES`. Phases and masks of
        parameters cannot hold these back.
    """

    init: Callable[[jax.Array, PyTree], MachineState]
    forward: Callable[[PyTree, PyTree, PyTree, jax.Array, bool], tuple[PyTree, PyTree]]
    backward: Callable[[PyTree, PyTree, PyTree, Feedback, Context], tuple[PyTree, Feedback, dict[str, Any]]]
    update: Callable[[MachineState, PyTree, PyTree, Context], MachineState]
    learn: Callable[[MachineState, PyTree, Feedback, Context], tuple[MachineState, Feedback, dict[str, Any]]] | None = (
        None
    )
    needs: frozenset[str] = frozenset()
    name: str = "machine"
    parts: "tuple[Machine, ...]" = ()
    effective: PyTree = True
    hears: bool = True
    tells: bool = True
    initiates: bool = False
    beside: frozenset[str] = frozenset()


def replaced(machine: Machine, **functions: Any) -> Machine:
    """The machine with some functions replaced, such as its `update`, run one after the other as usual.

    An order of work of the machine's own, such as an inner loop, is dropped, since it would bypass them.

    Raises:
      ValueError: there is no machine, or a machine has no such function.
    """
    refuse_no_machine("replaced", machine)
    if unknown := [name for name in functions if name not in Machine._fields]:
        raise ValueError(
            f"a machine has no {unknown[0]!r}: what machines.replaced replaces is {listed(Machine._fields)}"
        )
    return machine._replace(learn=None, parts=())._replace(**functions)


def refuse_no_machine(function: str, *given: Any) -> None:
    """Raises ValueError for what is no machine, given to the function of this name."""
    if other := [one for one in given if not isinstance(one, Machine)]:
        kind = type(other[0]).__name__
        raise ValueError(
            f"machines.{function} takes machines, not a {kind}: al.machines.from_linen makes one of a module"
        )


def refuse_moving(machine: Machine, *kinds: str) -> None:
    """Raises ValueError for a machine whose updates move one of these kinds of `MOVES` in `fixed`."""
    for kind in kinds:
        if kind in machine.beside:
            raise ValueError(f"machine {machine.name!r} {MOVES[kind]}")


def learn(
    machine: Machine, state: MachineState, residuals: PyTree, feedback: Feedback, context: Context
) -> tuple[MachineState, Feedback, dict[str, Any]]:
    """A machine's turn: what it does with the feedback for the output of its last `forward`.

    Returns:
      The state after the update, the feedback for its input and its metrics.
    """
    if machine.learn is not None:
        return _checked(machine, "learn", machine.learn(state, residuals, feedback, context))
    found = machine.backward(state.params, state.fixed, residuals, feedback, context)
    gradients, below, metrics = _checked(machine, "backward", found)
    return _checked(machine, "update", machine.update(state, residuals, gradients, context)), below, metrics


def _checked(machine: Machine, function: str, returned: Any) -> Any:
    """What this function of the machine returned, as long as it is what `RETURNS` says."""
    wanted = RETURNS[function]
    kind = MachineState if wanted.startswith("MachineState") else tuple
    if not isinstance(returned, kind) or len(returned) != wanted.count(",") + 1:
        number = f" of {len(returned)}" if isinstance(returned, tuple) else ""
        raise ValueError(
            f"{function} of machine {machine.name!r} must return {wanted}, and returned a "
            f"{type(returned).__name__}{number}"
        )
    return returned


def begin(machine: Machine, key: jax.Array, x: PyTree) -> tuple[MachineState, PyTree]:
    """Draws a machine's state, and zeros of the shape and type of its output, which is not computed.

    Raises:
      ValueError: the machine does not take such an input; the message names it.
    """

    def output(state, x, key):
        return _checked(machine, "forward", machine.forward(state.params, state.fixed, x, key, True))[0]

    try:
        state = _checked(machine, "init", machine.init(key, x))
        y = jax.eval_shape(output, state, x, key)
        if any(leaf.size == 0 for leaf in jax.tree.leaves(y)):  # which a convolution makes of images too small for it
            raise ValueError("nothing is left of it")
    except Unheard:
        raise
    except Exception as error:
        found = jax.tree.map(lambda leaf: f"{leaf.dtype.name}{list(leaf.shape)}", x)
        raise ValueError(f"machine {machine.name!r} cannot take the input {found}: {reason(error)}") from error
    return state, jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), y)


def is_real(x: PyTree) -> bool:
    """Whether all is real numbers, which can move a little."""
    return all(jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in jax.tree.leaves(x))

"""What a chain's feedback is worth: angles with the true gradient, and errors before and after each part's step."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from al_jax.losses import cross_entropy
from al_jax.machines.chain import at, label, split
from al_jax.machines.types import (
    Context,
    Feedback,
    Machine,
    MachineState,
    PyTree,
    is_real,
    learn,
    refuse_no_machine,
)


class Diagnosis(NamedTuple):
    """Measures of one machine, `(state, image, key_forward, context) -> {part: {measure: scalar}}`."""

    machine: Machine
    measure: Callable[[MachineState, PyTree, jax.Array, Context], dict[str, Any]]

    def __call__(self, state: MachineState, image: PyTree, key_forward: jax.Array, context: Context) -> dict[str, Any]:
        return self.measure(state, image, key_forward, context)


def diagnostics(
    machine: Machine, loss: Callable[[jax.Array, jax.Array], jax.Array] = cross_entropy, *, differentiable_from: int = 1
) -> Diagnosis:
    """Measures every part of a chain in the course of an update; for `al.machines.trainer(diagnose=...)`.

    The global error is the loss of the batch; a local error is the mean distance of a part's outputs to their targets.
    A change is the error after a step less that before, all else as it was (Short 2023, Equations 4 and 5). Local
    errors are left out where a part does not learn the target from above (`Machine.hears`): under direct feedback
    alignment, for local classifiers, for trees that learn the label and a `climbed` pair with such trees, and
    for parts that never change.

    Of each part, by its name in metrics:
      angle, norm_ratio: the angle in degrees between the part's gradients and the true gradient of the loss, and the
        ratio of their norms, over the parameters that the forward pass uses, where gradients have the parameters' form.
      feedback_angle: between the delta that the part hands down and the true gradient at its input.
      distance: the local error before the update.
      local_error_change, global_error_change: by the update of this part alone.
      input_error_change, input_global_error_change: by its input moving to the target that the part hands down.
    A vector of zeros is at 90 degrees to all others, with a norm ratio of 0. Where inputs are whole numbers they have
    no targets, so the measures of inputs are left out.

    Each part learns once more, and everything above it runs forward twice more: time grows with the square of depth.

    Args:
      machine: `chain(...)`, or a machine without parts.
      loss: `(scores, label) -> scalar`, that of the trainer.
      differentiable_from: all parts from this one on, numbered from 1 as in metrics, are differentiable. Those below
        have no angles and ratios, since there is no true gradient. The number of parts plus 1: none is.

    Returns:
      `(state, image, key_forward, context) -> {part: {measure: scalar}}`.

    Raises:
      ValueError: `machine` is not a machine, or `differentiable_from` is not a number of its parts, or one more.
    """
    refuse_no_machine("diagnostics", machine)
    parts = machine.parts or (machine,)
    if not 1 <= differentiable_from <= len(parts) + 1:
        raise ValueError(
            f"differentiable_from is {differentiable_from}, but machine {machine.name!r} has parts 1 to {len(parts)}"
        )

    def diagnose(state, image, key_forward, context):
        states, keys, contexts = [state], [key_forward], [context]
        if machine.parts:
            states = split(state)
            keys = [jax.random.fold_in(key_forward, index) for index in range(len(parts))]
            contexts = [at(context, index) for index in range(len(parts))]

        def pass_through(index, own, x):
            return parts[index].forward(own.params, own.fixed, x, keys[index], True)

        def loss_above(index, x):
            for above in range(index + 1, len(parts)):
                x, _ = pass_through(above, states[above], x)
            return loss(x, context.label)

        inputs, residuals = [image], []
        for index, own in enumerate(states):
            y, left = pass_through(index, own, inputs[-1])
            inputs.append(y)
            residuals.append(left)
        global_error = loss(inputs[-1], context.label)

        def changes(index, feedback, y, local, overall):
            """Of the local and the global error, by these names, when the part's output becomes `y`."""
            measured = {overall: loss_above(index, y) - global_error}
            if parts[index].hears:
                moved = jax.tree.map(lambda new, old: _float(new) - _float(old), y, inputs[index + 1])
                left = jax.tree.map(lambda step, delta: step + _float(delta), moved, feedback.delta)
                measured[local] = _mean_norm(left) - _mean_norm(feedback.delta)
            return measured

        def errors(index, feedback, learned, below):
            x, measured = inputs[index], {}
            if parts[index].hears:
                measured["distance"] = _mean_norm(feedback.delta)
            y, _ = pass_through(index, learned, x)
            measured |= changes(index, feedback, y, "local_error_change", "global_error_change")
            if is_real(x):
                target = jax.tree.map(lambda t, x: t.astype(x.dtype), below.target, x)
                y, _ = pass_through(index, states[index], target)
                measured |= changes(index, feedback, y, "input_error_change", "input_global_error_change")
            return measured

        def angles(index, feedback, below, true):
            """With the true gradient at the part's input, of that at its output."""
            part, own, x = parts[index], states[index], inputs[index]
            _, pull = jax.vjp(lambda p, x: pass_through(index, own._replace(params=p), x)[0], own.params, x)
            of_parameters, true = pull(true)
            gradients, _, _ = part.backward(own.params, own.fixed, residuals[index], feedback, contexts[index])
            measured = {}
            if _alike(gradients, of_parameters):
                both = _used(part.effective, gradients), _used(part.effective, of_parameters)
                measured["angle"] = angle(*both)
                measured["norm_ratio"] = norm_ratio(*both)
            if is_real(x):
                measured["feedback_angle"] = angle(below.delta, true)
            return measured, true

        measures = {}
        feedback, true = Feedback.along(inputs[-1], context.error), context.error
        for index, part in reversed(list(enumerate(parts))):
            learned, below, _ = learn(part, states[index], residuals[index], feedback, contexts[index])
            measured = errors(index, feedback, learned, below)
            if index + 1 >= differentiable_from:
                aligned, true = angles(index, feedback, below, true)
                measured |= aligned
            measures[label(index, part)] = measured
            feedback = below
        return measures

    return Diagnosis(machine, diagnose)


def angle(a: PyTree, b: PyTree) -> jax.Array:
    """The angle between two vectors in degrees, accurate for small ones too; 90 if one is zero."""
    a, b = _unit(a), _unit(b)
    between = 2 * jnp.arctan2(jnp.linalg.norm(a - b), jnp.linalg.norm(a + b))
    return jnp.where(a.any() & b.any(), jnp.rad2deg(between), 90.0)


def norm_ratio(a: PyTree, b: PyTree) -> jax.Array:
    """The norm of one vector over that of the other; 0 if one is zero."""
    largest = jnp.maximum(jnp.abs(_vector(a)).max(), jnp.abs(_vector(b)).max())
    scale = jnp.where(largest > 0, largest, 1)
    above, below = jnp.linalg.norm(_vector(a) / scale), jnp.linalg.norm(_vector(b) / scale)
    return jnp.where(below > 0, above / jnp.where(below > 0, below, 1), 0.0)


def _unit(tree: PyTree) -> jax.Array:
    vector = _vector(tree)
    # Squares of small numbers are zero in float32, and so would be the norm.
    largest = jnp.abs(vector).max()
    vector = vector / jnp.where(largest > 0, largest, 1)
    norm = jnp.linalg.norm(vector)
    return vector / jnp.where(norm > 0, norm, 1)


def _vector(tree: PyTree) -> jax.Array:
    return jnp.concatenate([_float(leaf).reshape(-1) for leaf in jax.tree.leaves(tree)])


def _mean_norm(tree: PyTree) -> jax.Array:
    """The mean over examples of the norm of all that belongs to one."""
    rows = [_float(leaf).reshape(len(leaf), -1) for leaf in jax.tree.leaves(tree)]
    return jnp.mean(jnp.linalg.norm(jnp.concatenate(rows, axis=1), axis=1))


def _float(leaf: jax.Array) -> jax.Array:
    return leaf.astype(jnp.float32)


def _used(effective: PyTree, tree: PyTree) -> PyTree:
    """The part of parameters, or of what has their form, of which the tree prefix says True."""
    return jax.tree.map(lambda used, part: part if used else None, effective, tree)


def _alike(a: PyTree, b: PyTree) -> bool:
    """Whether both are the same tree of arrays, and there are some."""
    shapes = [[leaf.shape for leaf in jax.tree.leaves(tree)] for tree in (a, b)]
    return bool(shapes[1]) and shapes[0] == shapes[1] and jax.tree.structure(a) == jax.tree.structure(b)

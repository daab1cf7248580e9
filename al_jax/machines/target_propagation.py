"""Target propagation: a layer whose inverse is learned and carries targets down."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from al_jax.machines.linen import ADAM, applied, from_linen, initial, refuse_no_optimizer, stepped
from al_jax.machines.schedules import Schedule, When, is_zero, refuse_negative, value_at
from al_jax.machines.search import gaussian_mutation
from al_jax.machines.types import Feedback, Machine, MachineState, PyTree, is_real


def target_propagation(
    module: nn.Module,
    reverse: nn.Module,
    optimizer: optax.GradientTransformation = ADAM,
    reverse_optimizer: optax.GradientTransformation = ADAM,
    *,
    difference: bool = False,
    noise: Schedule = 0.0,
    regularisation: Schedule = 0.0,
    forward_when: When | None = None,
    reverse_when: When | None = None,
    name: str | None = None,
) -> Machine:
    """Makes a machine from a Linen module `f: x -> y` and another, `g: y -> x`, which learns to undo it.

    `f` descends the gradient of `0.5 * |y - target|²`; `g` that of the mean over the batch of
    `|g(f(x + e)) - (x + e)|² + regularisation * |g(y) - g(target)|²`, with Gaussian `e` (Lee et al. 2015, Difference
    Target Propagation, arXiv 1412.7525, Algorithm 1; the second term is Zenkai's). The layer below hears the target
    `g(target)` or, with `difference`, `x + g(target) - g(y)`, which is `x` itself where the target is `y`.

    The layer at the input needs no `g` and is `from_linen`, the one at the output `with_step(from_linen(...), size)`.
    Feedback from a mean loss has a factor 1/B, which differences keep. A plain `x - g(target)` also holds what `g`
    fails to undo, without that factor, so an optimizer sensitive to scale then sees a sum over the batch. Differences
    of nearly equal numbers lose digits: the nearer a target is to `y`, the fewer are left.

    Args:
      module: `f`, as in `from_linen`; its input is real numbers.
      reverse: `g`. It always runs as in training, where batch norm uses the batch at hand, and `g(y)` and `g(target)`
        share their draws. Statistics that it would keep are not kept, as nothing reads them.
      optimizer: of `f`.
      reverse_optimizer: of `g`.
      difference: whether to correct for what `g` fails to undo.
      noise: standard deviation of `e`, or a schedule of the number of updates.
      regularisation: a factor, or a schedule.
      forward_when: maps the number of an update to whether `f` learns; otherwise its parameters and optimizer stay
        exactly as they are, but its batch statistics follow the batches. None: always.
      reverse_when: the same of `g`.
      name: what errors and metrics call it.

    Raises:
      ValueError: noise or regularisation is negative, or, from `init`, the input is not real numbers or `g` does not
        return its shape.
    """
    name = name or type(module).__name__
    refuse_negative(noise, f"noise of machine {name!r}")
    refuse_negative(regularisation, f"regularisation of machine {name!r}")
    refuse_no_optimizer(f"the reverse of machine {name!r}", reverse_optimizer)
    own, apply_reverse = from_linen(module, optimizer), applied(reverse)

    def init(key, x):
        key_forward, key_reverse = jax.random.split(key)
        state = own.init(key_forward, x)
        y = jax.eval_shape(lambda s: own.forward(s.params, s.fixed, x, key, True)[0], state)
        variables = dict(initial(reverse, key_reverse, jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), y)))
        params = variables.pop("params", {})
        _check_inverse(x, jax.eval_shape(lambda y: apply_reverse(params, variables, y, key, True)[0], y))
        back = MachineState(params, variables, reverse_optimizer.init(params))
        return _both(state, back)

    def forward(params, fixed, x, key, train):
        y, left = own.forward(params["forward"], fixed["forward"], x, key, train)
        return y, (left, y)

    def backward(params, fixed, residuals, feedback, context):
        (left, y), x = residuals, residuals[0].x
        key_noise, key_forward, key_reverse = jax.random.split(context.key, 3)

        def undo(reverse_params, y):
            return apply_reverse(reverse_params, fixed["reverse"], y, key_reverse, True)[0]

        def forward_gradients():
            return own.backward(params["forward"], fixed["forward"], left, feedback, context)[0]

        def disturbed():
            if is_zero(noise):
                return x, y
            x_near = gaussian_mutation(key_noise, x, value_at(noise, context.step))
            return x_near, own.forward(params["forward"], fixed["forward"], x_near, key_forward, True)[0]

        def reverse_loss(reverse_params):
            x_near, y_near = disturbed()
            loss = _distance(undo(reverse_params, y_near), x_near)
            if is_zero(regularisation):
                return loss
            apart = _distance(undo(reverse_params, y), undo(reverse_params, feedback.target))
            return loss + value_at(regularisation, context.step) * apart

        def reverse_gradients():
            return jax.grad(reverse_loss)(params["reverse"])

        zeros = jax.tree.map(jnp.zeros_like, params)
        gradients = {
            "forward": _only(forward_when, context.step, forward_gradients, zeros["forward"]),
            "reverse": _only(reverse_when, context.step, reverse_gradients, zeros["reverse"]),
        }
        of_output, of_target = undo(params["reverse"], y), undo(params["reverse"], feedback.target)
        delta = jax.tree.map(jnp.subtract, of_output, of_target)
        below = Feedback.along(x, delta) if difference else Feedback.toward(x, of_target)
        return gradients, below, {"reconstruction": _distance(of_output, x)}

    def update(state, residuals, gradients, context):
        left, _ = residuals
        ahead, back = (MachineState(*(field[part] for field in state)) for part in ("forward", "reverse"))

        def forward_step():
            return own.update(ahead, left, gradients["forward"], context)

        def reverse_step():
            return stepped(reverse_optimizer, back, gradients["reverse"])

        return _both(
            _only(forward_when, context.step, forward_step, ahead._replace(fixed=left.model_state)),
            _only(reverse_when, context.step, reverse_step, back),
        )

    effective = {"forward": True, "reverse": False}
    return Machine(init, forward, backward, update, name=name, effective=effective)


def _both(forward: MachineState, reverse: MachineState) -> MachineState:
    return MachineState(*({"forward": a, "reverse": b} for a, b in zip(forward, reverse, strict=True)))


def _only(when: When | None, step: jax.Array, compute, otherwise: PyTree) -> PyTree:
    return compute() if when is None else jax.lax.cond(when(step), compute, lambda: otherwise)


def _distance(left: PyTree, right: PyTree) -> jax.Array:
    """The squared distance, a mean over the batch."""
    apart = jax.tree.map(lambda a, b: jnp.sum((a - b) ** 2) / len(a), left, right)
    return sum(jax.tree.leaves(apart), jnp.float32(0))


def _check_inverse(x: PyTree, found: PyTree) -> None:
    if not is_real(x):
        raise ValueError("target propagation reconstructs its input, which must be real numbers")
    shapes = [jax.tree.map(lambda leaf: list(leaf.shape), tree) for tree in (x, found)]
    if shapes[0] != shapes[1]:
        raise ValueError(f"its reverse module returns the shape {shapes[1]}: it must return the input's, {shapes[0]}")

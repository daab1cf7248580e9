"""Least squares in place of gradients through a linear map."""

import jax
import jax.numpy as jnp
import optax

from al_jax.arguments import whole
from al_jax.machines.linen import ADAM, Layer, from_linen
from al_jax.machines.schedules import Number, Schedule, is_zero, refuse_negative, value_at
from al_jax.machines.types import Context, Feedback, Machine


def least_squares(
    width: int,
    optimizer: optax.GradientTransformation = ADAM,
    *,
    inputs: Schedule | None = 1e-2,
    parameters: Schedule | None = None,
    name: str = "least_squares",
) -> Machine:
    """A dense layer `(B, ...) -> (B, width)` that solves for what to change, in its input or its parameters.

    With `d` the delta of its output, the layer hands down the `dx` that minimises
    `|dx @ kernel - d|² + inputs * |dx|²`, and gives its optimizer, in place of a gradient, the `dW, db` that minimise
    `|x @ dW + db - d|² + parameters * |dW|²`, both sums over the batch. Both are 0 where `d` is. Activation and batch
    norm follow as a machine of their own: `chain(least_squares(128), from_linen(...))` hands gradients down through
    those and least squares through this (Zenkai, Short 2023, Appendix A.3).

    Feedback from a mean loss has a factor 1/B, and what is solved for is proportional to it.

    Args:
      width: units.
      optimizer: of the parameters; with `parameters`, `optax.sgd(step)` takes that share of the solution.
      inputs: the ridge of the input's step, or a schedule of the number of updates; 0 is the smallest solution of plain
        least squares, by a slower decomposition; None hands the gradient down.
      parameters: the same for the parameters, whose bias has no ridge; None gives the optimizer the gradient.
      name: what errors and metrics call it.

    Raises:
      ValueError: the width is no whole number, a ridge is negative, or nothing is solved by least squares.
    """
    width = whole(f"the width of machine {name!r}", width)
    if inputs is None and parameters is None:
        raise ValueError(
            f"machine {name!r} solves for neither inputs nor parameters: use from_linen(nn.Dense({width}))"
        )
    for kind, ridge in (("inputs", inputs), ("parameters", parameters)):
        if ridge is not None:
            refuse_negative(ridge, f"the ridge for the {kind} of machine {name!r}")
    own = from_linen(Layer(width, ()), optimizer)

    def backward(params, fixed, residuals, feedback, context):
        gradients, below, metrics = own.backward(params, fixed, residuals, feedback, context)
        x = residuals.x
        if inputs is not None:
            delta = input_step(params["Dense_0"]["kernel"], feedback.delta, _at(inputs, context))
            below = Feedback.along(x, delta.reshape(x.shape))
        if parameters is not None:
            kernel, bias = parameter_step(x.reshape(len(x), -1), feedback.delta, _at(parameters, context))
            gradients = {"Dense_0": {"kernel": kernel, "bias": bias}}
        return gradients, below, metrics

    return own._replace(backward=backward, name=name)


def _at(schedule: Schedule, context: Context) -> Number:
    return 0.0 if is_zero(schedule) else value_at(schedule, context.step)


def input_step(kernel: jax.Array, delta: jax.Array, ridge: Number) -> jax.Array:
    """The `(B, inputs)` that minimise `|dx @ kernel - delta|² + ridge * |dx|²`, for `delta` of `(B, outputs)`."""
    return solve_ridge(kernel.T, delta.T, ridge).T


def parameter_step(x: jax.Array, delta: jax.Array, ridge: Number) -> tuple[jax.Array, jax.Array]:
    """The kernel and bias that minimise `|x @ kernel + bias - delta|² + ridge * |kernel|²`.

    The best bias centres both sides, so the kernel is that of the centred problem.
    """
    x_mean, delta_mean = x.mean(0), delta.mean(0)
    kernel = solve_ridge(x - x_mean[None], delta - delta_mean[None], ridge)
    return kernel, delta_mean - x_mean @ kernel


def solve_ridge(a: jax.Array, b: jax.Array, ridge: Number) -> jax.Array:
    """The `z` of `(n, k)` that minimises `|a @ z - b|² + ridge * |z|²`, for `a` of `(m, n)` and `b` of `(m, k)`.

    It factorises the smaller of the two Gram matrices by Cholesky; a ridge below the rounding of that matrix is raised
    to it, since the factor would not be real. The plain number 0 takes the pseudoinverse.
    """
    if is_zero(ridge):
        return jnp.linalg.lstsq(a, b)[0]
    wide = a.shape[0] < a.shape[1]
    gram = _product(a, a.T) if wide else _product(a.T, a)
    least = jnp.maximum(jnp.finfo(gram.dtype).eps * jnp.trace(gram), jnp.finfo(gram.dtype).tiny)
    gram += jnp.maximum(ridge, least) * jnp.eye(len(gram), dtype=gram.dtype)
    return (_product(_divided(b.T, gram), a) if wide else _divided(_product(b.T, a), gram)).T


def _divided(rows: jax.Array, gram: jax.Array) -> jax.Array:
    """`rows @ inverse(gram)`; solving for rows spares transposes that solving for columns would take."""
    lower = jax.lax.linalg.cholesky(gram, symmetrize_input=False)
    rows = jax.lax.linalg.triangular_solve(lower, rows, lower=True, transpose_a=True)
    return jax.lax.linalg.triangular_solve(lower, rows, lower=True)


def _product(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.matmul(a, b, precision="highest")  # a Gram matrix squares the condition number

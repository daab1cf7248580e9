"""Feedback alignment: errors travel down through feedback matrices instead of the weights."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax.traverse_util import flatten_dict, unflatten_dict

from al_jax.machines.linen import ADAM, Residuals, applied, from_linen, initial
from al_jax.machines.types import Machine, MachineState, PyTree

FEEDBACK = "feedback"
LINEAR = (nn.Dense, nn.DenseGeneral, nn.Einsum, nn.Conv, nn.ConvLocal, nn.ConvTranspose)


class Kind(NamedTuple):
    """A kind of feedback matrix.

    Attributes:
      keep: `(drawn, kernel) -> kept` of a second draw of the kernel and the first.
      matrix: `(kept, kernel) -> B` at any later time.
    """

    keep: Callable[[jax.Array, jax.Array], jax.Array]
    matrix: Callable[[jax.Array, jax.Array], jax.Array]


def _signed(magnitude: jax.Array, kernel: jax.Array) -> jax.Array:
    return magnitude * jnp.sign(kernel)


_RANDOM = Kind(lambda drawn, kernel: drawn, lambda kept, kernel: kept)
_RANDOM_SIGNED = Kind(lambda drawn, kernel: jnp.abs(drawn), _signed)
KINDS = {
    "fixed_random": _RANDOM,
    "uniform_sign": Kind(lambda drawn, kernel: jnp.sqrt(jnp.mean(jnp.square(kernel))), _signed),
    "batchwise_random_sign": _RANDOM_SIGNED,
    "fixed_random_sign": _RANDOM_SIGNED,
    "kolen_pollack": _RANDOM,
}


def feedback_alignment(
    module: nn.Module,
    optimizer: optax.GradientTransformation = ADAM,
    *,
    kind: str = "fixed_random",
    decay: float | None = None,
    name: str | None = None,
) -> Machine:
    """Makes a machine from a Linen module whose errors travel down through a matrix `B` in place of each kernel `W`.

    The gradients are those of the local target; activations and norms are differentiated as they ran. Only where an
    error passes a dense or convolutional layer does `B`, of the kernel's shape, stand for `W`: what a dense layer hands
    down is `delta @ B.T`. It holds inside a module of several layers too, whose lower gradients are then not the true
    ones. In a chain the output layer aligns too, since the layer below hears of its `B`. With the same key the
    parameters are those of `from_linen`. What `B` is made of lies in `fixed["feedback"]`, by the names of the kernels,
    out of every optimizer's reach.

    Args:
      module: `x -> y` or `(x, train) -> y`; dense and convolutional layers hold all its weights.
      optimizer: of its parameters; Adam at 1e-3 by default.
      kind: how `B` comes about, "a draw" being one of the kernel's own initialiser:
        `fixed_random`: a draw (Lillicrap et al. 2016).
        `uniform_sign`: `sign(W)` times the root mean square of the initial `W` (Liao et al. 2016, uSF; the scale as
        in Moskovitz et al. 2018).
        `batchwise_random_sign`: `sign(W)` times the magnitudes of a draw of every forward pass (Liao's brSF).
        `fixed_random_sign`: `sign(W)` times the magnitudes of one draw (Liao's frSF).
        `kolen_pollack`: a draw at first; each update moves it and `W` alike, and both decay (Akrout et al. 2019, after
        Kolen and Pollack 1994), so `W - B` shrinks by the factor `1 - decay` whatever the optimizer. Not so where a
        combinator then moves or holds `W` alone, as `ema_params(every=...)`, `masked(params=...)` and `with_phase` do;
        inside `al.machines.differentiable`, where others update, `B` stays as drawn.
      decay: of `kolen_pollack` alone, a part of `W` and `B` in every update, not multiplied by the learning rate;
        1e-4 if not given.
      name: what errors and metrics call it.

    Raises:
      ValueError: unknown kind, a decay outside of (0, 1) or for a kind that has none; from `init`, the module has no
        dense or convolutional layer, or weights outside of such layers.
    """
    name = name or type(module).__name__
    if kind not in KINDS:
        raise ValueError(f"machine {name!r}: no feedback alignment of kind {kind!r}, only {', '.join(sorted(KINDS))}")
    if decay is not None and kind != "kolen_pollack":
        raise ValueError(f"machine {name!r}: only kind='kolen_pollack' decays its feedback, not {kind!r}: leave it out")
    decay = 1e-4 if decay is None else decay
    if not 0 < decay < 1:
        raise ValueError(f"machine {name!r}: decay is {decay}, but must lie between 0 and 1")
    base, apply = from_linen(module, optimizer, name=name), applied(module)
    keep, matrix = KINDS[kind]
    fresh = kind == "batchwise_random_sign"

    def kept(params, key, x):
        drawn, kernels = _draw(module, key, x, name), _leaves(params)
        return unflatten_dict({path: keep(leaf, kernels[path]) for path, leaf in drawn.items()})

    def init(key, x):
        state = base.init(key, x)
        feedback = kept(state.params, jax.random.fold_in(key, 1), x)
        return state if fresh else state._replace(fixed={**state.fixed, FEEDBACK: feedback})

    def forward(params, fixed, x, key, train):
        feedback = kept(params, jax.random.fold_in(key, 1), x) if fresh else fixed[FEEDBACK]
        kernels = _leaves(params)
        matrices = {path: matrix(leaf, kernels[path]) for path, leaf in _leaves(feedback).items()}

        def run(params, x):
            with nn.intercept_methods(_send_through(matrices)):
                return apply(params, fixed, x, key, train)

        # Outputs come from the module itself, so that whoever differentiates them gets the true gradient.
        y, model_state = apply(params, fixed, x, key, train)
        _, pull, _ = jax.vjp(run, params, x, has_aux=True)
        return y, Residuals(x, pull, model_state)

    def update(state, residuals, gradients, context):
        return _decayed(state, base.update(state, residuals, gradients, context), decay)

    return base._replace(init=init, forward=forward, update=update if kind == "kolen_pollack" else base.update)


def _draw(module: nn.Module, key: jax.Array, x: PyTree, name: str) -> dict[tuple[str, ...], jax.Array]:
    """Kernels of the module's linear layers, drawn with `key`, by their places among its parameters."""
    layers = set()

    def note(next_method, args, kwargs, context):
        if _is_linear(context):
            layers.add(context.module.path)
        return next_method(*args, **kwargs)

    with nn.intercept_methods(note):
        params = _leaves(dict(initial(module, key, x)).get("params", {}))
    if not layers:
        raise ValueError(
            f"machine {name!r} has no dense or convolutional layer, so no errors to align: use al.machines.from_linen"
        )
    for path, leaf in params.items():
        if path[:-1] not in layers and leaf.ndim > 1:
            raise ValueError(
                f"machine {name!r} has weights in {'/'.join(path)}, outside of dense and convolutional layers, through "
                "which errors would pass back: use nn.Dense or nn.Conv"
            )
    return {path: leaf for path, leaf in params.items() if path[-1] == "kernel" and path[:-1] in layers}


def _leaves(tree: PyTree) -> dict[tuple[str, ...], jax.Array]:
    """Arrays by their places in nested dictionaries."""
    leaves: Any = flatten_dict(tree)
    return leaves


def _is_linear(context: nn.module.InterceptorContext) -> bool:
    return context.method_name == "__call__" and isinstance(context.module, LINEAR)


def _send_through(matrices: dict[tuple[str, ...], jax.Array]):
    """A Flax interceptor under which cotangents pass linear layers by their `matrices`."""

    def intercept(next_method, args, kwargs, context):
        if not _is_linear(context):
            return next_method(*args, **kwargs)
        (x, *others), layer = args or (kwargs.pop("inputs"),), context.module
        y = next_method(jax.lax.stop_gradient(x), *others, **kwargs)
        params, matrix = layer.variables["params"], matrices[(*layer.path, "kernel")]
        if matrix.shape != params["kernel"].shape:
            raise ValueError(
                f"{'/'.join(layer.path)} has kernels of its own for each step of an nn.scan or nn.vmap, where feedback "
                "matrices do not reach: write the layers one by one"
            )
        params = {**params, "kernel": matrix}
        alone = layer.clone(parent=None)
        return _sent(lambda params, x: alone.apply({"params": params}, x, *others, **kwargs), params, x, y)

    return intercept


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _sent(linear, params, x, y):
    """`y`, as if `linear(params, x)` had computed it of `x`."""
    return y


def _ahead(linear, params, x, y):
    return y, (params, x)


def _back(linear, kept, delta):
    params, x = kept
    return None, *jax.vjp(functools.partial(linear, params), x)[1](delta), delta


_sent.defvjp(_ahead, _back)


def _decayed(before: MachineState, after: MachineState, decay: float) -> MachineState:
    """The state after an update that moved `B` as it moved `W`, less the decay of both."""
    old, new = _leaves(before.params), _leaves(after.params)
    feedback = _leaves(before.fixed[FEEDBACK])
    for path, matrix in feedback.items():
        feedback[path] = matrix + (new[path] - old[path]) - decay * matrix
        new[path] = new[path] - decay * old[path]
    fixed = {**after.fixed, FEEDBACK: unflatten_dict(feedback)}
    return after._replace(params=unflatten_dict(new), fixed=fixed)

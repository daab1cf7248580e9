"""Machines of Flax modules that learn by the gradient of their local target."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from al_jax.components import call_block
from al_jax.machines.types import Feedback, Machine, MachineState, PyTree
from al_jax.networks.convolution import conv_general_dilated

ADAM = optax.adam(1e-3)


class Residuals(NamedTuple):
    """What a differentiable forward pass leaves: its input, how to pull a cotangent back, and the new model state."""

    x: PyTree
    pull: PyTree
    model_state: PyTree


def from_linen(
    module: nn.Module, optimizer: optax.GradientTransformation = ADAM, *, name: str | None = None
) -> Machine:
    """Makes a machine from a Linen module `x -> y` or `(x, train) -> y`.

    It descends the gradient of `0.5 * |y - target|²` and hands down the gradient at its input, so a chain of any number
    of such machines is backpropagation, to rounding: the chain rule works on `feedback.delta`.

    Args:
      module: any; it may use batch norm and draw random numbers.
      optimizer: of its parameters; Adam at 1e-3 by default.
      name: what errors and metrics call it.

    Raises:
      ValueError: there is no module, or no optimizer.
    """
    apply = applied(module)
    name = name or type(module).__name__
    refuse_no_optimizer(f"machine {name!r}", optimizer)

    def init(key, x):
        variables = dict(initial(module, key, x))
        params = variables.pop("params", {})
        return MachineState(params, variables, optimizer.init(params))

    def forward(params, fixed, x, key, train):
        def run(params, x):
            return apply(params, fixed, x, key, train)

        y, pull, model_state = jax.vjp(run, params, x, has_aux=True)
        return y, Residuals(x, pull, model_state)

    def backward(params, fixed, residuals, feedback, context):
        gradients, delta = residuals.pull(feedback.delta)
        return gradients, Feedback.along(residuals.x, of_numbers(delta, residuals.x)), {}

    def update(state, residuals, gradients, context):
        return stepped(optimizer, state, gradients)._replace(fixed=residuals.model_state)

    return Machine(init, forward, backward, update, name=name)


def of_numbers(delta: PyTree, x: PyTree) -> PyTree:
    """The cotangent, with float32 zeros in place of JAX's float0 where the input is whole numbers."""

    def zeros(delta, x):
        return jnp.zeros(x.shape, jnp.float32) if delta.dtype == jax.dtypes.float0 else delta

    return jax.tree.map(zeros, delta, x)


def initial(module: nn.Module, key: jax.Array, x: PyTree) -> PyTree:
    """The module's variables; of `x` shapes and types count."""
    return module.init(key, x, True, method=call_block)


def applied(module: nn.Module):
    """The module as `(params, model_state, x, key, train) -> (y, model_state)`.

    Raises:
      ValueError: it is none.
    """
    _refuse_no_module(module)

    def apply(params, model_state, x, key, train):
        mutable = list(model_state) if train else []
        variables = {"params": params, **model_state}
        y, changed = module.apply(variables, x, train, rngs={"params": key}, mutable=mutable, method=call_block)
        return y, {**model_state, **changed}

    return apply


def _refuse_no_module(module: Any) -> None:
    if isinstance(module, nn.Module):
        return
    if isinstance(module, type):
        raise ValueError(f"{module.__name__} is a class: give an instance of it, as {module.__name__}(...)")
    if callable(module):
        raise ValueError("a machine is made of a Flax module, not of a function: al.machines.After((function,)) is one")
    raise ValueError(f"a machine is made of a Flax module, such as nn.Dense(10), not of a {type(module).__name__}")


def refuse_no_optimizer(owner: str, optimizer: Any) -> None:
    """Raises ValueError for what is no optax transformation; `owner` says whose it should be."""
    if hasattr(optimizer, "update") and hasattr(optimizer, "init"):
        return
    if callable(optimizer):
        made = getattr(optimizer, "__name__", "this function")
        raise ValueError(
            f"{made} makes an optimizer of a learning rate: give {owner} what it returns, as optax.adam(1e-3)"
        )
    raise ValueError(
        f"a {type(optimizer).__name__} is no optimizer: give {owner} a transformation, as optax.adam(1e-3)"
    )


def stepped(optimizer: optax.GradientTransformation, state: MachineState, gradients: PyTree) -> MachineState:
    """The state after an optimizer's step on its parameters."""
    with jax.numpy_dtype_promotion("standard"):  # optax mixes integer counts and floats
        changes, opt_state = optimizer.update(gradients, state.opt_state, state.params)
    return state._replace(params=optax.apply_updates(state.params, changes), opt_state=opt_state)


class After(nn.Module):
    """What follows the linear part of a layer, one after the other.

    Attributes:
      then: functions of the features, or `"norm"` for batch norm.
    """

    then: tuple

    @nn.compact
    def __call__(self, x, train):
        for step in self.then:
            x = nn.BatchNorm(use_running_average=not train, momentum=0.9)(x) if step == "norm" else step(x)
        return x


class Layer(nn.Module):
    """A dense layer on the flattened input, and what follows: `(B, ...) -> (B, width)`."""

    width: int
    then: tuple = (nn.relu,)

    @nn.compact
    def __call__(self, x, train):
        return After(self.then)(nn.Dense(self.width)(x.reshape(len(x), -1)), train)


class ConvLayer(nn.Module):
    """A convolution without padding, what follows, and 2x2 max pooling, as in LeNet.

    `(B, H, W, C) -> (B, (H - 4) // 2, (W - 4) // 2, width)` for kernels of 5x5.
    """

    width: int
    kernel: int = 5
    then: tuple = (nn.relu,)

    @nn.compact
    def __call__(self, x, train):
        if min(x.shape[1:3]) <= self.kernel:
            raise ValueError(f"nothing is left of it by a kernel of {self.kernel}x{self.kernel} and pooling")
        kernel = (self.kernel, self.kernel)
        x = nn.Conv(self.width, kernel, padding="VALID", conv_general_dilated=conv_general_dilated)(x)
        return nn.max_pool(After(self.then)(x, train), (2, 2), strides=(2, 2))

"""From pure Flax modules to components, and from components to a network."""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from al_jax.arguments import not_negative, several, whole
from al_jax.types import Component, Network, Prepare, PyTree

OTHER_FLAGS = {"training", "is_training", "is_train", "inference", "deterministic", "use_running_average"}


def component(
    module: nn.Module, *, labels: PyTree = "parameters", rates: Mapping[str, float] | None = None
) -> Component:
    """Makes a component from a Linen module `(signal, train) -> (signal_up, losses)`.

    The gradient of the incoming signal is stopped here, so nothing a module does can train what lies below it.

    Args:
      module: the lowest component receives the batch itself, `{"image": (B, ...), "label": (B,)}`. It may use batch
        norm and draw random numbers from any stream, which Flax then derives from `params`: the others are not given,
        so `has_rng("dropout")` is False. `flax.nnx.bridge.to_linen` makes a Linen module of an NNX one.
      labels: a tree prefix of the module's parameters that names groups of them.
      rates: factor on the optimizer's updates of each group, 0 or more; 1 for groups not named.

    Raises:
      ValueError: `module` is not a Linen module, or `rates` has a group that `labels` does not, or a negative factor.
    """
    if not isinstance(module, nn.Module):
        raise ValueError(f"al.component takes a Flax module, not {module!r}; of a class, give an instance")

    def init(key, signal):
        return module.init(key, jax.lax.stop_gradient(signal), True)

    def apply(variables, signal, key, train):
        collections = [name for name in variables if name != "params"]
        # Linen draws from the stream `params` whenever the stream a module asks for is not given.
        returned, model_state = module.apply(
            variables, jax.lax.stop_gradient(signal), train, rngs={"params": key}, mutable=collections
        )
        if not isinstance(returned, tuple) or len(returned) != 2:
            raise ValueError(f"it must return (signal_up, losses), and returned a {type(returned).__name__}")
        signal_up, losses = returned
        return signal_up, losses, model_state

    groups = dict.fromkeys(jax.tree.leaves(labels), 1.0)
    if unknown := set(rates or {}) - set(groups):
        raise ValueError(f"rates names the group {min(unknown)!r}, but labels has only {', '.join(sorted(groups))}")
    rates = {**groups, **(rates or {})}
    for group, rate in rates.items():
        not_negative(f"the rate of {group!r}", rate)
    return Component(init, apply, labels, rates, type(module).__name__, module)


def compose(components: Iterable[Component], predict: Callable[..., jax.Array] | None = None) -> Network:
    """Chains components into a network that every engine trains.

    Args:
      components: from the input upwards.
      predict: `(variables, images, depth=None) -> scores`, the path of inference; without it the network trains, and
        asking it for a prediction raises a `ValueError`.

    Raises:
      ValueError: there is no component, one is not a component, or `predict` takes no depth.
    """
    if isinstance(components, Network):
        raise ValueError("al.compose takes components, and this is a network already")
    components = several("components", components)
    if not components:
        raise ValueError("al.compose needs at least one component")
    if other := [part for part in components if not isinstance(part, Component)]:
        raise ValueError(
            f"al.compose takes components, not {type(other[0]).__name__}: al.component makes one of a Flax module"
        )
    if predict is not None and not (callable(predict) and "depth" in inspect.signature(predict).parameters):
        raise ValueError("predict must take (variables, images, depth=None)")
    return Network(components, predict or _no_prediction, (True,) * len(components))


def _no_prediction(variables, images, depth=None):
    raise ValueError("this network was composed without a prediction: give al.compose predict=")


def freeze(network: Network, indices: int | Iterable[int]) -> Network:
    """Freezes the components at `indices` (from 0): they still compute, in inference mode.

    Their parameters and model state never change; their optimizers go on counting.

    Raises:
      ValueError: there is no network or no such component, or a mask is given in place of indices.
    """
    if not isinstance(network, Network):
        raise ValueError(f"al.freeze takes a network, of a rule or al.compose, not a {type(network).__name__}")
    given = tuple(indices) if isinstance(indices, Iterable) and not isinstance(indices, str) else (indices,)
    if any(isinstance(i, bool | np.bool_) for i in given):
        raise ValueError("al.freeze takes indices, from 0, not a mask")
    indices = {whole("an index for al.freeze", i, least=0) for i in given}
    if outside := [i for i in indices if i >= len(network.components)]:
        raise ValueError(f"cannot freeze component {outside[0]}: the network has 0 to {len(network.components) - 1}")
    components = tuple(_frozen(part) if i in indices else part for i, part in enumerate(network.components))
    return network._replace(components=components)


def _frozen(part: Component) -> Component:
    def apply(variables, signal, key, train):
        signal_up, losses, _ = part.apply(jax.lax.stop_gradient(variables), signal, key, False)
        return signal_up, losses, {name: own for name, own in variables.items() if name != "params"}

    # A rate of zero also stills optimizers that move parameters without a gradient, such as weight decay. The module by
    # itself would train.
    return part._replace(apply=apply, labels="frozen", rates={"frozen": 0.0}, module=None, hear=None)


def with_prepare(network: Network, prepare: Prepare | None) -> Network:
    """Lets component 1 and inference see `prepare(image, key, train)` in place of the batch's images."""
    if prepare is None:
        return network
    _check_prepare(prepare)
    first = network.components[0]

    def seen(batch, key, train):
        return {**batch, "image": prepare(batch["image"], key, train)}

    def init(key, batch):
        return first.init(key, seen(batch, key, False))

    def apply(variables, batch, key, train):
        key_prepare, key = jax.random.split(key)
        return first.apply(variables, seen(batch, key_prepare, train), key, train)

    def predict(variables, images, depth=None):
        return network.predict(variables, prepare(images, jax.random.key(0), False), depth)

    def anytime(variables, images, depth=None):
        return anytime_scores(network, variables, prepare(images, jax.random.key(0), False), depth)

    prepared = first._replace(init=init, apply=apply)
    return network._replace(components=(prepared, *network.components[1:]), predict=predict, anytime=anytime)


def _check_prepare(prepare: Prepare) -> None:
    """Refuses what cannot be called with three arguments, such as a function that makes a `Prepare`."""
    try:
        inspect.signature(prepare).bind("image", "key", "train")
    except (TypeError, ValueError):
        given = getattr(prepare, "__name__", repr(prepare))
        raise ValueError(
            f"prepare must take (image, key, train), and {given} does not: al_jax.data.unit_range() makes one"
        ) from None


def check_variables(variables: Sequence[Any], number: int) -> None:
    """Refuses what are not the variables of this number of components, such as the components themselves."""
    given = variables if isinstance(variables, Sequence) else ()
    if len(given) != number or not all(isinstance(own, Mapping) for own in given):
        raise ValueError(
            f"predict takes the variables of the {number} components of this network: give "
            "[part.variables for part in components]"
        )


def anytime_scores(network: Network, variables, images, depth: int | None = None) -> jax.Array:
    """Scores `(depth, B, classes)` by the first 1, 2, … components of any network, all by default."""
    if network.anytime is not None:
        return network.anytime(variables, images, depth)
    return jnp.stack([network.predict(variables, images, depth=k) for k in network.depths[:depth]])


def groups_of(prefix: PyTree, tree: PyTree) -> PyTree:
    """The part of a prefix of nested dicts whose names are in this tree, which lacks modules without parameters.

    Example:
      An optimizer for each group that a component names, whether or not all its parts have parameters:

      >>> import functools, optax, al_jax as al
      >>> part = al.associated(al.networks.mlp([16]), classes=10, code=8).components[0]
      >>> rules = {"associated": optax.adam(1e-3), "autoencoder": optax.sgd(1e-2)}
      >>> optimizer = optax.partition(rules, functools.partial(al.groups_of, part.labels))
      >>> sorted(optimizer.init({"f": 0.0, "b": 0.0, "g": 0.0}).inner_states)
      ['associated', 'autoencoder']
    """
    if not isinstance(prefix, Mapping):
        return prefix
    return {name: groups_of(below, tree[name]) for name, below in prefix.items() if name in tree}


def call_block(block: nn.Module, x: jax.Array, train: bool) -> jax.Array:
    """Calls a Flax module with `train` if it takes one; plain layers do not.

    Raises:
      ValueError: it would silently run as in inference, since its flag for training has another name and a default, or
        since it is an `nn.Sequential`, which does not hand such a flag on to its layers.
    """
    flag = _flag(block)
    if flag is None:
        return block(x)
    if _is_sequence(block):
        raise ValueError(
            f"nn.Sequential does not tell its layers, of which one takes {flag!r}, whether they train: give them to "
            "al.networks.Stack, which does"
        )
    if flag != "train":
        raise ValueError(f"{type(block).__name__} takes {flag!r}: a block's flag for training is called 'train'")
    takes = inspect.signature(type(block).__call__).parameters
    # By position where that can be: only there do nn.remat and its kind leave a Python bool what it is.
    second = list(takes)[2:3] == ["train"] and takes["train"].kind is not inspect.Parameter.KEYWORD_ONLY
    return block(x, train) if second else block(x, train=train)


def _flag(block: nn.Module) -> str | None:
    """What says to a module whether it trains, if anything does; in an nn.Sequential, to one of its layers."""
    if _is_sequence(block):
        return next((flag for layer in block.layers if isinstance(layer, nn.Module) and (flag := _flag(layer))), None)
    parameters = inspect.signature(type(block).__call__).parameters
    # Flax's own layers have such flags too, None by default, for whoever makes them to set.
    others = sorted(name for name in OTHER_FLAGS & parameters.keys() if parameters[name].default is not None)
    return "train" if "train" in parameters else next(iter(others), None)


def _is_sequence(block: nn.Module) -> bool:
    """Whether it calls its layers as nn.Sequential does; one that inherits from it may do so in another way."""
    return isinstance(block, nn.Sequential) and type(block).__call__ is nn.Sequential.__call__

"""The codes of Associated Learning by themselves: no image reaches them, so they can be trained before the network.

The autoencoder losses of all components, `mean((h_i(g_i(t_{i-1})) - t_{i-1})^2)` with t_0 the one-hot label, depend on
the g's and h's alone. As a chain of its own they train on a batch of the C labels, one of each, in seconds.
"""

from collections.abc import Mapping, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from al_jax.arguments import several, whole
from al_jax.components import call_block, component, compose
from al_jax.losses import mean_squared_error, one_hot
from al_jax.rules.parts import CodeLayer, Loss, Parts, parts_of, up_to
from al_jax.types import ComponentState, Network, PyTree


class CodeComponent(nn.Module):
    """The encoder g_i and decoder h_i of one component; component 1 takes the labels of the batch."""

    g: nn.Module
    h: nn.Module
    loss: Loss = mean_squared_error
    classes: int | None = None

    def __call__(self, signal, train):
        code = self.encode(signal, train)
        return code, {"autoencoder": self.loss(self.decode(code, train), self._below(signal))}

    def encode(self, signal, train):
        return call_block(self.g, self._below(signal), train)

    def decode(self, code, train):
        return call_block(self.h, code, train)

    def _below(self, signal):
        return signal if self.classes is None else one_hot(signal["label"], self.classes)


def label_codes(
    classes: int,
    code: Sequence[int],
    *,
    encoder: Parts = CodeLayer,
    decoder: Parts = CodeLayer,
    loss: Loss = mean_squared_error,
) -> Network:
    """The chain of encoders and decoders of `al.associated`, which the same engines train.

    Its `predict` takes labels in the place of images, and decodes the code of component `depth` down to scores.

    Args:
      classes: length of the one-hot label.
      code: width of the code of each component.
      encoder: g_i, as for `al.associated`.
      decoder: h_i, as for `al.associated`.
      loss: of the decoded code and the code below.

    Raises:
      ValueError: there is no class, `code` gives no widths, or there is not one part for each.

    Example:
      >>> import jax, jax.numpy as jnp, optax, al_jax as al
      >>> trainer = al.sequential(al.label_codes(10, (32, 32)), optax.adam(1e-3))
      >>> labels = {"label": jnp.arange(10)}
      >>> state = trainer.init(jax.random.key(0), labels)
      >>> state, metrics = trainer.step(state, {"label": jnp.tile(labels["label"], (300, 1))})
    """
    classes, codes = whole("classes", classes), [whole("code", width) for width in several("code", code)]
    if not codes:
        raise ValueError("code is empty: give the width of at least one code")
    below = (classes, *codes[:-1])
    modules = [
        CodeComponent(g, h, loss, None if index else classes)
        for index, (g, h) in enumerate(zip(parts_of(encoder, codes), parts_of(decoder, below), strict=True))
    ]

    def decoded(variables, label, depth=None):
        """The labels `(B,)` encoded up to the code of component `depth` and decoded again, `(B, classes)`."""
        chain = up_to(depth, modules, variables)
        code = {"label": label}
        for module, own in chain:
            code = module.apply(own, code, False, method="encode")
        for module, own in reversed(chain):
            code = module.apply(own, code, False, method="decode")
        return jnp.asarray(code, jnp.float32)

    def all_decoded(variables, label, depth=None):
        """The same by the codes of components 1, 2, …, `(depth, B, classes)`; all at one level at once."""
        chain = up_to(depth, modules, variables)
        code, codes = {"label": label}, []
        for module, own in chain:
            code = module.apply(own, code, False, method="encode")
            codes.append(code)
        rows = codes[-1][:0]
        for (module, own), code in zip(reversed(chain), reversed(codes), strict=True):
            rows = module.apply(own, jnp.concatenate([code, rows]), False, method="decode")
        return jnp.asarray(rows, jnp.float32).reshape(len(chain), len(label), classes)

    return compose(map(component, modules), predict=decoded)._replace(anytime=all_decoded, classes=classes)


def with_codes(components: Sequence[ComponentState], codes: Sequence[ComponentState]) -> tuple[ComponentState, ...]:
    """Components of `al.associated` with the encoders and decoders that `al.label_codes` trained.

    Args:
      components: of the network, trained or not.
      codes: of the chain of codes.

    Returns:
      The components with the parameters and model state of g and h replaced.

    Raises:
      ValueError: one is no component, there is not one of both for each component, or codes have other widths.
    """
    for name, given in (("components", components), ("codes", codes)):
        if not all(isinstance(own, ComponentState) for own in several(name, given)):
            raise ValueError(f"{name} must be of one ComponentState each, as trainer.components gives them")
    if len(components) != len(codes):
        raise ValueError(f"{len(codes)} codes for {len(components)} components: give one for each")
    return tuple(_with_code(*pair, index + 1) for index, pair in enumerate(zip(components, codes, strict=True)))


def _with_code(own: ComponentState, trained: ComponentState, number: int) -> ComponentState:
    merged = _over(own.variables, trained.variables)
    if jax.tree.map(jnp.shape, merged) != jax.tree.map(jnp.shape, own.variables):
        raise ValueError(f"the codes of component {number} are not of its network: give label_codes the same widths")
    return own._replace(params=merged.pop("params", {}), model_state=merged)


def _over(tree: PyTree, other: PyTree) -> PyTree:
    """The tree with what the other one has in its place, at any depth: `al.leak` puts components into one."""
    if not isinstance(tree, Mapping) or not isinstance(other, Mapping):
        return other
    return {**tree, **{name: _over(tree.get(name), own) for name, own in other.items()}}

"""Associated Learning (Kao & Chen 2021, arXiv 1906.05560).

Component i has four parts: f_i lifts the features below to s_i, g_i lifts the code of the label below to t_i, the
bridge b_i maps s_i to t_i, and h_i decodes t_i again. Its two losses,

    associated:  mean((b_i(s_i) - stop_gradient(t_i))^2)                         trains f_i and b_i,
    autoencoder: mean((h_i(t_i) - stop_gradient(t_{i-1}))^2), t_i = g_i(t_{i-1}), trains g_i and h_i,

reach no other component. s_0 is the image and t_0 the one-hot label. Inference goes up the f's, over the top bridge and
down the h's: h_1 ∘ … ∘ h_K ∘ b_K ∘ f_K ∘ … ∘ f_1. Means over examples and units, in place of the paper's squared norms,
are what the authors' code computes.
"""

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from al_jax.components import call_block, component
from al_jax.losses import mean_squared_error
from al_jax.rules.parts import Bridge, CodeLayer, l2_penalty, part_of, widths_of
from al_jax.types import Component, Network

Loss = Callable[[jax.Array, jax.Array], jax.Array]
PartFactory = nn.Module | Callable[[int], nn.Module]


class AssociatedComponent(nn.Module):
    """The four parts of one component and its two losses.

    Attributes:
      f: features below to features, `(B, ...) -> (B, ...)`.
      b: features to code, `(B, ...) -> (B, n)`.
      g: code below to code, `(B, m) -> (B, n)`.
      h: code to code below, `(B, n) -> (B, m)`.
      losses: of the bridge's output and the code, and of the decoded code and the code below.
      classes: in component 1, which receives the batch, the length of the one-hot label; None above it.
      l2: weight of the penalty on f's kernels.
    """

    f: nn.Module
    b: nn.Module
    g: nn.Module
    h: nn.Module
    losses: tuple[Loss, Loss] = (mean_squared_error, mean_squared_error)
    classes: int | None = None
    l2: float = 0.0

    def __call__(self, signal, train):
        if self.classes is not None:
            signal = {"features": signal["image"], "code": jax.nn.one_hot(signal["label"], self.classes)}
        code_below = signal["code"]
        associated_loss, autoencoder_loss = self.losses

        features = self.lift(signal["features"], train)
        code = call_block(self.g, code_below, train)
        associated = associated_loss(self.associate(features, train), jax.lax.stop_gradient(code))
        autoencoder = autoencoder_loss(self.decode(code, train), code_below)

        losses = {"associated": associated, "autoencoder": autoencoder}
        if self.l2:
            losses["l2"] = l2_penalty(self.l2, self.f.variables.get("params", {}))
        return {"features": features, "code": code}, losses

    def lift(self, features, train):
        return call_block(self.f, features, train)

    def associate(self, features, train):
        return call_block(self.b, features, train)

    def decode(self, code, train):
        return call_block(self.h, code, train)


def associated(
    blocks: Sequence[nn.Module],
    classes: int,
    code: int | Sequence[int],
    *,
    bridge: PartFactory = Bridge,
    encoder: PartFactory = CodeLayer,
    decoder: PartFactory = CodeLayer,
    losses: tuple[Loss, Loss] = (mean_squared_error, mean_squared_error),
    autoencoder_rate: float = 2.0,
    l2: float = 0.0,
) -> Network:
    """Folds a backbone into components of Associated Learning, one for each block.

    Args:
      blocks: the f's, from the input upwards.
      classes: length of the one-hot label t_0.
      code: width n of every code t_i, or one width for each component.
      bridge: b_i as a Flax module, or a function of the code width that makes one; by default two dense sigmoid layers
        of 5n and n units.
      encoder: g_i, a module or a function of t_i's width; by default one dense sigmoid layer.
      decoder: h_i, a module or a function of t_{i-1}'s width; by default one dense sigmoid layer.
      losses: the associated and the autoencoder loss, `(prediction, target) -> scalar`.
      autoencoder_rate: factor on the optimizer's updates of g and h; the authors train them at twice the rate.
      l2: adds `l2 · Σ w² / 2` over f's kernels to the loss, as a loss of its own name.

    Raises:
      ValueError: there is no block, or `code` does not give one width for each.

    Example:
      >>> import jax, jax.numpy as jnp, al_jax as al
      >>> network = al.associated(al.networks.mlp([16, 16]), classes=10, code=8)
      >>> [sorted(part.rates.items()) for part in network.components][0]
      [('associated', 1.0), ('autoencoder', 2.0)]
    """
    codes = widths_of(code, blocks)
    below = (classes, *codes[:-1])
    modules = [
        AssociatedComponent(
            f=block,
            b=part_of(bridge, n),
            g=part_of(encoder, n),
            h=part_of(decoder, m),
            losses=losses,
            classes=classes if index == 0 else None,
            l2=l2,
        )
        for index, (block, n, m) in enumerate(zip(blocks, codes, below, strict=True))
    ]
    top = len(modules) - 1
    return Network(
        components=tuple(_component(module, autoencoder_rate) for module in modules),
        predict=_prediction(modules),
        effective=tuple({"f": True, "b": i == top, "g": False, "h": True} for i in range(len(modules))),
    )


def _component(module: AssociatedComponent, autoencoder_rate: float) -> Component:
    return component(
        module,
        labels={"f": "associated", "b": "associated", "g": "autoencoder", "h": "autoencoder"},
        rates={"autoencoder": autoencoder_rate},
    )


def _prediction(modules: Sequence[AssociatedComponent]):
    def predict(variables, images, depth=None):
        """Scores `(B, classes)` by the first `depth` components, all by default."""
        depth = len(modules) if depth is None else depth
        if not 1 <= depth <= len(modules):
            raise ValueError(f"depth is {depth}, allowed are 1 to {len(modules)}")
        chain = list(zip(modules, variables, strict=True))[:depth]
        signal = images
        for module, own in chain:
            signal = module.apply(own, signal, False, method="lift")
        top, own = chain[-1]
        signal = top.apply(own, signal, False, method="associate")
        for module, own in reversed(chain):
            signal = module.apply(own, signal, False, method="decode")
        return jnp.asarray(signal, jnp.float32)

    return predict

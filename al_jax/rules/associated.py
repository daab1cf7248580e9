"""Associated Learning (Kao & Chen 2021, arXiv 1906.05560).

Component i has four parts: f_i lifts the features below to s_i, g_i lifts the code of the label below to t_i, the
bridge b_i maps s_i to t_i, and h_i decodes t_i again. Its two losses,

    associated:  mean((b_i(s_i) - stop_gradient(t_i))^2)                         trains f_i and b_i,
    autoencoder: mean((h_i(t_i) - stop_gradient(t_{i-1}))^2), t_i = g_i(t_{i-1}), trains g_i and h_i,

reach no other component. s_0 is the image and t_0 the one-hot label. Inference goes up the f's, over the top bridge and
down the h's: h_1 ∘ … ∘ h_K ∘ b_K ∘ f_K ∘ … ∘ f_1. Means over examples and units, in place of the paper's squared norms,
are what the authors' code computes.
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from al_jax.arguments import reason, whole
from al_jax.components import call_block, component
from al_jax.losses import mean_squared_error, one_hot
from al_jax.rules.parts import (
    Branches,
    Bridge,
    CodeLayer,
    L2Kernels,
    Loss,
    Parts,
    branches_of,
    check_l2,
    l2_penalty,
    parts_of,
    predictions,
    widths_of,
)
from al_jax.types import Component, Network


class AssociatedComponent(nn.Module):
    """The four parts of one component and its two losses.

    Attributes:
      f: features below to features, `(B, ...) -> (B, ...)`.
      b: features to code, `(B, ...) -> (B, n)`.
      g: code below to code, `(B, m) -> (B, n)`.
      h: code to code below, `(B, n) -> (B, m)`.
      classes: the length C of the one-hot label.
      first: whether this is component 1, which receives the batch.
      losses: of the bridge's output and the code, and of the decoded code and the code below.
      branch: what stands between the features and the bridge, but not between this component and the next;
        `al.momentum` puts something there.
      l2: weight of the penalty on kernels.
      l2_kernels: on which: f's, those of its convolutions, or all of this component's.
    """

    f: nn.Module
    b: nn.Module
    g: nn.Module
    h: nn.Module
    classes: int
    first: bool = False
    losses: tuple[Loss, Loss] = (mean_squared_error, mean_squared_error)
    branch: nn.Module | None = None
    l2: float = 0.0
    l2_kernels: L2Kernels = "blocks"

    def __call__(self, signal, train):
        if self.first:
            code = one_hot(signal["label"], self.classes)
            signal = {"features": signal["image"], "code": code, "label": signal["label"]}
        associated_loss, autoencoder_loss = self.losses
        code_below = jax.lax.stop_gradient(signal["code"])  # also where al.leak lets gradients through the features

        features = self.lift(signal["features"], train)
        code, decoded = self.autoencode(code_below, signal["label"], train)
        code_of_features, target = self.associate(features, train), jax.lax.stop_gradient(code)
        made = "the bridge makes the first and the encoder the second"
        associated = _compared(associated_loss, code_of_features, target, made)
        made = "the decoder makes the first, and the second is the code below"
        autoencoder = _compared(autoencoder_loss, decoded, code_below, made)

        losses = {"associated": associated, "autoencoder": autoencoder}
        if self.l2:
            params = (self if self.l2_kernels == "all" else self.f).variables.get("params", {})
            losses["l2"] = l2_penalty(self.l2, params, self.l2_kernels == "convolutions")
        return {"features": features, "code": code, "label": signal["label"]}, losses

    def autoencode(self, code_below, label, train):
        """The code t_i and the code below, decoded from it.

        Both depend on the class alone, so with fewer classes than examples each is computed once a class, from its
        first example; what is computed for a class without one is not used.
        """
        if self.classes >= len(label):
            code = call_block(self.g, code_below, train)
            return code, self.decode(code, train)
        of_class = jax.nn.one_hot(label.astype(jnp.int32), self.classes)  # in eight bits class 256 would be 0 again
        code = call_block(self.g, code_below[jnp.argmax(of_class, axis=0)], train)
        decoded = self.decode(code, train)
        if (self.g.variables.keys() | self.h.variables.keys()) - {"params"}:
            raise ValueError(
                f"a batch of {len(label)} shows the encoder and decoder each of the {self.classes} classes once, so "
                "they cannot keep statistics of examples: leave batch norm out of them"
            )
        return _rows(of_class, code), _rows(of_class, decoded)

    def lift(self, features, train):
        return call_block(self.f, features, train)

    def associate(self, features, train):
        if self.branch is not None:
            features = self.branch(features, train)
        return call_block(self.b, features, train)

    def decode(self, code, train):
        return call_block(self.h, code, train)


def associated(
    blocks: Sequence[nn.Module],
    classes: int,
    code: int | Sequence[int],
    *,
    bridge: Parts = Bridge,
    encoder: Parts = CodeLayer,
    decoder: Parts = CodeLayer,
    losses: tuple[Loss, Loss] = (mean_squared_error, mean_squared_error),
    autoencoder_rate: float = 2.0,
    l2: float = 0.0,
    l2_kernels: L2Kernels = "blocks",
    branches: Branches | None = None,
) -> Network:
    """Folds a backbone into components of Associated Learning, one for each block.

    Args:
      blocks: the f's, Flax modules `(x)` or `(x, train)`, from the input upwards.
      classes: length of the one-hot label t_0.
      code: width n of every code t_i, or one width for each component.
      bridge: b_i, `(features)` or `(features, train) -> (B, n)`, as a Flax module, or a function of n that makes one,
        or one of these for each component; by default two dense sigmoid layers of 5n and n units.
      encoder: g_i, likewise by t_i's width; by default one dense sigmoid layer. It and the decoder map each
        row by itself, and see each class once where there are fewer classes than examples.
      decoder: h_i, likewise by t_{i-1}'s width; by default one dense sigmoid layer.
      losses: the associated and the autoencoder loss, `(prediction, target) -> scalar`.
      autoencoder_rate: factor on the optimizer's updates of g and h; the authors train them at twice the rate.
      l2: adds `l2 · Σ w² / 2` to the loss, as a loss of its own name; 0 or more.
      l2_kernels: over which kernels: f's (`blocks`), its convolutions' (`convolutions`), or also the bridge's and the
        autoencoder's (`all`).
      branches: for each component, what its bridge sees the features through, None for the top one; see
        `al.momentum`.

    Raises:
      ValueError: there is no block or class; `code`, parts or branches are not one for each; or `losses` or `l2` is
        not as above.

    Example:
      >>> import jax, jax.numpy as jnp, al_jax as al
      >>> network = al.associated(al.networks.mlp([16, 16]), classes=10, code=8)
      >>> [sorted(part.rates.items()) for part in network.components][0]
      [('associated', 1.0), ('autoencoder', 2.0)]
    """
    codes = widths_of(code, blocks)
    if not isinstance(losses, Sequence) or len(losses) != 2 or not all(map(callable, losses)):
        raise ValueError("losses must be a pair of functions, the associated and the autoencoder loss")
    check_l2(l2, l2_kernels)
    below = (whole("classes", classes), *codes[:-1])
    modules = [
        AssociatedComponent(
            f=block.clone(),
            b=b,
            g=g,
            h=h,
            losses=losses,
            classes=classes,
            first=index == 0,
            branch=branch,
            l2=l2,
            l2_kernels=l2_kernels,
        )
        for index, (block, b, g, h, branch) in enumerate(
            zip(
                blocks,
                parts_of(bridge, codes),
                parts_of(encoder, codes),
                parts_of(decoder, below),
                branches_of(branches, blocks),
                strict=True,
            )
        )
    ]
    top = len(modules) - 1
    predict, anytime = predictions(modules, _descend)
    return Network(
        components=tuple(_component(module, autoencoder_rate) for module in modules),
        predict=predict,
        effective=tuple(
            _parts(module, f=True, b=index == top, g=False, h=True, branch=False)
            for index, module in enumerate(modules)
        ),
        anytime=anytime,
        classes=classes,
    )


def _component(module: AssociatedComponent, autoencoder_rate: float) -> Component:
    return component(
        module,
        labels=_parts(module, f="associated", b="associated", g="autoencoder", h="autoencoder", branch="associated"),
        rates={"autoencoder": autoencoder_rate},
    )


def _parts(module: AssociatedComponent, **values: Any) -> dict[str, Any]:
    """A value for each of the parts that a component has."""
    return {part: value for part, value in values.items() if part != "branch" or module.branch is not None}


def _descend(chain, features):
    """Over the bridge of the top component and down all decoders."""
    top, own = chain[-1]
    code = top.apply(own, features, False, method="associate")
    for module, own in reversed(chain):
        code = module.apply(own, code, False, method="decode")
    return jnp.asarray(code, jnp.float32)


def _compared(loss: Loss, prediction: jax.Array, target: jax.Array, made: str) -> jax.Array:
    """The loss; of two shapes that it does not take, its refusal goes on to say what made them."""
    try:
        return loss(prediction, target)
    except (TypeError, ValueError) as error:
        if prediction.shape == target.shape:
            raise
        raise ValueError(f"{reason(error)}; {made}") from error


def _rows(of_class: jax.Array, codes: jax.Array) -> jax.Array:
    """Each example's row of `(C, n)`, exactly; a product, since the gradient of indexing is a race on accelerators."""
    return jnp.matmul(of_class.astype(codes.dtype), codes, precision=jax.lax.Precision.HIGHEST)

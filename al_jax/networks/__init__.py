"""Backbones as tuples of Flax blocks `(x) -> features` or `(x, train) -> features`; they know no learning rule."""

from al_jax.networks.mlp import DenseBlock, mlp

__all__ = ["DenseBlock", "mlp"]

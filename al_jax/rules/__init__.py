"""Learning rules: each assembles the components of a network from the blocks of a backbone; they know no device."""

from al_jax.rules.associated import AssociatedComponent, associated
from al_jax.rules.backprop import BackpropComponent, backprop, linear
from al_jax.rules.codes import label_codes, with_codes
from al_jax.rules.parts import Bridge, CodeLayer, NoBridge

__all__ = [
    "AssociatedComponent",
    "BackpropComponent",
    "Bridge",
    "CodeLayer",
    "NoBridge",
    "associated",
    "backprop",
    "label_codes",
    "linear",
    "with_codes",
]

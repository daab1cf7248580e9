"""Learning rules: each assembles the components of a network from the blocks of a backbone; they know no device."""

from al_jax.rules.associated import AssociatedComponent, associated
from al_jax.rules.backprop import BackpropComponent, backprop, linear
from al_jax.rules.codes import label_codes, with_codes
from al_jax.rules.greedy import greedy
from al_jax.rules.heads import AveragedClassifier, ConvHead, ImageHead, MlpSrHead, PooledClassifier, WideHead
from al_jax.rules.infopro import Contrast, Decoder, ImageDecoder, InfoPro, infopro
from al_jax.rules.leak import leak
from al_jax.rules.local import Classification, LocalComponent, local
from al_jax.rules.momentum import momentum
from al_jax.rules.momentum_branch import MomentumBranch
from al_jax.rules.parts import Bridge, CodeLayer, NoBridge
from al_jax.rules.predsim import Compared, PredSim, predsim

__all__ = [
    "AssociatedComponent",
    "AveragedClassifier",
    "BackpropComponent",
    "Bridge",
    "Classification",
    "CodeLayer",
    "Compared",
    "Contrast",
    "ConvHead",
    "Decoder",
    "ImageDecoder",
    "ImageHead",
    "InfoPro",
    "LocalComponent",
    "MlpSrHead",
    "MomentumBranch",
    "NoBridge",
    "PooledClassifier",
    "PredSim",
    "WideHead",
    "associated",
    "backprop",
    "greedy",
    "infopro",
    "label_codes",
    "leak",
    "linear",
    "local",
    "momentum",
    "predsim",
    "with_codes",
]

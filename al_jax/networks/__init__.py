"""Backbones as tuples of Flax blocks `(x) -> features` or `(x, train) -> features`; they know no learning rule.

On a CPU their convolutions have gradients of their own, which are fast inside loops but have no forward mode: `jax.jvp`
and `jax.hessian` fail there.
"""

from al_jax.networks.balance import balanced_cuts
from al_jax.networks.imagenet import RESNETS as IMAGENET_RESNETS
from al_jax.networks.imagenet import BottleneckUnit, ImageStem, VggHead, imagenet_resnet, vgg13
from al_jax.networks.layers import ConvLayer, Stack, cut, rematerialised
from al_jax.networks.mlp import DenseBlock, mlp
from al_jax.networks.partitions import published_cuts
from al_jax.networks.resnet import ResidualUnit, resnet
from al_jax.networks.vanilla_cnn import vanilla_cnn
from al_jax.networks.vgg import vgg

__all__ = [
    "IMAGENET_RESNETS",
    "BottleneckUnit",
    "ConvLayer",
    "DenseBlock",
    "ImageStem",
    "ResidualUnit",
    "Stack",
    "VggHead",
    "balanced_cuts",
    "cut",
    "imagenet_resnet",
    "mlp",
    "published_cuts",
    "rematerialised",
    "resnet",
    "vanilla_cnn",
    "vgg",
    "vgg13",
]

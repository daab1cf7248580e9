"""Where published work on supervised local learning cuts its networks into components.

A partition is the number of layers in each component from the input upwards, as every network's `cuts` takes it. The
stem is a layer, as is every residual unit and every convolution of a VGG.

Sources, read in their public code:

- `infopro`: InfoPro (Wang et al. 2021) and AugLocal (Ma et al. 2024), which share their partitions; where the stem is
  cut from the first unit, it is a component of its own. ResNet-110 into 55 and VGG13 into 10 are AugLocal's, the latter
  also DGL's. Neither cuts ResNet-110 into 32 or the ImageNet networks into 4; there MAN's partitions are taken, so that
  baselines and what they are compared with have the same partition.
- `man`: MAN (Su et al. 2024), where the first component always has the stem and at least one unit. What it calls K = 16
  and K = 55 therefore has 15 and 54 components, and is named by these numbers here. Its partitions of ImageNet networks
  into 4 are those of its first upload, which was withdrawn; which partitions made its tables is not known.
- `man++`: the ImageNet partitions of its sequel (Su et al. 2025), which differ from MAN's for 4 components.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, get_args

from al_jax.arguments import listed

Source = Literal["infopro", "man", "man++"]

_STAGE = (2, 1, 2, 1, 2, 2, 2, 2, 1, 2, 1)  # the 18 units of each of the first two stages
_RESNET110_32 = (1 + _STAGE[0], *_STAGE[1:], *_STAGE, 2, 2, 1, 2, 1, 2, 2, 2, 2, 2)
_MAN_101_4, _MAN_152_4 = (9, 9, 8, 8), (13, 9, 8, 21)
_SEQUEL_101_4, _SEQUEL_152_4 = (7, 10, 8, 9), (11, 15, 12, 13)

PARTITIONS: Mapping[Source, Mapping[str, tuple[tuple[int, ...], ...]]] = MappingProxyType(
    {
        "infopro": {
            "resnet32": ((2,) * 8, (1,) * 16),
            "resnet110": (_RESNET110_32, (1,) * 55),
            "resnet101": ((5, 29), _MAN_101_4),
            "resnet152": ((10, 41), _MAN_152_4),
            "resnext101": ((7, 27), _MAN_101_4),
            "vgg13": ((1,) * 10,),
        },
        "man": {
            "resnet32": ((2,) * 8, (2, *(1,) * 14)),
            "resnet110": (_RESNET110_32, (2, *(1,) * 53)),
            "resnet101": ((5, 29), _MAN_101_4),
            "resnet152": ((10, 41), _MAN_152_4),
            "resnext101": ((5, 29), _MAN_101_4),
        },
        "man++": {
            "resnet101": ((5, 29), _SEQUEL_101_4),
            "resnet152": ((10, 41), _SEQUEL_152_4),
            "resnext101": ((5, 29), _SEQUEL_101_4),
        },
    }
)


def published_cuts(network: str, components: int, source: Source = "infopro") -> tuple[int, ...]:
    """How many layers each component has, the stem counted as the first.

    >>> published_cuts("resnet32", 15, source="man")
    (2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1)

    Args:
      network: `resnet32`, `resnet110`, `resnet101`, `resnet152`, `resnext101` or `vgg13`.
      components: how many there are.
      source: who cuts like that.

    Raises:
      ValueError: the source has no such partition.
    """
    if source not in get_args(Source):
        raise ValueError(f"partitions are those of {listed(get_args(Source))}, not of {source!r}")
    networks = PARTITIONS[source]
    if network not in networks:
        raise ValueError(f"{source} cuts {listed(networks)}, not {network!r}")
    by_components = {len(cuts): cuts for cuts in networks[network]}
    if components not in by_components:
        raise ValueError(f"{source} cuts {network} into {listed(by_components)} components, not {components}")
    return by_components[components]

"""Published partitions: they take every layer, and end where the sources say."""

import pytest

from al_jax import networks
from al_jax.networks.imagenet import RESNETS
from al_jax.networks.partitions import PARTITIONS, published_cuts

UNITS = {"resnet32": (5, 5, 5), "resnet110": (18, 18, 18)} | {name: plan.units for name, plan in RESNETS.items()}
LAYERS = {name: 1 + sum(units) for name, units in UNITS.items()} | {"vgg13": 10}
# What the papers call K, of the partitions that exist.
NUMBERS = {
    "infopro": {
        "resnet32": [8, 16],
        "resnet110": [32, 55],
        "resnet101": [2, 4],
        "resnet152": [2, 4],
        "resnext101": [2, 4],
        "vgg13": [10],
    },
    "man": {
        "resnet32": [8, 15],
        "resnet110": [32, 54],
        "resnet101": [2, 4],
        "resnet152": [2, 4],
        "resnext101": [2, 4],
    },
    "man++": {"resnet101": [2, 4], "resnet152": [2, 4], "resnext101": [2, 4]},
}
ALL = [(source, name, number) for source, own in NUMBERS.items() for name, ks in own.items() for number in ks]


def ends(name, cuts):
    """The last unit of each component as (stage from 1, unit from 0), which is how the sources write it."""
    layers = [(0, 0)] + [(stage + 1, unit) for stage, units in enumerate(UNITS[name]) for unit in range(units)]
    return [layers[sum(cuts[: index + 1]) - 1] for index in range(len(cuts))]


def test_every_partition_is_known_here():
    found = {
        source: {name: [len(cuts) for cuts in all_cuts] for name, all_cuts in own.items()}
        for source, own in PARTITIONS.items()
    }
    assert found == NUMBERS


@pytest.mark.parametrize(("source", "name", "number"), ALL)
def test_partitions_take_every_layer(source, name, number):
    cuts = published_cuts(name, number, source)
    assert len(cuts) == number
    assert sum(cuts) == LAYERS[name]
    assert min(cuts) >= 1


@pytest.mark.parametrize(
    ("name", "number", "source", "expected"),
    [
        ("resnet32", 8, "infopro", [(1, 0), (1, 2), (1, 4), (2, 1), (2, 3), (3, 0), (3, 2), (3, 4)]),
        ("resnet101", 2, "infopro", [(2, 0), (4, 2)]),
        ("resnet152", 2, "infopro", [(2, 5), (4, 2)]),
        ("resnext101", 2, "infopro", [(2, 2), (4, 2)]),
        ("resnext101", 2, "man", [(2, 0), (4, 2)]),
        ("resnet101", 4, "man", [(3, 0), (3, 9), (3, 17), (4, 2)]),
        ("resnet152", 4, "man", [(3, 0), (3, 9), (3, 17), (4, 2)]),
        ("resnet101", 4, "man++", [(2, 2), (3, 8), (3, 16), (4, 2)]),
        ("resnet152", 4, "man++", [(2, 6), (3, 13), (3, 25), (4, 2)]),
    ],
)
def test_components_end_where_the_sources_say(name, number, source, expected):
    assert ends(name, published_cuts(name, number, source)) == expected


def test_resnet110_in_32_ends_at_the_same_units_of_its_first_two_stages():
    reached = ends("resnet110", published_cuts("resnet110", 32))
    units = [[unit for stage, unit in reached if stage == wanted] for wanted in (1, 2, 3)]
    assert units[0] == units[1] == [1, 2, 4, 5, 7, 9, 11, 13, 14, 16, 17]
    assert units[2] == [1, 3, 4, 6, 7, 9, 11, 13, 15, 17]


@pytest.mark.parametrize(("name", "alone", "merged"), [("resnet32", 16, 15), ("resnet110", 55, 54)])
def test_only_man_has_the_stem_in_the_component_of_the_first_unit(name, alone, merged):
    assert ends(name, published_cuts(name, alone))[0] == (0, 0)
    assert ends(name, published_cuts(name, merged, "man"))[0] == (1, 0)
    assert ends(name, published_cuts(name, alone))[1:] == ends(name, published_cuts(name, merged, "man"))


def test_networks_take_the_partitions_as_cuts():
    assert len(networks.resnet(32, published_cuts("resnet32", 15, "man"), standard=True)) == 15
    assert len(networks.imagenet_resnet("resnet152", published_cuts("resnet152", 4))) == 4
    assert len(networks.vgg13(published_cuts("vgg13", 10))) == 10


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("resnet32", 16, "man"), "man cuts resnet32 into 8 or 15 components, not 16"),
        (("vgg13", 10, "man"), "man cuts resnet32, resnet110, resnet101, resnet152 or resnext101, not 'vgg13'"),
        (("vgg13", 10, "dgl"), r"partitions are those of infopro, man or man\+\+, not of 'dgl'"),
        (("vgg13", 9), "infopro cuts vgg13 into 10 components, not 9"),
    ],
)
def test_other_partitions_are_refused(arguments, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        published_cuts(*arguments)

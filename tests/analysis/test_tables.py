"""Tables of the paper hold what was measured, and rest on what the library promises."""

import json

import jax
import numpy as np
import optax
from support import assert_same_bits, first, make_batches, train

import al_jax as al
from al_jax.analysis.tables import table_6


def summary(seed, *by_depth):
    return {
        "seed": seed,
        "accuracy_by_depth": by_depth,
        "epochs": 20,
        "processor": "a processor",
        "backend": "cpu",
        "config": {"seed": seed},
    }


def test_table_6_has_a_row_for_each_depth_of_the_network_of_three(tmp_path):
    runs = [summary(0, 0.97, 0.98, 0.985), summary(1, 0.98, 0.98, 0.995)]
    (tmp_path / "mnist_mlp_three.json").write_text(json.dumps({"name": "mnist_mlp_three", "runs": runs}))
    assert table_6(tmp_path).splitlines()[2:] == [
        "| 1 | 98.49 % | 97.50 ± 0.71 % | 0, 1 | 20 | a processor |",
        "| 2 | 98.60 % | 98.00 ± 0.00 % | 0, 1 | 20 | a processor |",
        "| 3 | 98.71 % | 99.00 ± 0.71 % | 0, 1 | 20 | a processor |",
    ]


def test_what_was_not_run_says_so(tmp_path):
    assert table_6(tmp_path).count("not run") == 3


def test_the_first_two_components_of_three_are_the_network_of_two():
    batches = make_batches(8)

    def trained(widths):
        network = al.associated(al.networks.mlp(widths), classes=4, code=5)
        trainer = al.sequential(network, optax.adam(1e-2), exact=True)
        return network, train_from_key(trainer, batches)

    two, shorter = trained([7, 6])
    three, taller = trained([7, 6, 5])
    assert_same_bits(taller[:2], shorter)
    image = batches["image"][0]
    scores = [
        network.predict([part.variables for part in components], image, depth=2)
        for network, components in ((two, shorter), (three, taller))
    ]
    np.testing.assert_array_equal(*scores)


def train_from_key(trainer, batches):
    return train(trainer, trainer.components(trainer.init(jax.random.key(0), first(batches))), batches)

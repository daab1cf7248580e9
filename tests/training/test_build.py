"""What fields of a configuration build: augmentations, against every window that NumPy cuts, and bridges."""

import itertools

import chex
import jax
import numpy as np
import optax
import pytest
from support import parameter_shapes

import al_jax as al
from al_jax.data import unit_range
from al_jax.training.build import build_prepare
from al_jax.training.config import default_config
from al_jax.training.facts import DataFacts
from al_jax.training.networks import build_network

KEYS = 400


def windows(image, padding, mode, flips):
    padded, (height, width, _) = np.pad(image, ((padding, padding), (padding, padding), (0, 0)), mode), image.shape
    places = [(row, column) for row in range(2 * padding + 1) for column in range(2 * padding + 1)]
    cut = [padded[row : row + height, column : column + width] for row, column in places]
    return {window.tobytes() for window in (*cut, *(window[:, ::-1] for window in cut if flips))}


@pytest.mark.parametrize(
    ("fields", "side", "expected"),
    [
        ({"augmentation": "reflect_crop_flip"}, 16, (2, "reflect", True)),
        ({"augmentation": "crop_flip"}, 16, (2, "constant", True)),
        ({"augmentation": "crop_flip", "padding": 1}, 16, (1, "constant", True)),
        ({"augmentation": "crop", "padding": 2}, 8, (2, "constant", False)),
        ({"augmentation": "jitter"}, 8, (2, "constant", False)),
        ({"augmentation": "resized_crop"}, 8, (0, "constant", False)),
    ],
)
def test_augmentations_cut_every_window_and_no_other(fields, side, expected):
    image = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    prepare = build_prepare(default_config(**fields), DataFacts(10, image.shape, unit_range()))
    result = np.asarray(prepare(np.stack([image] * KEYS), jax.random.key(0), True)) * 255
    assert {own.tobytes() for own in np.rint(result).astype(np.uint8)} == windows(image, *expected)


def test_a_conv_bridge_begins_with_a_block_shaped_like_the_next_one_and_ends_with_a_global_average():
    config = default_config(network="vanilla_cnn", width_factor=0.05, code=8, bridge="conv")
    network = build_network(config, DataFacts(10, (16, 16, 3), unit_range()))
    batch = {"image": np.zeros((2, 16, 16, 3), np.float32), "label": np.zeros(2, np.int32)}
    parts = [jax.tree.map(lambda x: x.shape, part) for part in parameter_shapes(network, batch)]
    for part, above in itertools.pairwise(parts):
        assert part["b"]["lead"] == above["f"]
        channels = above["f"]["layers_1"]["Conv_0"]["bias"]
        assert part["b"]["CodeLayer_0"]["Dense_0"]["kernel"] == (*channels, 5 * 8)
    assert "lead" not in parts[-1]["b"]


def test_each_component_may_have_hidden_units_of_its_own_in_its_bridge():
    batch = {"image": np.full((4, 2, 2, 1), 200, np.uint8), "label": np.arange(4)}
    facts = DataFacts(10, (2, 2, 1), unit_range())

    def first_update(hidden):
        network = build_network(default_config(components=2, width=8, code=4, bridge_hidden=hidden), facts)
        trainer = al.sequential(network, optax.sgd(0.1), prepare=unit_range())
        state = trainer.init(jax.random.key(0), batch)
        state, _ = trainer.step(state, jax.tree.map(lambda x: x[None], batch))
        return [part.params for part in trainer.components(state)]

    mixed, sigmoid, elu = map(first_update, ("sigmoid,elu", "sigmoid", "elu"))
    chex.assert_trees_all_close(mixed[0], sigmoid[0], rtol=1e-6)
    chex.assert_trees_all_close(mixed[1], elu[1], rtol=1e-6)  # which saw the same features before they learned
    with pytest.raises(AssertionError):
        chex.assert_trees_all_close(sigmoid, elu, rtol=1e-3)

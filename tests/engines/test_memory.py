"""An update of a local rule holds the activations of one component at a time, by XLA's own accounting."""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import optax
import pytest
from support import ConvBlock

import al_jax as al
from al_jax import rules

pytestmark = pytest.mark.optimised
ROOT = Path(__file__).resolve().parents[2]
IMAGE = jax.ShapeDtypeStruct((64, 16, 16, 3), jnp.float32)
LAYERS = 4
greedy = functools.partial(al.greedy, head=rules.PooledClassifier)


@pytest.fixture
def activations(monkeypatch):
    """Bytes of temporaries of an update of equal layers, cut into so many components, under a rule."""
    monkeypatch.syspath_prepend(ROOT)
    from benchmarks.compiled import compile_updates

    def activations(components, rule=greedy):
        layers = [ConvBlock(8) for _ in range(LAYERS)]
        network = rule(al.networks.cut(layers, components), classes=4)
        return compile_updates(network, optax.sgd(0.1), IMAGE, updates=2).memory["temporaries"]

    return activations


def test_activations_of_a_component_are_gone_when_the_next_one_runs(activations):
    end_to_end = activations(1)
    assert activations(LAYERS) < 0.45 * end_to_end
    # The same components as one, where all of their activations stay until the last loss: so much it would be.
    assert activations(LAYERS, al.leak(greedy, 0.5)) > 0.9 * end_to_end

"""The codes of the labels: trained by themselves, they are the autoencoders of Associated Learning."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support import assert_same_bits, first, make_batches, random_components, random_variables

import al_jax as al
from al_jax.components import anytime_scores

CLASSES, CODES = 4, (8, 6)
BATCHES = make_batches(5, size=CLASSES, classes=CLASSES)
LABELS = {"label": np.tile(np.arange(CLASSES, dtype=np.int32), (5, 1))}


def network(**options):
    return al.associated(al.networks.mlp([5, 6]), CLASSES, CODES, **options)


def of_codes(components):
    """What `al.label_codes` knows of the components of a network."""
    rate = optax.sgd(0.5)
    params = [{part: own.params[part] for part in "gh"} for own in components]
    return [own._replace(params=p, opt_state=rate.init(p)) for own, p in zip(components, params, strict=True)]


def test_codes_alone_learn_what_they_learn_in_the_network():
    """On batches of one example a class, with any images."""
    batches = {**BATCHES, **LABELS}
    inside, alone = network(autoencoder_rate=1.0), al.label_codes(CLASSES, CODES)
    components = random_components(inside, optax.sgd(0.5), first(batches))
    trainers = [al.sequential(chain, optax.sgd(0.5)) for chain in (inside, alone)]
    starts = components, of_codes(components)
    ends = []
    for trainer, start, fed in zip(trainers, starts, (batches, LABELS), strict=True):
        state, _ = trainer.step(trainer.place(start), fed)
        ends.append([{part: own.params[part] for part in "gh"} for own in trainer.components(state)])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), *ends)
    moved = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), ends[1], [own.params for own in starts[1]])
    assert min(jax.tree.leaves(moved)) > 1e-4


def test_enough_updates_make_codes_that_decode():
    chain = al.label_codes(CLASSES, (32, 32))
    trainer = al.sequential(chain, optax.adam(1e-2))
    state = trainer.init(jax.random.key(0), first(LABELS))
    state, metrics = trainer.step(state, {"label": np.tile(LABELS["label"], (100, 1))})
    assert all(losses["autoencoder"][-1] < 1e-2 < losses["autoencoder"][0] for losses in metrics.losses)
    for depth in (1, 2):
        scores = trainer.predict(state, np.arange(CLASSES), depth)
        np.testing.assert_array_equal(np.argmax(scores, 1), np.arange(CLASSES))


def test_codes_of_all_depths_are_decoded_at_once():
    chain = al.label_codes(CLASSES, (5, 7, 6))
    variables = random_variables(chain, first(LABELS))
    labels = jnp.array([2, 0, 1])
    each = [chain.predict(variables, labels, depth) for depth in (1, 2, 3)]
    np.testing.assert_allclose(anytime_scores(chain, variables, labels), np.stack(each), rtol=1e-6)
    np.testing.assert_allclose(anytime_scores(chain, variables, labels, 2), np.stack(each[:2]), rtol=1e-6)


def test_codes_are_put_into_a_network_that_keeps_them():
    kept = network(autoencoder_rate=0.0)
    optimizer = optax.adamw(1e-2)  # its decay would move them too
    components = random_components(kept, optimizer, first(BATCHES))
    trained = of_codes(random_components(kept, optimizer, first(BATCHES), seed=1))
    ready = al.with_codes(components, trained)
    trainer = al.sequential(kept, optimizer)
    state, _ = trainer.step(trainer.place(ready), BATCHES)
    for own, before, codes in zip(trainer.components(state), components, trained, strict=True):
        assert_same_bits({part: own.params[part] for part in "gh"}, codes.params)
        assert not np.array_equal(own.params["f"]["Dense_0"]["kernel"], before.params["f"]["Dense_0"]["kernel"])


def test_codes_of_other_widths_are_refused():
    components = random_components(network(), optax.sgd(0.1), first(BATCHES))
    codes = of_codes(components)
    with pytest.raises(ValueError, match="1 codes for 2 components"):
        al.with_codes(components[:2], codes[:1])
    with pytest.raises(ValueError, match=r"components is 3: it must be a sequence, as in \(3,\)"):
        al.with_codes(3, codes)
    with pytest.raises(ValueError, match="codes must be of one ComponentState each, as"):
        al.with_codes(components, codes[0])
    params = jax.tree.map(lambda leaf: leaf[..., 1:], codes[0].params)
    with pytest.raises(ValueError, match="the codes of component 1 are not of its network"):
        al.with_codes(components[:1], [codes[0]._replace(params=params)])


@pytest.mark.parametrize(
    ("classes", "code", "message"),
    [
        (4, 32, "code is 32: it must be a sequence"),
        (4, (), "code is empty: give the width of at least one"),
        (4, (2.5,), "code is 2.5: it must be a whole number"),
        (0, (8,), "classes is 0: it must be 1 or more"),
    ],
)
def test_a_chain_of_codes_needs_widths_and_classes(classes, code, message):
    assert al.label_codes(CLASSES, CODES).classes == CLASSES
    with pytest.raises(ValueError, match=message):
        al.label_codes(classes, code)

"""What one update is: mean gradients, rates, randomness, prepared images, frozen and odd components."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support import Local, assert_same_bits, first, make_batches, random_components, top_features

import al_jax as al

BATCHES = make_batches(6, size=12, shape=(2, 2, 1))
BATCH = first(BATCHES)


def on(stages, data=1):
    """The pipelined engine on stages of `data` devices."""
    return functools.partial(al.pipelined, devices=jax.devices()[: stages * data], data=data)


def step(make_trainer, network, optimizer, batches=BATCHES, **options):
    """Components before and after one call, and what it measured."""
    trainer = make_trainer(network, optimizer, **options)
    before = random_components(network, optimizer, first(batches))
    state, metrics = trainer.step(trainer.place(before), batches)
    return before, trainer.components(state), metrics


# The size of an update.


class Slope(nn.Module):
    """A loss whose derivative by each of two numbers is the mean of the images."""

    @nn.compact
    def __call__(self, signal, train):
        slow, fast = (self.param(name, nn.initializers.zeros, ()) for name in ("slow", "fast"))
        return signal, {"loss": (slow + fast) * jnp.mean(signal["image"])}


@pytest.mark.parametrize(
    ("make_trainer", "options"),
    [
        (al.sequential, {}),
        (al.sequential, {"accumulate": 3}),
        (al.sequential, {"shards": 3}),
        (on(2), {"accumulate": 2}),
        (on(1, data=2), {"shards": 2}),
        (on(2, data=2), {"shards": 4, "accumulate": 2}),
    ],
    ids=["plain", "accumulate", "shards", "pipelined-accumulate", "data-axis", "all"],
)
def test_the_sum_of_updates_is_that_of_the_mean_gradients_at_each_groups_rate(make_trainer, options):
    slope = al.component(Slope(), labels={"slow": "one", "fast": "another"}, rates={"another": 3.0})
    rates = [0.5, 0.25]  # of the two components
    before, after, _ = step(make_trainer, al.compose([slope, slope]), lambda index: optax.sgd(rates[index]), **options)
    gradient = BATCHES["image"].mean((1, 2, 3, 4)).sum() / options.get("accumulate", 1)
    for old, new, rate in zip(before, after, rates, strict=True):
        moves = [new.params[name] - old.params[name] for name in ("slow", "fast")]
        np.testing.assert_allclose(moves, [-rate * gradient, -3 * rate * gradient], rtol=1e-5)
        assert new.updates == 6 // options.get("accumulate", 1)


def test_a_group_at_a_rate_of_zero_stays_where_its_gradient_is_nan():
    slope = al.component(Slope(), labels={"slow": "still", "fast": "moving"}, rates={"still": 0.0})
    batches = {**BATCHES, "image": np.full_like(BATCHES["image"], np.nan)}
    before, after, _ = step(al.sequential, al.compose([slope]), optax.sgd(0.5), batches)
    np.testing.assert_array_equal(after[0].params["slow"], before[0].params["slow"])
    assert np.isnan(after[0].params["fast"])


def associated():
    return al.associated(al.networks.mlp([5, 4]), classes=4, code=3)


@pytest.fixture(scope="module")
def whole():
    """One update of Associated Learning on twelve examples."""
    return step(al.sequential, associated(), optax.sgd(1.0), in_micro_batches(1))


def in_micro_batches(number):
    """Twelve examples in so many micro-batches."""
    return jax.tree.map(lambda x: x.reshape(number, -1, *x.shape[1:]), BATCH)


@pytest.mark.parametrize(
    ("make_trainer", "options"),
    [
        (al.sequential, {"shards": 3}),
        (al.sequential, {"accumulate": 2}),
        (functools.partial(al.sequential, devices=jax.devices()[:2]), {"shards": 2}),
    ],
    ids=["shards", "accumulate", "data-axis"],
)
def test_without_batch_norm_cutting_a_batch_changes_only_rounding(whole, make_trainer, options):
    micro_batches = options.get("accumulate", 1)
    _, after, metrics = step(make_trainer, associated(), optax.sgd(1.0), in_micro_batches(micro_batches), **options)
    for part, expected in zip(after, whole[1], strict=True):
        jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6), part.params, expected.params)
    for losses, expected in zip(metrics.losses, whole[2].losses, strict=True):
        for name, loss in losses.items():
            np.testing.assert_allclose(np.mean(loss), expected[name][0], rtol=1e-5)
    np.testing.assert_array_equal(metrics.updates, np.zeros((2, micro_batches)))


def test_copies_along_the_data_axis_stay_equal():
    network = al.compose(map(al.component, [Local(5, norm=True, dropout=0.3), Local(3, norm=True)]))
    trainer = on(2, data=2)(network, optax.sgd(0.1), shards=4)
    state, _ = trainer.step(trainer.place(random_components(network, optax.sgd(0.1), BATCH)), BATCHES)
    for leaf in jax.tree.leaves((state.held, state.full)):
        copies = {}
        for shard in leaf.addressable_shards:
            copies.setdefault(shard.index[0].start, set()).add(np.asarray(shard.data).tobytes())
        assert [len(different) for different in copies.values()] == [1, 1]


# Randomness.


def test_the_first_state_is_drawn_from_the_key_for_each_component_alone():
    trainer = al.sequential(al.compose([al.component(Local(4))] * 2), optax.sgd(0.1, momentum=0.9))
    square = {"image": BATCH["image"][..., 0, 0], "label": BATCH["label"]}
    square["image"] = np.tile(square["image"], 2)  # four features, so that both components have the same shapes
    one, again, other = (trainer.components(trainer.init(jax.random.key(seed), square)) for seed in (1, 1, 2))
    assert_same_bits(one, again)
    for left, right in ((one[0], one[1]), (one[0], other[0])):
        assert not np.array_equal(left.params["Dense_0"]["kernel"], right.params["Dense_0"]["kernel"])
        assert not np.array_equal(left.key, right.key)
    assert [int(part.updates) for part in one] == [0, 0]
    shapes = jax.eval_shape(lambda: square)
    assert_same_bits(trainer.components(trainer.init(jax.random.key(1), shapes)), one)


class Drawing(nn.Module):
    """Its losses tell the number it drew, and the square of it."""

    @nn.compact
    def __call__(self, signal, train):
        number = jax.random.uniform(self.make_rng("dropout"))
        return signal, {"number": number, "square": jnp.square(number)}


def draws(make_trainer, **options):
    """The numbers and squares `(2, components, micro-batches)` drawn in one call."""
    _, _, metrics = step(make_trainer, al.compose([al.component(Drawing())] * 3), optax.sgd(0.1), **options)
    return np.array([[losses[name] for losses in metrics.losses] for name in ("number", "square")])


@pytest.fixture(scope="module")
def plain_draws():
    return draws(al.sequential)


def test_every_update_and_component_draws_anew(plain_draws):
    assert len(np.unique(plain_draws[0])) == 18
    np.testing.assert_allclose(plain_draws[1], np.square(plain_draws[0]), rtol=1e-6)


def test_every_micro_batch_of_an_update_draws_anew():
    assert len(np.unique(draws(al.sequential, accumulate=2)[0])) == 18


def test_every_shard_draws_anew_wherever_it_lies():
    numbers, squares = draws(al.sequential, shards=2)
    assert (squares - np.square(numbers) > 1e-7).all()  # the variance of the two slices' numbers
    np.testing.assert_allclose(draws(on(1, data=2), shards=2), [numbers, squares], rtol=1e-6)


def test_draws_do_not_depend_on_the_device(plain_draws):
    for lag, (piped, plain) in enumerate(zip(draws(on(3))[0], plain_draws[0], strict=True)):
        np.testing.assert_array_equal(piped[lag:], plain[: 6 - lag])


# Preparation of images.


class Reading(nn.Module):
    """Its loss is the mean of the images it sees."""

    @nn.compact
    def __call__(self, signal, train):
        return signal, {"mean": jnp.mean(signal["image"])}


def noise(image, key, train):
    """Noise between 0 and 1 in place of the image, and between 100 and 101 in training."""
    assert image.dtype == jnp.uint8
    return jnp.full(image.shape, jax.random.uniform(key) + (100 if train else 0))


@pytest.fixture(scope="module")
def prepared():
    """The means that two components see, by update, and a prediction, on both engines."""
    components = [al.component(Reading())] * 2
    network = al.compose(components, predict=top_features(components))
    batches = {**BATCHES, "image": (255 * BATCHES["image"]).astype(np.uint8)}
    found = []
    for make_trainer in (al.sequential, on(2)):
        trainer = make_trainer(network, optax.sgd(0.1), prepare=noise)
        state = trainer.place(random_components(network, optax.sgd(0.1), BATCH))
        state, metrics = trainer.step(state, batches)
        found.append(
            (
                [np.asarray(losses["mean"]) for losses in metrics.losses],
                trainer.predict(state, batches["image"][0]),
            )
        )
    return found


def test_images_are_prepared_for_training_with_a_key_of_each_update(prepared):
    (means, above), _ = prepared[0]
    assert ((means >= 100) & (means < 101)).all()
    assert len(np.unique(means)) == 6
    np.testing.assert_allclose(above, means, rtol=1e-6)


def test_images_are_prepared_for_inference_without_training(prepared):
    for _, images in prepared:
        assert images.dtype == jnp.float32
        assert 0 <= images.min() <= images.max() < 1


def test_a_pipeline_prepares_images_alike(prepared):
    (means, above), ((piped, piped_above), _) = prepared[0][0], prepared[1]
    np.testing.assert_allclose(piped, means, rtol=1e-6)
    np.testing.assert_allclose(piped_above, [np.nan, *above[:-1]], rtol=1e-6)


# Freezing.


def test_the_default_device_is_that_of_jax():
    batches = make_batches(1, size=2, shape=(3,))
    with jax.default_device(jax.devices()[1]):
        trainer = al.sequential(al.compose([al.component(Local(2))]), optax.sgd(0.1))
    state, _ = trainer.step(trainer.init(jax.random.key(0), first(batches)), batches)
    assert {leaf.device for leaf in jax.tree.leaves(state)} == {jax.devices()[1]}


def as_jax_shares_it(leaf):
    """A NumPy array where it begins at a multiple of 64 bytes, so that JAX on a CPU would share its memory."""
    memory = np.zeros(leaf.nbytes + 64, np.uint8)
    begin = -memory.ctypes.data % 64
    own = memory[begin : begin + leaf.nbytes].view(leaf.dtype).reshape(leaf.shape)
    own[...] = leaf
    return own


def test_a_state_shares_no_memory_with_the_components_that_were_placed():
    trainer = al.sequential(al.compose([al.component(Local(3))]), optax.adam(0.1))
    start = jax.device_get(trainer.components(trainer.init(jax.random.key(0), BATCH)))
    placed = jax.tree.map(as_jax_shares_it, start)
    state = trainer.place(placed)
    jax.tree.map(lambda leaf: leaf.fill(7), placed)
    assert_same_bits(trainer.components(state), start)


def test_frozen_components_do_not_change_a_bit_while_others_train():
    network = al.freeze(al.compose([al.component(Local(8, norm=True)) for _ in range(3)]), [0, 2])
    # A mean over three slices that are equal can differ from them in the last bit.
    before, after, metrics = step(al.sequential, network, optax.adamw(0.1, weight_decay=0.1), shards=3)
    for index in (0, 2):
        assert_same_bits(after[index].variables, before[index].variables)
        assert after[index].updates == 6
    changed = jax.tree.map(lambda new, old: not np.array_equal(new, old), after[1].variables, before[1].variables)
    assert jax.tree.all(changed)
    assert all(np.isfinite(losses["local"]).all() for losses in metrics.losses)


# Odd components.


class Fixed(nn.Module):
    """Transforms the signal and has nothing to learn."""

    @nn.compact
    def __call__(self, signal, train):
        return {**signal, "image": -signal["image"]}, {}


def test_a_component_may_have_neither_parameters_nor_losses():
    network = al.compose(map(al.component, [Fixed(), Local(3), Fixed(), Local(2)]))
    before, after, metrics = step(on(2), network, optax.sgd(0.1))
    assert [sorted(losses) for losses in metrics.losses] == [[], ["local"], [], ["local"]]
    assert not np.array_equal(before[3].params["Dense_0"]["kernel"], after[3].params["Dense_0"]["kernel"])


def test_a_trainer_traces_a_network_once_to_draw_it_from_several_keys():
    traces = []

    class Counting(nn.Module):
        @nn.compact
        def __call__(self, signal, train):
            traces.append(train)
            return signal, {"loss": jnp.mean(nn.Dense(2)(signal["image"]))}

    trainer = al.sequential(al.compose([al.component(Counting())]), optax.sgd(0.1))
    batch = {"image": np.ones((4, 3), np.float32), "label": np.zeros(4, int)}
    one, before = trainer.init(jax.random.key(0), batch), len(traces)
    other = trainer.init(jax.random.key(1), batch)
    assert len(traces) == before
    kernels = [trainer.components(state)[0].params["Dense_0"]["kernel"] for state in (one, other)]
    assert not np.array_equal(*kernels)

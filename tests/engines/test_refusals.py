"""What engines refuse, each in one sentence and before anything is compiled."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support import Local, first, make_batches, random_components

import al_jax as al
from al_jax.data import unit_range
from al_jax.engines.seeds import over_seeds

BATCHES = make_batches(4, size=6, shape=(2, 2, 1))
KEY = jax.random.key(0)


class Choosy(nn.Module):
    """Takes a signal of three features only."""

    @nn.compact
    def __call__(self, signal, train):
        return signal, {"loss": jnp.mean(nn.Dense(2)(signal["image"].reshape(6, 3)))}


class Passing(nn.Module):
    """Hands the signal on."""

    @nn.compact
    def __call__(self, signal, train):
        return signal, {"loss": jnp.mean(signal["image"])}


def network(*modules):
    return al.compose(map(al.component, modules or (Local(3), Local(2))))


def sequential(**options):
    return al.sequential(network(), optax.sgd(0.1), **options)


def pipelined(devices=2, **options):
    return al.pipelined(network(), optax.sgd(0.1), jax.devices()[:devices], **options)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: pipelined(3), "3 stages for 2 components: give at most one stage a component"),
        (lambda: al.pipelined(network(), optax.sgd(0.1), 2), r"devices is 2: give the devices themselves"),
        (lambda: al.pipelined(network(), optax.sgd(0.1), jax.devices()[:1] * 2), "is there twice in devices"),
        (lambda: sequential(devices=2), r"devices is 2: give the devices themselves"),
        (lambda: sequential(devices=jax.devices()[0]), r"devices is .*: give the devices themselves"),
        (lambda: sequential(devices="cpu"), r"devices is 'cpu': give the devices themselves"),
        (lambda: pipelined(2, partition=2), r"partition is 2: it must be a sequence, as in \(2,\)"),
        (lambda: sequential(prepare=unit_range), "prepare must take .*, and unit_range does not"),
        (lambda: sequential(prepare="half"), r"prepare must take \(image, key, train\), and 'half' does not"),
        (lambda: sequential(prepare=lambda x: x / 255), "<lambda> does not: al_jax.data.unit_range.. makes one"),
        (lambda: pipelined(3, data=2), "3 devices do not divide into stages of 2"),
        (lambda: pipelined(0), r"devices is \[\]: give the devices themselves"),
        (lambda: sequential(devices=[]), r"devices is \[\]: give the devices themselves"),
        (lambda: pipelined(2, data=0), "data is 0: it must be 1 or more"),
        (lambda: pipelined(2, partition=(2,)), r"partition is \(2,\): it must give 2 stages"),
        (lambda: pipelined(2, partition=(2, 1)), r"partition is \(2, 1\): it must give 2 stages .* 2 in all"),
        (lambda: pipelined(2, partition=(2, 0)), r"partition is \(2, 0\): .* at least one component each"),
        (lambda: pipelined(2, data=2), "shards is 1: it must be a multiple of the 2 devices"),
        (lambda: pipelined(4, data=2, shards=3), "shards is 3: it must be a multiple of the 2 devices"),
        (
            lambda: sequential(devices=jax.devices()[:2], shards=3),
            "shards is 3: it must be a multiple of the 2 devices",
        ),
        (lambda: sequential(shards=0), "shards is 0"),
        (lambda: sequential(accumulate=0), "accumulate is 0: it must be 1 or more"),
        (lambda: pipelined(accumulate=-1), "accumulate is -1: it must be 1 or more"),
        (lambda: sequential(accumulate=1.5), "accumulate is 1.5: it must be a whole number"),
        (lambda: al.sequential(network(), 1e-3), "a float is no optimizer: give an optax transformation"),
        (lambda: al.sequential(network(), optax.constant_schedule(1e-3)), "a float is no optimizer"),
        (
            lambda: al.sequential(network(), optax.adam),
            "adam makes an optimizer of a learning rate: give what it returns",
        ),
        (lambda: al.sequential(al.networks.mlp([3]), optax.sgd(0.1)), "an engine takes a network, .* not a tuple"),
    ],
)
def test_a_trainer_that_cannot_be_made(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def shorter(name, axis):
    """The batches with one array cut by one along an axis."""
    return {**BATCHES, name: np.delete(BATCHES[name], 0, axis)}


@pytest.mark.parametrize("make", [sequential, pipelined])
@pytest.mark.parametrize(
    ("options", "batches", "valid", "message"),
    [
        ({"shards": 4}, BATCHES, None, "6 examples is not divisible by shards=4"),
        (
            {"accumulate": 3},
            BATCHES,
            None,
            "4 micro-batches end within an update: give a multiple of accumulate=3",
        ),
        ({"accumulate": 2}, BATCHES, 3, "3 micro-batches end within an update"),
        ({}, BATCHES, 5, "valid is 5, but there are 4 micro-batches"),
        ({}, BATCHES, -1, "valid is -1, but there are 4 micro-batches"),
        ({}, shorter("label", 0), None, "same number of micro-batches, but they hold .*'label': 3"),
        ({}, shorter("image", 1), None, "must have one length, but they have .*'image': 5"),
        ({}, first(BATCHES), None, r"'label' of the batch has the shape \(6,\): .* x\[None\] makes one of x"),
        ({}, {**BATCHES, "label": np.full((4, 6), "a")}, None, "'label' of the batch is of the type <U1: "),
        ({}, {**BATCHES, "label": np.full((4, 6), None)}, None, "'label' of the batch is of the type object"),
        ({}, {**BATCHES, "epoch": 3}, None, "'epoch' of the batch is a int"),
        ({}, tuple(BATCHES.values()), None, "a batch is a dict of arrays, .*, not a tuple"),
    ],
)
def test_batches_that_cannot_be_stepped_through(make, options, batches, valid, message):
    with pytest.raises(ValueError, match=message):
        make(**options).step(None, batches, valid)


@pytest.mark.parametrize("make", [sequential, pipelined])
def test_a_first_batch_that_cannot_be_cut(make):
    with pytest.raises(ValueError, match="6 examples is not divisible by shards=4"):
        make(shards=4).init(KEY, first(BATCHES))
    with pytest.raises(ValueError, match="must have one length"):
        make().init(KEY, first(shorter("label", 1)))


def test_a_component_that_does_not_fit_is_named_when_training_begins():
    trainer = al.sequential(network(Local(4), Choosy()), optax.sgd(0.1))
    with pytest.raises(ValueError, match=r"component 2 of 2 \(Choosy\) cannot take the signal"):
        trainer.init(KEY, first(BATCHES))


def test_another_batch_size_is_refused_only_in_flight():
    passing = network(Passing(), Passing())
    trainer = al.pipelined(passing, optax.sgd(0.1), jax.devices()[:2])
    state = trainer.place(random_components(passing, optax.sgd(0.1), first(BATCHES)))
    state, _ = trainer.step(state, BATCHES)
    halves = jax.tree.map(lambda x: x[:, :3], BATCHES)
    with pytest.raises(ValueError, match="changed their shape while others are in flight: flush before"):
        trainer.step(state, halves)
    state, metrics = trainer.step(trainer.flush(state), halves)
    np.testing.assert_array_equal(metrics.updates, [[4, 5, 6, 7], [-1, 4, 5, 6]])


def test_a_prediction_that_is_not_there():
    trainer = sequential()
    state = trainer.place(random_components(network(), optax.sgd(0.1), first(BATCHES)))
    with pytest.raises(ValueError, match="composed without a prediction"):
        trainer.predict(state, BATCHES["image"][0])


class Totalling(nn.Module):
    """Hands up a number beside the signal, which belongs to no example."""

    @nn.compact
    def __call__(self, signal, train):
        return {**signal, "total": jnp.sum(signal["image"])}, {"loss": jnp.mean(signal["image"])}


def on_two_devices(*args, **options):
    return al.pipelined(*args, jax.devices()[:2], **options)


@pytest.mark.parametrize("on", [al.sequential, on_two_devices])
def test_a_signal_that_is_not_one_row_an_example_cannot_be_cut(on):
    totalling = network(Totalling(), Passing())
    components = random_components(totalling, optax.sgd(0.1), first(BATCHES))
    trainer = on(totalling, optax.sgd(0.1), shards=2)
    with pytest.raises(ValueError, match=r"component 1 \(Totalling\) hands up an array \[\], .*use shards=1"):
        trainer.step(trainer.place(components), BATCHES)
    whole = on(totalling, optax.sgd(0.1))
    whole.step(whole.place(components), BATCHES)


@pytest.mark.parametrize("make", [sequential, pipelined])
def test_components_of_another_network_are_refused(make):
    components = random_components(network(), optax.sgd(0.1), first(BATCHES))
    with pytest.raises(ValueError, match="3 components for a network of 2"):
        make().place((*components, components[0]))


@pytest.mark.parametrize("make", [sequential, pipelined])
def test_what_is_no_state_or_consumed_is_refused(make):
    trainer = make()
    state = trainer.init(KEY, first(BATCHES))
    components = trainer.components(state)
    with pytest.raises(ValueError, match="a state of its own, from init or place: place makes one of components"):
        trainer.step(components, BATCHES)
    with pytest.raises(ValueError, match="place takes components, one ComponentState each"):
        trainer.place([part._asdict() for part in components])
    with pytest.raises(ValueError, match="place takes components, one ComponentState each"):
        trainer.place(state)
    trainer.step(state, BATCHES)
    for call in (trainer.components, lambda state: trainer.step(state, BATCHES)):
        with pytest.raises(ValueError, match="this state was consumed by an earlier step or flush: go on with the one"):
            call(state)


def rule_on(make):
    built = al.associated(al.networks.mlp([5, 4]), classes=4, code=4)
    trainer = make(built, optax.sgd(0.1), devices=jax.devices()[: 1 + (make is al.pipelined)])
    return trainer, trainer.init(KEY, first(BATCHES))


def test_labels_and_images_of_each_seed_are_checked():
    trainer = over_seeds(al.associated(al.networks.mlp([5, 4]), classes=4, code=4), optax.sgd(0.1))
    state = trainer.init(list(jax.random.split(KEY)), first(BATCHES))
    wrong = {"image": np.stack([BATCHES["image"]] * 2), "label": np.stack([BATCHES["label"], np.full((4, 6), 4)])}
    with pytest.raises(ValueError, match="labels are from 4 to 4: of 4 classes they must be 0 to 3"):
        trainer.step(state, wrong)
    small = BATCHES["image"][..., :1, :]
    with pytest.raises(ValueError, match="do not fit these components"):
        trainer.step(state, {"image": np.stack([small] * 2), "label": np.stack([BATCHES["label"]] * 2)})
    with pytest.raises(ValueError, match="do not fit these components"):
        trainer.predict(state, small[0])


@pytest.mark.parametrize("make", [al.sequential, al.pipelined])
def test_labels_that_are_no_classes_are_refused_while_they_are_at_hand(make):
    trainer, state = rule_on(make)
    wrong = {**BATCHES, "label": np.full((4, 6), 4)}
    with pytest.raises(ValueError, match="labels are from 4 to 4: of 4 classes they must be 0 to 3"):
        trainer.step(state, wrong)
    state, _ = trainer.step(state, {**BATCHES, "label": np.zeros((4, 6), int)})  # what is refused consumes nothing
    trainer.step(state, {**BATCHES, "label": np.repeat([[0], [0], [0], [4]], 6, axis=1)}, valid=3)  # the rest is unseen


def test_whole_numbers_that_are_targets_are_no_classes():
    def loss(scores, label):
        return al.mean_squared_error(scores, label.astype(jnp.float32))

    network = al.greedy(al.networks.mlp([3]), classes=4, loss=loss)
    trainer = al.sequential(network, optax.sgd(0.1))
    batches = {**BATCHES, "label": np.full((4, 6, 4), 7)}
    trainer.step(trainer.init(jax.random.key(0), first(batches)), batches)


@pytest.mark.parametrize("make", [al.sequential, al.pipelined])
def test_images_and_depths_that_do_not_fit_are_refused(make):
    trainer, state = rule_on(make)
    images = np.asarray(BATCHES["image"][0])
    assert trainer.predict(state, images, depth=jnp.int32(1)).shape == (6, 4)
    for asked, depth, message in [
        (images, 3, "depth is 3, allowed are 1 to 2"),
        (images, 0, "depth is 0: it must be 1 or more"),
        (images[:0], None, "there are no images to predict"),
        (BATCHES, None, "predict takes an array of images .*, not a dict"),
        (
            np.zeros((6, 3, 3, 1), np.float32),
            None,
            r"images \(6, 3, 3, 1\) do not fit these components, drawn for others",
        ),
    ]:
        with pytest.raises(ValueError, match=message):
            trainer.predict(state, asked, depth=depth)
    with pytest.raises(ValueError, match=r"images \(4, 6, 3, 3, 1\) do not fit these components, drawn for others"):
        trainer.step(state, make_batches(4, size=6, shape=(3, 3, 1)))


def test_no_micro_batch_is_refused():
    nothing = jax.tree.map(lambda x: x[:0], BATCHES)
    with pytest.raises(ValueError, match="give at least one"):
        sequential().step(None, nothing)


@pytest.mark.parametrize("make", [sequential, pipelined])
def test_the_states_of_another_optimizer_are_refused(make):
    components = random_components(network(), optax.adam(0.1), first(BATCHES))
    with pytest.raises(ValueError, match="the state of component 1's optimizer is not this one's"):
        make().place(components)


@pytest.mark.parametrize("make", [sequential, lambda: al.machines.trainer(al.machines.from_linen(nn.Dense(4)))])
@pytest.mark.parametrize(
    ("key", "found"),
    [
        (0, "0: give a random key"),
        (np.int32(0), r"int32\[\]: give one random key"),
        (jax.random.split(KEY, 3), r"key<fry>\[3\]: give one random key"),
        (jax.random.split(jax.random.PRNGKey(0), 3), r"uint32\[3, 2\]: give one random key"),
    ],
)
def test_what_is_no_key_or_several_is_refused(make, key, found):
    with pytest.raises(ValueError, match=rf"the key is {found}, as jax.random.key\(0\)"):
        make().init(key, first(BATCHES))


def test_initialisation_can_be_traced():
    trainer = sequential()
    shapes = jax.eval_shape(trainer.init, KEY, first(BATCHES))
    assert jax.tree.map(jnp.shape, shapes) == jax.tree.map(jnp.shape, trainer.init(KEY, first(BATCHES)))


def test_a_pipeline_is_not_traced():
    trainer = pipelined()
    state = trainer.place(random_components(network(), optax.sgd(0.1), first(BATCHES)))
    for function, given in ((trainer.init, (KEY, first(BATCHES))), (trainer.step, (state, BATCHES))):
        with pytest.raises(ValueError, match=r"call its trainer outside of jax\.jit"):
            jax.eval_shape(function, *given)

"""Associated Learning against its equations in NumPy, and everything that can be replaced in it."""

import functools
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support import (
    assert_same_bits,
    first,
    make_batches,
    parameter_shapes,
    random_components,
    random_variables,
)

import al_jax as al
from al_jax.chain import parameter_counts, signal_shapes
from al_jax.rules import Bridge, CodeLayer, NoBridge

CLASSES, L2, RATE = 3, 1e-2, 0.5
BATCHES = make_batches(1, size=6, shape=(2, 2, 1), classes=CLASSES)
BATCH = first(BATCHES)
UPPER = {  # what component 2 may receive
    "features": np.linspace(-1, 2, 30, dtype=np.float32).reshape(6, 5),
    "code": np.linspace(0.1, 0.9, 12, dtype=np.float32).reshape(CLASSES, 4)[BATCH["label"]],
    "label": BATCH["label"],
}
KEY = jax.random.key(0)


def network(**options):
    return al.associated(al.networks.mlp([5, 6]), classes=CLASSES, code=(4, 2), **options)


@pytest.fixture(scope="module")
def variables():
    return random_variables(network(), BATCH)


# The equations, forwards and backwards.


class Activation(NamedTuple):
    value: object
    slope: object  # by the value, which is enough for these two


SIGMOID = Activation(lambda x: 1 / (1 + np.exp(-x)), lambda y: y * (1 - y))
ELU = Activation(lambda x: np.where(x > 0, x, np.expm1(x)), lambda y: np.where(y > 0, 1, y + 1))


class Layer(NamedTuple):
    dense: dict
    activation: Activation


def layers_of(params):
    """Layers on the way from features to code, and around the autoencoder."""
    f, g, h = (Layer(params[part]["Dense_0"], ELU if part == "f" else SIGMOID) for part in "fgh")
    bridge = [Layer(params["b"][f"CodeLayer_{i}"]["Dense_0"], SIGMOID) for i in range(2)]
    return [f, *bridge], [g, h]


def forward(layers, x):
    """The input and every layer's output, in float64."""
    outputs = [np.asarray(x, np.float64)]
    for dense, activation in layers:
        outputs.append(activation.value(outputs[-1] @ np.float64(dense["kernel"]) + np.float64(dense["bias"])))
    return outputs


def backward(layers, outputs, target):
    """Gradients of `mean((outputs[-1] - target)^2)` by the layers' parameters."""
    delta, gradients = 2 * (outputs[-1] - target) / target.size, []
    for (dense, activation), below, above in reversed(list(zip(layers, outputs, outputs[1:], strict=False))):
        delta = delta * activation.slope(above)
        gradients.append({"kernel": below.T @ delta, "bias": delta.sum(0)})
        delta = delta @ np.float64(dense["kernel"]).T
    return gradients[::-1]


def by_hand(params, features, code, l2=0.0):
    """Features, code, losses and gradients of one component."""
    way, around = layers_of(params)
    up, decoded = forward(way, features), forward(around, code)
    f, b1, b2 = backward(way, up, decoded[1])
    g, h = backward(around, decoded, decoded[0])
    kernel = np.float64(params["f"]["Dense_0"]["kernel"])
    f["kernel"] = f["kernel"] + l2 * kernel
    losses = {
        "associated": np.mean((up[-1] - decoded[1]) ** 2),
        "autoencoder": np.mean((decoded[2] - decoded[0]) ** 2),
        **({"l2": l2 / 2 * np.sum(kernel**2)} if l2 else {}),
    }
    bridge = {"CodeLayer_0": {"Dense_0": b1}, "CodeLayer_1": {"Dense_0": b2}}
    return (
        up[1],
        decoded[1],
        losses,
        {"f": {"Dense_0": f}, "b": bridge, "g": {"Dense_0": g}, "h": {"Dense_0": h}},
    )


def chain_by_hand(variables, batch, l2=0.0):
    """For each component what `by_hand` gives, from the batch upwards."""
    features, code, found = (
        batch["image"].reshape(len(batch["label"]), -1),
        np.eye(CLASSES)[batch["label"]],
        [],
    )
    for own in variables:
        features, code, losses, gradients = by_hand(own["params"], features, code, l2)
        found.append((features, code, losses, gradients))
    return found


def inference_by_hand(variables, images, depth):
    """h_1 ∘ … ∘ h_depth ∘ b_depth ∘ f_depth ∘ … ∘ f_1."""
    signal = images.reshape(len(images), -1)
    parts = [layers_of(own["params"]) for own in variables[:depth]]
    for way, _ in parts:
        signal = forward(way[:1], signal)[-1]
    signal = forward(way[1:], signal)[-1]
    for _, (_, h) in reversed(parts):
        signal = forward([h], signal)[-1]
    return signal


def assert_close(actual, expected, rtol=1e-4, atol=1e-7):
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=rtol, atol=atol), actual, expected)


# Losses, gradients, first updates.


@pytest.mark.parametrize("l2", [0.0, L2])
def test_losses_gradients_and_signals_are_the_equations(variables, l2):
    signal = BATCH
    expected = chain_by_hand(variables, BATCH, l2)
    for part, own, (features, code, losses, gradients) in zip(
        network(l2=l2).components, variables, expected, strict=True
    ):

        def objective(params, part=part, signal=signal):
            signal_up, losses, model_state = part.apply({"params": params}, signal, KEY, True)
            return sum(losses.values()), (signal_up, losses, model_state)

        found, (signal, found_losses, model_state) = jax.jit(jax.grad(objective, has_aux=True))(own["params"])
        assert_close(signal, {"features": features, "code": code, "label": BATCH["label"]})
        assert -1 < features.min() < 0 < features.max()  # both branches of ELU
        assert 0 < code.min() < code.max() < 1
        assert_close(found_losses, losses)
        assert_close(found, gradients)
        assert model_state == {}


def adam_first_update(gradient):
    return gradient / (np.abs(gradient) + 1e-8)  # both moments equal the gradient's after bias correction


@pytest.mark.parametrize(
    ("optimizer", "direction"),
    [(optax.sgd(RATE), lambda gradient: gradient), (optax.adam(RATE), adam_first_update)],
    ids=["sgd", "adam"],
)
def test_the_first_update_is_the_gradients_with_the_autoencoder_twice_as_fast(optimizer, direction):
    trainer = al.sequential(network(l2=L2), optimizer)
    components = random_components(network(l2=L2), optimizer, BATCH)
    before = [part.variables for part in components]
    state, metrics = trainer.step(trainer.place(components), BATCHES)
    speed = {"f": 1, "b": 1, "g": 2, "h": 2}
    for own, after, losses, expected in zip(
        before, trainer.components(state), metrics.losses, chain_by_hand(before, BATCH, L2), strict=True
    ):
        moves = {
            part: jax.tree.map(lambda g, part=part: -RATE * speed[part] * direction(g), expected[3][part])
            for part in speed
        }
        assert_close(jax.tree.map(np.subtract, after.params, own["params"]), moves, rtol=1e-2, atol=1e-5)
        assert_close(jax.tree.map(lambda loss: loss[0], losses), expected[2])


def test_each_loss_trains_its_own_two_parts_and_no_other(variables):
    for part, own, signal in zip(network().components, variables, [BATCH, UPPER], strict=True):
        for loss, trained in (("associated", "fb"), ("autoencoder", "gh")):
            for name, gradients in gradient_of_one_loss(part, own["params"], signal, loss).items():
                changed = [bool(np.any(leaf)) for leaf in jax.tree.leaves(gradients)]
                assert changed == [name in trained] * len(changed), (loss, name)


def gradient_of_one_loss(part, params, signal, name):
    return jax.jit(jax.grad(lambda params: part.apply({"params": params}, signal, KEY, True)[1][name]))(params)


@pytest.mark.parametrize("examples", [3, 4], ids=lambda examples: f"{examples} examples")
def test_codes_of_classes_are_the_codes_of_their_examples(variables, examples):
    """With over three examples g and h see each class once, with three every example; a class may be absent."""
    batch = jax.tree.map(lambda x: x[:examples], {**BATCH, "label": np.array([2, 0, 2, 0, 0, 2], np.int32)})
    signal = batch
    for part, own, expected in zip(network().components, variables, chain_by_hand(variables, batch), strict=True):

        def objective(params, part=part, signal=signal):
            signal_up, losses, _ = part.apply({"params": params}, signal, KEY, True)
            return sum(losses.values()), (signal_up, losses)

        gradient, (signal, losses) = jax.jit(jax.grad(objective, has_aux=True))(own["params"])
        assert_close(gradient, expected[3])
        assert_close((signal["code"], losses), expected[1:3])


def test_labels_of_eight_bits_have_the_codes_of_their_classes():
    part = al.associated(al.networks.mlp([2]), classes=257, code=2).components[0]
    batch = {"image": np.zeros((300, 2), np.float32), "label": np.arange(300) % 256}
    variables = part.init(KEY, batch)

    def codes(dtype):
        return part.apply(variables, {**batch, "label": batch["label"].astype(dtype)}, KEY, True)[0]["code"]

    np.testing.assert_array_equal(codes(np.uint8), codes(np.int32))


def test_labels_and_rates_name_the_two_groups():
    for part in network(autoencoder_rate=3.0).components:
        assert part.labels == {"f": "associated", "b": "associated", "g": "autoencoder", "h": "autoencoder"}
        assert part.rates == {"associated": 1.0, "autoencoder": 3.0}


# Inference.


@pytest.mark.parametrize("depth", [1, 2, None])
def test_prediction_goes_up_over_the_bridge_and_down(variables, depth):
    scores = network().predict(variables, BATCH["image"], depth)
    assert scores.shape == (6, CLASSES)
    assert_close(scores, inference_by_hand(variables, BATCH["image"], depth or 2))


def test_predictions_of_all_depths_come_at_once(variables):
    scores = network().anytime(variables, BATCH["image"])
    assert_close(scores, jnp.stack([network().predict(variables, BATCH["image"], depth) for depth in (1, 2)]))


@pytest.mark.parametrize("depth", [0, 3, -1])
def test_a_depth_that_is_not_there_is_refused(variables, depth):
    with pytest.raises(ValueError, match=f"depth is {depth}, allowed are 1 to 2"):
        network().predict(variables, BATCH["image"], depth)


@pytest.mark.parametrize(
    "rule",
    [al.associated, al.backprop, lambda blocks, classes, code: al.leak(al.greedy, 0.5)(blocks, classes)],
    ids=("associated", "backprop", "leak"),
)
def test_what_are_not_the_variables_of_all_components_is_refused(rule):
    chain = rule(al.networks.mlp([5, 6]), CLASSES, 4)
    components = random_components(chain, optax.sgd(RATE), BATCH)
    variables = [part.variables for part in components]
    assert chain.predict(variables, BATCH["image"]).shape == (6, CLASSES)
    for given in (components, variables[1:], variables[0], 3):
        with pytest.raises(ValueError, match=r"the \d components of this network: give \[part.variables for"):
            chain.predict(given, BATCH["image"])


class NormBlock(nn.Module):
    """Takes `train` by name only, as many Flax modules do."""

    @nn.compact
    def __call__(self, x, *, train):
        return nn.BatchNorm(use_running_average=not train, momentum=0.5)(nn.Dense(5)(x.reshape(len(x), -1)))


def test_batch_norm_sees_the_batch_in_training_and_running_statistics_in_inference():
    normed = al.associated([NormBlock()], CLASSES, 4)
    (own,), (part,) = random_variables(normed, BATCH), normed.components
    params, statistics = own["params"]["f"], own["batch_stats"]["f"]["BatchNorm_0"]

    trained, _, moved = part.apply(own, BATCH, KEY, True)
    np.testing.assert_allclose(trained["features"].mean(0), params["BatchNorm_0"]["bias"], atol=1e-5)
    dense = BATCH["image"].reshape(6, -1) @ np.asarray(params["Dense_0"]["kernel"]) + params["Dense_0"]["bias"][None]
    mean = moved["batch_stats"]["f"]["BatchNorm_0"]["mean"]
    np.testing.assert_allclose(mean, (statistics["mean"] + dense.mean(0)) / 2, rtol=1e-5)

    _, _, kept = part.apply(own, BATCH, KEY, False)
    assert_same_bits(kept, {"batch_stats": own["batch_stats"]})
    scores = normed.predict([{**own, **moved}], BATCH["image"])
    assert not np.allclose(scores, normed.predict([own], BATCH["image"]))
    np.testing.assert_allclose(normed.predict([{**own, **moved}], BATCH["image"][:1]), scores[:1], rtol=1e-5)


# What can be replaced.


class Flatten(nn.Module):
    """A block without parameters."""

    @nn.compact
    def __call__(self, x):
        return x.reshape(len(x), -1)


class Same(nn.Module):
    """A code layer without parameters: the code is the one-hot label itself."""

    width: int

    @nn.compact
    def __call__(self, code):
        return code


def test_dense_layers_serve_as_blocks_bridge_encoder_and_decoder():
    wide = al.associated([nn.Dense(7), nn.Dense(8)], CLASSES, 4, bridge=nn.Dense(4), encoder=nn.Dense, decoder=nn.Dense)
    flat = {**BATCH, "image": BATCH["image"].reshape(6, 4)}
    shapes = jax.tree.map(jnp.shape, parameter_shapes(wide, flat), is_leaf=lambda x: hasattr(x, "shape"))
    assert [part["b"]["kernel"] for part in shapes] == [(7, 4), (8, 4)]
    assert [part["g"]["kernel"] for part in shapes] == [(CLASSES, 4), (4, 4)]
    assert [part["h"]["kernel"] for part in shapes] == [(4, CLASSES), (4, 4)]


def test_factories_get_the_width_of_each_code():
    asked = {"bridge": [], "encoder": [], "decoder": []}

    def noting(name):
        return lambda width: asked[name].append(width) or nn.Dense(width)

    network(**{name: noting(name) for name in asked})
    assert asked == {"bridge": [4, 2], "encoder": [4, 2], "decoder": [CLASSES, 4]}


def test_bridges_and_code_layers_take_options():
    thin = network(
        bridge=functools.partial(Bridge, expansion=2, activation=nn.tanh),
        encoder=functools.partial(CodeLayer, activation=nn.tanh),
    )
    bridges = [part["b"]["CodeLayer_0"]["Dense_0"]["kernel"].shape for part in parameter_shapes(thin, BATCH)]
    assert bridges == [(5, 8), (6, 4)]
    (own, _), part = random_variables(thin, BATCH), thin.components[0]
    assert part.apply(own, BATCH, KEY, True)[0]["code"].min() < 0


def test_losses_can_be_replaced(variables):
    def sum_of_distances(prediction, target):
        return jnp.sum(jnp.abs(prediction - target))

    def constant(prediction, target):
        return jnp.float32(7)

    part = network(losses=(sum_of_distances, constant)).components[0]
    _, losses, _ = part.apply(variables[0], BATCH, KEY, True)
    way, around = layers_of(variables[0]["params"])
    code = forward(around, np.eye(CLASSES)[BATCH["label"]])[1]
    distance = np.abs(forward(way, BATCH["image"].reshape(6, -1))[-1] - code).sum()
    assert_close(losses, {"associated": distance, "autoencoder": 7.0})


def test_a_width_for_each_code_sizes_codes_and_what_decodes_them():
    shapes = parameter_shapes(network(), BATCH)
    assert [part["g"]["Dense_0"]["kernel"].shape for part in shapes] == [(3, 4), (4, 2)]
    assert [part["h"]["Dense_0"]["kernel"].shape for part in shapes] == [(4, 3), (2, 4)]


@pytest.mark.parametrize("rule", [al.associated, al.backprop])
def test_a_wrong_number_of_widths_or_no_block_is_refused(rule):
    with pytest.raises(ValueError, match="code gives 3 widths for 2 blocks"):
        rule(al.networks.mlp([5, 6]), CLASSES, (4, 4, 4))
    with pytest.raises(ValueError, match="at least one block"):
        rule((), CLASSES, 4)


@pytest.mark.parametrize(
    ("part", "shapes", "made"),
    [
        ("bridge", r"\(6, 1\) is not the target's \(6, 4\)", "the bridge makes the first and the encoder the second"),
        ("encoder", r"\(6, 4\) is not the target's \(6, 1\)", "the bridge makes the first and the encoder the second"),
        (
            "decoder",
            r"\(6, 1\) is not the target's \(6, 3\)",
            "the decoder makes the first, and the second is the code",
        ),
    ],
)
def test_a_part_of_another_width_is_refused_instead_of_broadcast(part, shapes, made):
    with pytest.raises(ValueError, match=f"component 1 of 2 .* {shapes}; {made}"):
        signal_shapes(network(**{part: nn.Dense(1)}), BATCH)


def test_parts_without_parameters_train_and_are_counted():
    bare = al.associated(
        [Flatten(), *al.networks.mlp([5])],
        CLASSES,
        CLASSES,
        bridge=nn.Dense(CLASSES),
        encoder=Same,
        decoder=Same,
        l2=L2,
    )
    trainer = al.sequential(bare, optax.sgd(RATE))
    before = random_components(bare, optax.sgd(RATE), BATCH)
    state, metrics = trainer.step(trainer.place(before), BATCHES)
    after = [part.params for part in trainer.components(state)]
    assert [sorted(params) for params in after] == [["b"], ["b", "f"]]
    assert not np.array_equal(before[0].params["b"]["kernel"], after[0]["b"]["kernel"])
    assert metrics.losses[0]["l2"] == 0
    assert metrics.losses[0]["autoencoder"] == 0
    assert parameter_counts(bare, after) == (15 + 25 + 18, 25 + 18)


def test_one_module_as_block_of_two_components_has_parameters_in_each():
    block = nn.Dense(4)
    shared = al.associated([block, block], CLASSES, 4, bridge=nn.Dense(4), encoder=nn.Dense(4))
    flat = {**BATCH, "image": BATCH["image"].reshape(6, 4)}
    assert [sorted(own) for own in parameter_shapes(shared, flat)] == [["b", "f", "g", "h"]] * 2


def test_without_bridges_the_features_themselves_become_the_codes():
    network = al.associated(al.networks.mlp([6, 6]), CLASSES, code=6, bridge=NoBridge)
    trainer = al.sequential(network, optax.adam(1e-2))
    state = trainer.init(KEY, BATCH)
    before = trainer.components(state)
    state, metrics = trainer.step(state, jax.tree.map(lambda x: np.repeat(x, 40, axis=0), BATCHES))
    for own, was, losses in zip(trainer.components(state), before, metrics.losses, strict=True):
        assert set(own.params) == {"f", "g", "h"}
        assert not np.array_equal(own.params["f"]["Dense_0"]["kernel"], was.params["f"]["Dense_0"]["kernel"])
        assert losses["associated"][-1] < 0.7 * losses["associated"][0]
    assert trainer.predict(state, BATCH["image"]).shape == (6, CLASSES)
    narrow = al.associated(al.networks.mlp([6, 6]), CLASSES, code=(6, 5), bridge=NoBridge)
    with pytest.raises(ValueError, match=r"component 2 of 2 .* as wide as the features, 6 here and not 5"):
        signal_shapes(narrow, BATCH)


def test_codes_of_classes_have_no_statistics_of_examples():
    normed = al.associated([NormBlock()], CLASSES, 4, encoder=functools.partial(CodeLayer, norm=True))
    many = {name: np.concatenate([x] * 3) for name, x in BATCH.items()}
    with pytest.raises(ValueError, match="leave batch norm out of them"):
        signal_shapes(normed, many)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"l2_kernels": "kernels"}, "l2_kernels is 'kernels': choose from blocks"),
        ({"l2": -1.0}, "l2 is -1.0: it must be 0 or more"),
        ({"autoencoder_rate": -2}, "the rate of 'autoencoder' is -2"),
        ({"code": 8.7}, "code is 8.7: it must be a whole number"),
    ],
)
def test_numbers_without_meaning_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        al.associated([NormBlock()], CLASSES, **{"code": 4, **options})

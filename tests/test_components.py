"""Components of one's own: what `al.component`, `al.compose` and `al.freeze` make and refuse."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support import (
    Local,
    assert_same_bits,
    first,
    make_batches,
    parameter_shapes,
    random_variables,
    top_features,
)

import al_jax as al
from al_jax.chain import parameter_counts, signal_shapes
from al_jax.components import call_block, with_prepare

BATCH = first(make_batches(1, size=4, shape=(2, 2, 1)))
KEY = jax.random.key(0)


class Giving(nn.Module):
    """Gives whatever losses the test wants."""

    losses: object

    @nn.compact
    def __call__(self, signal, train):
        nn.Dense(2)(signal["image"].reshape(4, -1))
        return signal, self.losses


class Wide(nn.Module):
    """Accepts a signal of one width only."""

    @nn.compact
    def __call__(self, signal, train):
        features = nn.Dense(3)(signal["image"].reshape(4, 9))
        return {**signal, "image": features}, {"loss": jnp.mean(features)}


def test_without_labels_all_parameters_are_one_group_at_the_optimizers_rate():
    part = al.component(Local(3))
    assert part.name == "Local"
    assert (part.labels, part.rates) == ("parameters", {"parameters": 1.0})


def test_rates_default_to_one_for_groups_they_do_not_name():
    part = al.component(Local(3), labels={"Dense_0": "slow", "Dense_1": "fast"}, rates={"fast": 3.0})
    assert part.rates == {"slow": 1.0, "fast": 3.0}


def test_apply_gives_signal_losses_and_the_model_state_without_parameters():
    network = al.compose([al.component(Local(3, norm=True, penalty=0.5))])
    (part,), (own,) = network.components, random_variables(network, BATCH)
    signal_up, losses, model_state = part.apply(own, BATCH, KEY, True)
    assert signal_up["image"].shape == (4, 3)
    assert sorted(losses) == ["local", "penalty"]
    assert jax.tree.structure(model_state) == jax.tree.structure({"batch_stats": own["batch_stats"]})
    kept = part.apply(own, BATCH, KEY, False)[2]
    assert_same_bits(kept, {"batch_stats": own["batch_stats"]})
    assert not np.array_equal(
        model_state["batch_stats"]["BatchNorm_0"]["mean"], kept["batch_stats"]["BatchNorm_0"]["mean"]
    )


def test_the_key_alone_decides_what_is_drawn():
    network = al.compose([al.component(Local(8, dropout=0.5))])
    (part,), (own,) = network.components, random_variables(network, BATCH)
    one, again, other = (part.apply(own, BATCH, jax.random.key(seed), True)[0]["image"] for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)


def test_compose_needs_a_component_and_takes_any_iterable():
    with pytest.raises(ValueError, match="at least one component"):
        al.compose([])
    parts = al.compose(al.component(Local(width)) for width in (3, 2)).components
    assert len(parts) == 2
    for make, message in (
        (lambda: al.compose([Local(3)]), "takes components, not Local: al.component makes one"),
        (lambda: al.compose(al.compose(parts)), "this is a network already"),
        (lambda: al.compose(parts, predict=lambda variables, images: images), "predict must take"),
        (lambda: al.compose(parts, predict=3), "predict must take"),
        (lambda: al.compose(3), r"components is 3: it must be a sequence, as in \(3,\)"),
        (lambda: al.component(Local), "takes a Flax module, .* give an instance"),
        (lambda: al.component(Local(3), rates={"parameters": -1.0}), "the rate of 'parameters' is -1.0: it must be 0"),
    ):
        with pytest.raises(ValueError, match=message):
            make()


def test_a_network_composed_without_a_prediction_says_so():
    network = al.compose([al.component(Local(3))])
    for asked in (network, with_prepare(network, lambda image, key, train: image)):
        with pytest.raises(ValueError, match="composed without a prediction: give"):
            asked.predict(random_variables(network, BATCH), BATCH["image"])


def test_a_users_prediction_is_the_networks():
    components = [al.component(Local(3)), al.component(Local(2))]
    network = al.compose(components, predict=top_features(components))
    variables = random_variables(network, BATCH)
    assert network.predict(variables, BATCH["image"]).shape == (4, 2)
    assert network.predict(variables, BATCH["image"], 1).shape == (4, 3)


def test_every_parameter_of_a_composed_network_is_effective():
    network = al.compose([al.component(Local(3)), al.component(Local(2))])
    total = (4 * 3 + 3 + 3 * 4 + 4) + (3 * 2 + 2 + 2 * 4 + 4)
    assert parameter_counts(network, parameter_shapes(network, BATCH)) == (total, total)


def test_signals_and_outputs_are_known_without_computing():
    network = al.compose([al.component(Local(3)), al.component(Local(2, norm=True, penalty=1.0))])
    entering, leaving = signal_shapes(network, BATCH)
    assert [signal["image"].shape for signal in entering] == [(4, 2, 2, 1), (4, 3)]
    assert [sorted(losses) for _, losses, _ in leaving] == [["local"], ["local", "penalty"]]
    assert leaving[1][0]["image"].shape == (4, 2)


def test_numpys_64_bit_arrays_are_taken_as_jax_takes_them():
    wide = {"image": BATCH["image"].astype(np.float64), "label": BATCH["label"].astype(np.int64)}
    entering, _ = signal_shapes(al.compose([al.component(Local(3))]), wide)
    assert (entering[0]["image"].dtype, entering[0]["label"].dtype) == (jnp.float32, jnp.int32)


def test_a_component_that_does_not_fit_is_named():
    network = al.compose([al.component(Local(3)), al.component(Wide())])
    with pytest.raises(ValueError, match=r"component 2 of 2 \(Wide\) cannot take the signal .*float32\[4, 3\]"):
        signal_shapes(network, BATCH)


@pytest.mark.parametrize(
    ("losses", "message"),
    [
        (
            {"good": jnp.float32(0), "bad": jnp.zeros(3)},
            r"component 1 \(Giving\): its loss 'bad' is not a scalar",
        ),
        (jnp.float32(0), r"component 1 \(Giving\): its losses are not a dict"),
        ({"deep": {"loss": jnp.float32(0)}}, r"component 1 \(Giving\): its loss 'deep' is not a scalar of a real type"),
        ({"none": None}, r"component 1 \(Giving\): its loss 'none' is not a scalar of a real type"),
        ({"complex": jnp.complex64(1j)}, r"component 1 \(Giving\): its loss 'complex' is not a scalar of a real type"),
    ],
)
def test_losses_that_are_not_named_scalars_are_refused(losses, message):
    with pytest.raises(ValueError, match=message):
        signal_shapes(al.compose([al.component(Giving(losses))]), BATCH)


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (-1, "an index for al.freeze is -1: it must be 0 or more"),
        (2, "cannot freeze component 2: the network has 0 to 1"),
        ("0", "an index for al.freeze is '0': it must be a whole number"),
        (0.0, "an index for al.freeze is 0.0: it must be a whole number"),
    ],
)
def test_freezing_a_component_that_is_not_there_is_refused(index, message):
    network = al.compose([al.component(Local(3)), al.component(Local(2))])
    for indices in (index, [0, index]):
        with pytest.raises(ValueError, match=message):
            al.freeze(network, indices)
    with pytest.raises(ValueError, match=r"al\.freeze takes a network, .* not a tuple"):
        al.freeze(network.components, index)


@pytest.mark.parametrize("mask", [[True, False], np.array([False, True]), True])
def test_a_mask_is_no_index(mask):
    network = al.compose([al.component(Local(3)), al.component(Local(2))])
    with pytest.raises(ValueError, match="takes indices, from 0, not a mask"):
        al.freeze(network, mask)


def test_one_index_freezes_one_component():
    network = al.compose([al.component(Local(3)), al.component(Local(2))])
    assert [part.labels for part in al.freeze(network, np.int64(1)).components] == ["parameters", "frozen"]


class Forgetful(nn.Module):
    """Hands the signal up without losses."""

    @nn.compact
    def __call__(self, signal, train):
        return {"image": nn.Dense(3)(signal["image"]), "label": signal["label"], "key": signal["label"]}


def test_a_component_without_losses_is_told_what_to_return():
    trainer = al.sequential(al.compose([al.component(Forgetful())]), optax.sgd(0.1))
    batch = {"image": jnp.zeros((4, 2)), "label": jnp.zeros(4, int)}
    with pytest.raises(ValueError, match=r"it must return \(signal_up, losses\), and returned a dict"):
        trainer.init(jax.random.key(0), batch)


def test_a_frozen_component_computes_in_inference_mode_and_has_no_gradient():
    network = al.compose([al.component(Local(3, norm=True, dropout=0.5))])
    (own,), (part,), (frozen,) = (
        random_variables(network, BATCH),
        network.components,
        al.freeze(network, [0]).components,
    )
    assert_same_bits(frozen.apply(own, BATCH, KEY, True), part.apply(own, BATCH, KEY, False))
    gradients = jax.grad(lambda params: frozen.apply({**own, "params": params}, BATCH, KEY, True)[1]["local"])
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(gradients(own["params"])))


class Counting(nn.Module):
    """Counts its calls, whether it trains or not."""

    @nn.compact
    def __call__(self, signal, train):
        calls = self.variable("counts", "calls", lambda: jnp.float32(0))
        calls.value += 1
        return signal, {"local": jnp.mean(signal["image"])}


def test_a_frozen_component_keeps_state_that_would_change_in_inference():
    (part,) = al.freeze(al.compose([al.component(Counting())]), 0).components
    variables = {"counts": {"calls": jnp.float32(7)}}
    assert part.apply(variables, BATCH, KEY, True)[2] == variables


class Noting(nn.Module):
    """Keeps what `train` it is called with."""

    seen: list

    def __call__(self, x, train=None):
        self.seen.append(train)
        return x


def test_blocks_receive_train_if_they_take_it():
    seen = []
    call_block(Noting(seen), jnp.ones(2), True)
    call_block(Noting(seen), jnp.ones(2), False)
    assert seen == [True, False]
    variables = nn.Dense(2).init(KEY, jnp.ones((1, 2)))
    assert call_block(nn.Dense(2).bind(variables), jnp.ones((1, 2)), True).shape == (1, 2)


def test_images_are_prepared_for_the_first_component_and_for_inference():
    def prepare(image, key, train):
        return image + jnp.float32(10 if train else 1)

    components = [al.component(Local(3)), al.component(Local(2))]
    network = al.compose(components, predict=top_features(components))
    prepared, variables = with_prepare(network, prepare), random_variables(network, BATCH)
    for train, shift in ((True, 10), (False, 1)):
        shifted = {**BATCH, "image": BATCH["image"] + np.float32(shift)}
        found, expected = (
            part.apply(variables[0], batch, KEY, train)[0]
            for part, batch in ((prepared.components[0], BATCH), (network.components[0], shifted))
        )
        assert_same_bits(found, expected)
    assert prepared.components[1] is network.components[1]
    np.testing.assert_array_equal(
        prepared.predict(variables, BATCH["image"]),
        network.predict(variables, BATCH["image"] + np.float32(1)),
    )


def test_model_state_that_training_would_reshape_is_refused_by_name():
    class Sowing(nn.Module):
        @nn.compact
        def __call__(self, signal, train):
            features = nn.Dense(2)(signal["image"].reshape(len(signal["label"]), -1))
            self.sow("stats", "features", features)
            return {"features": features}, {"local": jnp.mean(features)}

    with pytest.raises(
        ValueError, match=r"component 1 \(Sowing\): training changes the shape or type of its model state .*'features'"
    ):
        signal_shapes(al.compose([al.component(Sowing())]), first(make_batches(1)))


def test_labels_must_name_every_parameter():
    network = al.compose([al.component(Local(3), labels={"Dense_0": "slow"})])
    with pytest.raises(ValueError, match=r"component 1 \(Local\): labels must name a group for .*Dense_0, Dense_1"):
        signal_shapes(network, BATCH)


def test_a_group_without_a_rate_is_refused():
    part = al.component(Local(3))._replace(labels="slow", rates={})
    with pytest.raises(ValueError, match=r"component 1 \(Local\): labels names the group 'slow', for which rates has"):
        signal_shapes(al.compose([part]), BATCH)


class Training(nn.Module):
    """Has another name for `train`, with a default."""

    @nn.compact
    def __call__(self, x, training=False):
        return nn.BatchNorm(use_running_average=not training)(x)


def test_a_flag_for_training_of_another_name_is_refused():
    with pytest.raises(ValueError, match="Training takes 'training': a block's flag for training is called 'train'"):
        jax.eval_shape(lambda: Training().init(KEY, jnp.ones((2, 3)), True, method=call_block))
    jax.eval_shape(lambda: nn.BatchNorm(use_running_average=False).init(KEY, jnp.ones((2, 3)), True, method=call_block))


class Dropping(nn.Module):
    """Drops out, in training."""

    @nn.compact
    def __call__(self, x, train=False):
        return nn.Dropout(0.5, deterministic=not train)(x)


def test_a_sequence_that_hands_on_no_flag_for_training_is_refused():
    def called(block):
        return block.init_with_output({"params": KEY}, jnp.ones((8, 9)), True, method=call_block)[0]

    nested = nn.Sequential([nn.Dense(3), nn.relu, nn.Sequential([Dropping()])])
    with pytest.raises(ValueError, match=r"one takes 'train', whether they train: give them to al\.networks\.Stack"):
        called(nested)
    assert called(nn.Sequential([nn.Dense(3), nn.Dropout(0.5, deterministic=True)])).shape == (8, 3)
    assert (called(al.networks.Stack((Dropping(),))) == 0).any()


def test_rematerialised_blocks_know_whether_they_train():
    block = nn.remat(Dropping, static_argnums=(2,))()
    kept = [
        block.apply({}, jnp.ones((2, 9)), train, rngs={"params": KEY}, method=call_block) for train in (True, False)
    ]
    assert (kept[0] == 0).any()
    assert (kept[1] == 1).all()

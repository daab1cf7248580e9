"""The momentum auxiliary network: what its average is, what trains, and what is refused."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support import ConvBlock, first, make_batches, parameter_shapes, random_components, random_variables

import al_jax as al
from al_jax import rules
from al_jax.networks import Stack

BATCHES = make_batches(4, size=4, shape=(4, 4, 1), classes=3)
BATCH, KEY = first(BATCHES), jax.random.key(0)
DECAY = 0.75
greedy = functools.partial(al.greedy, head=rules.PooledClassifier)
RULES = {
    "greedy": greedy,
    "associated": lambda blocks, classes, **options: al.associated(blocks, classes, 4, **options),
}


def blocks():
    """Three stacks whose shapes differ; the second halves the image."""
    return [
        Stack((ConvBlock(2),)),
        Stack((ConvBlock(3, stride=2, norm=True), ConvBlock(3))),
        Stack((ConvBlock(4, norm=True),)),
    ]


def average_of(component):
    return component.model_state["momentum"]["branch"]["average"]


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_the_average_follows_the_next_components_first_layer(rule):
    network = al.momentum(rule, decay=DECAY)(blocks(), 3)
    optimizer = optax.chain(optax.add_decayed_weights(0.1), optax.sgd(0.1, momentum=0.9))
    trainer = al.sequential(network, optimizer)
    state = trainer.place(random_components(network, optimizer, BATCH))
    before = trainer.components(state)
    expected = [average_of(part) for part in before[:2]]
    for index in range(4):
        # Weights before the update: what `before` holds.
        above = [part.params["f"]["layers_0"] for part in before[1:]]
        expected = [
            {"0": jax.tree.map(lambda a, w: DECAY * a + (1 - DECAY) * w, average["0"], weights)}
            for average, weights in zip(expected, above, strict=True)
        ]
        state, _ = trainer.step(state, jax.tree.map(lambda x, index=index: x[index : index + 1], BATCHES))
        before = trainer.components(state)
    for part, average in zip(before[:2], expected, strict=True):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), average_of(part), average)
    assert "momentum" not in before[2].model_state


def test_weights_from_farther_up_come_two_updates_later_for_each_component_between():
    network = al.momentum(greedy, depth=3, decay=DECAY)(al.networks.mlp([5, 4, 4, 3]), 3)
    trainer = al.sequential(network, optax.sgd(0.1))
    state = trainer.init(KEY, BATCH)
    drawn = trainer.components(state)
    assert [len(average_of(part)) for part in drawn[:3]] == [3, 2, 1]  # near the top what there is
    weights, expected = [], average_of(drawn[0])
    for index in range(8):
        weights.append([part.params["f"] for part in trainer.components(state)])
        # Until a component has heard of a layer it passes on what it has drawn for it.
        second, third = average_of(drawn[1]), average_of(drawn[2])
        told = {
            "0": weights[index][1],
            "1": weights[index - 2][2] if index >= 2 else second["0"],
            "2": weights[index - 4][3] if index >= 4 else third["0"] if index >= 2 else second["1"],
        }
        expected = jax.tree.map(lambda a, w: DECAY * a + (1 - DECAY) * w, expected, told)
        state, _ = trainer.step(state, jax.tree.map(lambda x, index=index: x[index % 4][None], BATCHES))
    found = average_of(trainer.components(state)[0])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), found, expected)


def test_what_is_passed_on_is_as_old_before_and_after_hearing_also_in_a_warm_start():
    """In a pipeline a component speaks before it hears of the last update; a warm start keeps what was heard before."""
    network = al.momentum(greedy, depth=2)(al.networks.mlp([5, 4, 4]), 3)
    optimizer = optax.sgd(0.1)
    _, speaker, above = random_components(network, optimizer, BATCH)
    kept = {**speaker.model_state["passed_on"]["branch"]["average"], "heard": jnp.int32(70)}
    speaker = speaker._replace(model_state={**speaker.model_state, "passed_on": {"branch": {"average": kept}}})
    _, middle, top = network.components
    for update in range(3):
        late = speaker = speaker._replace(updates=jnp.int32(update))
        if update:
            news = top.tell(above._replace(updates=jnp.int32(update - 1)))
            speaker = speaker._replace(model_state=middle.hear(speaker.model_state, news))
        jax.tree.map(np.testing.assert_array_equal, middle.tell(speaker), middle.tell(late))


def test_an_update_of_several_micro_batches_is_heard_once():
    network = al.momentum(greedy, decay=DECAY)(blocks(), 3)
    trainer = al.sequential(network, optax.sgd(0.0), accumulate=2)
    state = trainer.place(random_components(network, optax.sgd(0.0), BATCH))
    start = trainer.components(state)
    weights, average = start[1].params["f"]["layers_0"], average_of(start[0])["0"]
    state, _ = trainer.step(state, BATCHES)  # two updates that change nothing
    expected = jax.tree.map(lambda a, w: DECAY**2 * a + (1 - DECAY**2) * w, average, weights)
    found = average_of(trainer.components(state)[0])["0"]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), found, expected)


def branch_output(network, variables, x):
    module = network.components[0].module
    return module.apply(variables, x, False, method=lambda module, x, train: module.branch(x, train))


def test_a_branch_is_the_sum_of_bias_and_average():
    together, bias = (al.momentum(al.greedy, average=average)(blocks(), 3) for average in (True, False))
    average = al.momentum(al.greedy, biases=0)(blocks(), 3)
    variables = random_variables(together, BATCH)[0]
    x = jnp.asarray(np.random.default_rng(0).normal(size=(4, 4, 4, 2)), jnp.float32)
    total = branch_output(bias, variables, x) + branch_output(average, variables, x)
    assert total.shape == (4, 2, 2, 3)
    np.testing.assert_allclose(branch_output(together, variables, x), total, rtol=1e-5)


def test_a_scale_moves_weight_between_bias_and_average():
    plain, scaled = (al.momentum(al.greedy, scaled=scaled)(blocks(), 3) for scaled in (False, True))
    variables = random_variables(plain, BATCH)[0]
    x = jnp.ones((2, 4, 4, 2))

    def at(scale):
        params = {**variables["params"], "branch": {**variables["params"]["branch"], "scale": jnp.float32(scale)}}
        return branch_output(scaled, {**variables, "params": params}, x)

    np.testing.assert_allclose(at(1), branch_output(plain, variables, x), rtol=1e-5)
    np.testing.assert_allclose(at(0) + at(2), 2 * at(1), rtol=1e-5, atol=1e-6)


def test_gradients_go_through_the_average_to_the_block_below():
    network = al.momentum(greedy, biases=0)(blocks(), 3)
    variables = random_variables(network, BATCH)[0]

    def loss(params):
        return network.components[0].apply({**variables, "params": params}, BATCH, KEY, True)[1]["prediction"]

    gradient = jax.jit(jax.grad(loss))(variables["params"])
    assert sorted(gradient) == ["f", "objective"]
    assert all(np.any(leaf) for leaf in jax.tree.leaves(gradient["f"]))


@pytest.mark.parametrize(
    ("options", "trained", "averaged"),
    [
        ({}, ["bias_0"], True),
        ({"biases": 0}, [], True),
        ({"average": False}, ["bias_0"], False),
        ({"biases": 2, "average": False}, ["bias_0", "bias_1"], False),
        ({"scaled": True}, ["bias_0", "scale"], True),
    ],
)
def test_ablations_are_arguments(options, trained, averaged):
    network = al.momentum(al.greedy, **options)(blocks(), 3)
    params = parameter_shapes(network, BATCH)
    assert sorted(params[0].get("branch", {})) == trained
    assert "branch" not in params[2]
    assert [part.hear is not None for part in network.components] == [averaged, averaged, False]


def test_a_frozen_component_hears_nothing():
    network = al.freeze(al.momentum(al.greedy)(blocks(), 3), [0])
    assert [part.hear is not None for part in network.components] == [False, True, False]


class Flat(nn.Module):
    """A layer without parameters."""

    def __call__(self, x):
        return x.reshape(len(x), -1)


def test_a_layer_without_parameters_tells_nothing():
    network = al.momentum(greedy)([ConvBlock(2), Flat(), Stack((Flat(), al.networks.DenseBlock(4)))], 3)
    trainer = al.sequential(network, optax.sgd(0.1))
    start = random_components(network, optax.sgd(0.1), BATCH)
    state, _ = trainer.step(trainer.place(start), BATCHES)
    components = trainer.components(state)
    assert [jax.tree.leaves(average_of(part)) for part in components[:2]] == [[], []]
    assert np.isfinite(trainer.predict(state, BATCH["image"])).all()
    # Bias and average are the same flattening, so the sum of both is twice the features.
    x = jnp.arange(24, dtype=jnp.float32).reshape(2, 2, 2, 3)
    np.testing.assert_array_equal(branch_output(network, components[0].variables, x), 2 * x.reshape(2, 12))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: al.momentum(al.greedy, 4)(blocks(), 3), "the next 4 layers, but above component 1 there are 3"),
        (lambda: al.momentum(al.backprop), "momentum takes a local rule with branches="),
        (lambda: al.momentum(al.momentum(al.greedy))(blocks(), 3), "this rule has momentum already"),
        (lambda: al.momentum(al.greedy(blocks(), 3)), "al.momentum takes a rule, not the network of one"),
        (lambda: al.leak(al.greedy(blocks(), 3), 0.5), "al.leak takes a rule, not the network of one"),
        (lambda: al.momentum(al.greedy, 0), "depth is 0: it must be 1 or more"),
        (lambda: al.momentum(al.greedy, decay=1.5), "decay is 1.5: it must be from 0"),
        (lambda: al.momentum(al.greedy, decay="0.9"), "decay is '0.9': it must be from 0"),
        (lambda: al.momentum(al.greedy, biases=0, average=False), "a bias or the average"),
        (lambda: al.momentum(al.greedy, biases=1.5), "biases is 1.5: it must be a whole number"),
        (lambda: al.momentum(al.greedy, biases=-1), "biases is -1: it must be 0 or more"),
        (lambda: al.momentum(al.greedy, biases=0, scaled=True), "scaled weighs biases against the average: give"),
        (lambda: al.momentum(al.greedy, average=False, scaled=True), "scaled weighs biases against the average: give"),
        (lambda: al.momentum(None), "al.momentum takes a rule, not None"),
        (lambda: al.momentum(al.greedy)(blocks()[:1], 3), "momentum is for several components"),
        (lambda: al.momentum(al.greedy)(nn.Dense(3), 3), "blocks must be a sequence of Flax modules"),
        (
            lambda: al.momentum(al.leak(al.greedy, 0.1))(blocks(), 3),
            "of 3 blocks this rule made 1: give",
        ),
        (lambda: al.leak(al.momentum(al.greedy), 0.5)(blocks(), 3), "leak takes rules whose components"),
    ],
)
def test_what_cannot_be_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


class Elsewhere(nn.Module):
    """Keeps the parameters of its block under another name than f."""

    block: nn.Module
    branch: nn.Module | None

    @nn.compact
    def __call__(self, signal, train):
        x = self.block(signal["image"], train)
        y = x if self.branch is None else self.branch(x, train)
        return {**signal, "image": x}, {"loss": jnp.mean(y)}


def test_parameters_that_are_not_under_f_are_missed_by_the_number_of_their_component():
    def rule(blocks, classes, branches):
        return al.compose(al.component(Elsewhere(*pair)) for pair in zip(blocks, branches, strict=True))

    network = al.momentum(rule)(blocks(), 3)
    trainer = al.sequential(network, optax.sgd(0.1))
    state = trainer.place(random_components(network, optax.sgd(0.1), BATCH))
    with pytest.raises(ValueError, match=r"^component 2 does not keep the parameters of its block under 'f', where"):
        jax.eval_shape(trainer.step, state, BATCHES)


def test_with_rematerialisation_gradients_need_one_branch_at_a_time():
    """Compiled with the barriers that a CPU drops by default."""
    x = jax.ShapeDtypeStruct((8, 32, 32, 8), jnp.float32)

    def temporaries(**options):
        branch = rules.MomentumBranch((ConvBlock(8, norm=True), ConvBlock(8, norm=True)), remat=True, **options)
        variables = jax.eval_shape(lambda key: branch.init(key, jnp.zeros(x.shape), True), KEY)

        def loss(params, others, x):
            y, _ = branch.apply({**others, "params": params}, x, True, mutable=list(others), rngs={"params": KEY})
            return jnp.sum(jnp.square(y))

        others = {name: tree for name, tree in variables.items() if name != "params"}
        lowered = jax.jit(jax.grad(loss, (0, 2))).lower(variables["params"], others, x)
        compiled = lowered.compile({"xla_disable_hlo_passes": "cse_barrier_expander"})
        return compiled.memory_analysis().temp_size_in_bytes

    assert temporaries() < 1.4 * temporaries(average=False)

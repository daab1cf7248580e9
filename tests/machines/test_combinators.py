"""Machines of machines: graphs, parts side by side, inner loops, noise, averages and masks."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from al_jax import machines
from al_jax.losses import cross_entropy
from al_jax.machines import Context, Feedback, Node, from_linen

X = jax.random.normal(jax.random.key(1), (6, 9))
LABEL = jnp.arange(6) % 4
KEY = jax.random.key(2)
SGD = optax.sgd(0.5)


def dense(width, name=None):
    return from_linen(machines.Layer(width, (nn.tanh,)), SGD, name=name)


def turn(machine, x=X, step=0):
    """State, output, feedback, what is handed down and the state after learning, all at once."""

    @jax.jit
    def run(x):
        state = machine.init(jax.random.key(0), x)
        y, residuals = machine.forward(state.params, state.fixed, x, KEY, True)
        error = jax.grad(cross_entropy)(y, LABEL)
        context = Context(error, LABEL, jnp.int32(step), KEY)
        after, below, _ = machines.learn(machine, state, residuals, Feedback.along(y, error), context)
        gradients, plain, _ = machine.backward(state.params, state.fixed, residuals, Feedback.along(y, error), context)
        return state, y, error, below, after, gradients, plain

    return run(x)


def close(found, wanted, tolerance=1e-6):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=tolerance), found, wanted)


class Sum(nn.Module):
    """Two inputs as one."""

    def __call__(self, x):
        return x[0] + x[1]


def test_a_graph_in_a_row_is_a_chain():
    nodes = {"a": Node(dense(7, "a")), "b": Node(dense(4, "b"), ("a",))}
    of_graph, of_chain = turn(machines.graph(nodes)), turn(machines.chain(dense(7, "a"), dense(4, "b")))
    close(of_graph[1:], of_chain[1:])


def test_a_graph_of_many_paths_is_built_at_once():
    class Sum(nn.Module):
        @nn.compact
        def __call__(self, parts):
            return sum(parts)

    nodes = {"0": Node(dense(7)), "1": Node(dense(7), ("0",))}
    nodes |= {f"{i}": Node(from_linen(Sum(), SGD), (f"{i - 1}", f"{i - 2}")) for i in range(2, 64)}
    graph = machines.graph(nodes)  # of some 10^13 paths
    assert (graph.hears, graph.tells, graph.initiates) == (True, True, False)


def test_each_node_of_a_graph_keeps_its_order_of_work():
    """One that learns first hands down what its new parameters say, and the node below learns of that."""

    def learned(order):
        return turn(machines.graph({"a": Node(dense(7)), "b": Node(order(dense(4)), ("a",))}))

    state, y, error, below, after, _, plain = learned(machines.step_then_feedback)
    _, _, _, _, usual, _, _ = learned(lambda machine: machine)
    close(after.params[1], usual.params[1])
    lower, upper = machines.Layer(7, (nn.tanh,)), machines.Layer(4, (nn.tanh,))

    def anew(x, params):
        hidden, pull_lower = jax.vjp(lambda p, x: lower.apply({"params": p}, x, True), params, x)
        found, pull_upper = jax.vjp(lambda h: upper.apply({"params": after.params[1]}, h, True), hidden)
        return pull_lower(pull_upper(found - (y - error))[0])

    gradients, delta = jax.jit(anew)(X, state.params[0])
    close(after.params[0], jax.tree.map(lambda p, g: p - 0.5 * g, state.params[0], gradients))
    close(below.delta, delta)
    assert not np.allclose(below.delta, plain.delta)


def test_a_graph_adds_up_what_several_readers_hand_down():
    class Sum(nn.Module):
        @nn.compact
        def __call__(self, xs):
            return sum(xs)

    nodes = {
        "stem": Node(dense(5)),
        "left": Node(dense(4), ("stem",)),
        "right": Node(dense(4), ("stem",)),
        "top": Node(from_linen(Sum()), ("left", "right")),
    }
    graph = machines.graph(nodes)
    state, _, _, below, _, gradients, _ = turn(graph)

    def objective(params, x):
        return cross_entropy(graph.forward(params, state.fixed, x, KEY, True)[0], LABEL)

    close((gradients, below.delta), jax.jit(jax.grad(objective, argnums=(0, 1)))(state.params, X))


def test_targets_of_nodes_differ():
    """The layer above, another node, the label and the loss give different updates."""

    def kernel_of(target):
        nodes = {
            "a": Node(dense(4), target=target),
            "b": Node(dense(4), ("a",)),
            "c": Node(dense(4), ("b",)),
        }
        state, y, error, _, after, _, _ = turn(machines.graph(nodes))
        return state, after.params[0]["Dense_0"]["kernel"], y, error

    state, above, _, error = kernel_of("above")
    found = {target: kernel_of(target)[1] for target in ("c", "label", "loss")}
    assert len({np.asarray(kernel).tobytes() for kernel in (above, *found.values())}) == 4
    layer = machines.Layer(4, (nn.tanh,))
    y, pull = jax.vjp(lambda params: layer.apply({"params": params}, X, True), state.params[0])

    def moved(delta):
        return state.params[0]["Dense_0"]["kernel"] - 0.5 * pull(delta)[0]["Dense_0"]["kernel"]

    close(found["label"], moved(y - jax.nn.one_hot(LABEL, 4)))
    close(found["loss"], moved(error))


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ({}, "no node"),
        ({"a": Node(dense(4), ("b",)), "b": Node(dense(4))}, "node 'a' reads 'b'"),
        ({"a": Node(dense(4)), "b": Node(dense(4))}, "node 'a' has its target from above, but nothing reads it"),
        ({"a": Node(dense(4), target="elsewhere")}, "node 'a' has its target from 'elsewhere'"),
        ({"loss": Node(dense(4))}, "cannot be called 'loss'"),
        (
            {"a": Node(dense(4), target="c"), "b": Node(dense(4)), "c": Node(dense(4), ("a", "b"))},
            "node 'a' has its target from 'c', which wants several inputs",
        ),
    ],
)
def test_graphs_refuse_what_cannot_hold(nodes, message):
    with pytest.raises(ValueError, match=message):
        machines.graph(nodes)


def test_a_graph_refuses_a_target_of_another_shape():
    nodes = {"a": Node(dense(5), target="loss"), "b": Node(dense(4), ("a",))}
    with pytest.raises(ValueError, match="node 'a' puts out"):
        turn(machines.graph(nodes))


@pytest.mark.parametrize(
    ("first", "message"),
    [
        (Node(dense(5), target="c"), r"node 'a' puts out \(6, 5\), .* from 'c' is \(6, 4\)"),
        (Node(from_linen(nn.Conv(2, (3,))), target="label"), r"node 'a' puts out \(6, 9, 2\), .* from 'label'"),
    ],
)
def test_a_graph_whose_targets_have_another_shape_is_not_drawn(first, message):
    nodes = {"a": first, "b": Node(dense(4), ("a",)), "c": Node(dense(4), ("b",))}
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(machines.graph(nodes).init, KEY, X[:, :, None])


def test_parts_side_by_side_are_one_layer():
    wide = nn.Dense(4)
    left, right = from_linen(nn.Dense(1), SGD), from_linen(nn.Dense(3), SGD)
    state, y, error, below, after, _, _ = turn(machines.parallel(left, right))
    joined = jax.tree.map(lambda a, b: jnp.concatenate([a, b], axis=-1), *state.params)
    expected, pull = jax.vjp(lambda params, x: wide.apply({"params": params}, x), joined, X)
    gradients, delta = pull(error)
    close(y, expected)
    close(below.delta, delta)
    moved = jax.tree.map(lambda p, g: p - 0.5 * g, joined, gradients)
    close(jax.tree.map(lambda a, b: jnp.concatenate([a, b], axis=-1), *after.params), moved)


def test_parts_may_see_their_own_part_of_the_input():
    state, y, error, below, _, _, _ = turn(
        machines.parallel(from_linen(nn.Dense(1)), from_linen(nn.Dense(3)), inputs=(2, 7))
    )
    close(y[:, 1:], X[:, 2:] @ state.params[1]["kernel"] + state.params[1]["bias"][None])
    close(below.delta[:, :2], error[:, :1] @ state.params[0]["kernel"].T)
    with pytest.raises(ValueError, match="9 units"):
        turn(machines.parallel(dense(4), inputs=(3,)))
    with pytest.raises(ValueError, match="give each one"):
        machines.parallel(dense(4), dense(3), inputs=(9,))


def test_repeat_input_takes_several_steps_and_keeps_the_parameters_own_gradient():
    one = turn(dense(4))
    once = turn(machines.repeat_input(dense(4), 1, optax.sgd(1.0)))
    close(once[3:], one[3:])
    state, y, error, below, _, _, _ = turn(machines.repeat_input(dense(4), 40, optax.sgd(0.3)))
    target = y - error
    layer = machines.Layer(4, (nn.tanh,))

    def distance(x):
        return jnp.sum(jnp.square(layer.apply({"params": state.params}, x, True) - target))

    assert distance(below.target) < 0.5 * distance(X)
    labelled = machines.repeat_input(dense(4), 40, optax.sgd(0.3), loss=cross_entropy)
    state, _, _, below, _, _, _ = turn(labelled)
    scores = [layer.apply({"params": state.params}, x, True) for x in (below.target, X)]
    assert cross_entropy(scores[0], LABEL) < cross_entropy(scores[1], LABEL)
    assert labelled.needs == {"label"}


def test_repeat_params_learns_several_times_from_one_batch():
    state, y, error, below, after, _, _ = turn(machines.repeat_params(dense(4), 3))
    layer = machines.Layer(4, (nn.tanh,))
    params = state.params
    for _ in range(3):
        gradient = jax.grad(lambda p: 0.5 * jnp.sum(jnp.square(layer.apply({"params": p}, X, True) - (y - error))))(
            params
        )
        params = jax.tree.map(lambda p, g: p - 0.5 * g, params, gradient)
    close(after.params, params)
    close(below, turn(dense(4))[3])
    with pytest.raises(ValueError, match="draws 7 of 6 examples"):
        turn(machines.repeat_params(dense(4), 3, batch=7))


def test_repeat_params_descends_a_loss_anew_at_every_step():
    state, _, _, below, after, _, _ = turn(machines.repeat_params(dense(4), 3, loss=cross_entropy))
    layer, params = machines.Layer(4, (nn.tanh,)), state.params
    for _ in range(3):
        gradient = jax.grad(lambda p: cross_entropy(layer.apply({"params": p}, X, True), LABEL))(params)
        params = jax.tree.map(lambda p, g: p - 0.5 * g, params, gradient)
    close(after.params, params)
    close(below, turn(dense(4))[3])
    assert machines.repeat_params(dense(4), 3, loss=cross_entropy).needs == {"label"}


@pytest.mark.parametrize("loss", [None, cross_entropy], ids=["target", "loss"])
def test_repeat_params_draws_other_examples_for_every_turn(loss):
    state, y, error, _, after, _, _ = turn(machines.repeat_params(dense(4), 3, batch=4, loss=loss))
    layer, params, target = machines.Layer(4, (nn.tanh,)), state.params, y - error

    def objective(params, rows):
        y = layer.apply({"params": params}, X[rows], True)
        return loss(y, LABEL[rows]) if loss else 0.5 * jnp.sum(jnp.square(y - target[rows]))

    for time in range(3):
        key, _ = jax.random.split(jax.random.fold_in(KEY, time))
        rows = jax.random.choice(key, 6, (4,), replace=False)
        params = jax.tree.map(lambda p, g: p - 0.5 * g, params, jax.grad(objective)(params, rows))
    close(after.params, params)


def test_noise_is_the_machines_own_affair_or_part_of_the_target():
    quiet = turn(dense(4))
    own, explored = turn(machines.with_noise(dense(4), 0.3)), turn(machines.with_noise(dense(4), 0.3, explore=True))
    close(own[1], explored[1])
    assert not np.allclose(own[1], quiet[1])
    noisy = X + 0.3 * jax.random.normal(jax.random.split(KEY)[0], X.shape)
    close(explored[3].target, noisy - own[3].delta)
    machine = machines.with_noise(dense(4), 0.3)
    close(machine.forward(own[0].params, own[0].fixed, X, KEY, False)[0], quiet[1])


def test_strength_follows_the_number_of_the_update():
    machine = machines.with_noise(dense(4), lambda step: jnp.where(step < 1, 0.0, 0.5))
    state, y, _, _, after, _, _ = turn(machine)
    close(y, turn(dense(4))[1])
    assert int(after.fixed["step"]) == 1
    assert not np.allclose(machine.forward(state.params, after.fixed, X, KEY, True)[0], y)


def test_dropout_keeps_the_mean_and_hands_down_what_it_kept():
    many = jnp.ones((6, 4000))
    machine = machines.with_dropout(from_linen(nn.Dense(4), SGD), 0.25)
    state, _, error, below, _, _, _ = turn(machine, many)
    through = below.delta / (error @ state.params["kernel"].T)
    np.testing.assert_allclose(np.where(through > 0.5, through, 4 / 3), 4 / 3, rtol=1e-2)
    assert not through[through < 0.5].any()
    np.testing.assert_allclose(through.mean(), 1, atol=0.02)


def test_an_average_predicts_and_may_take_over():
    state, _, _, _, after, _, _ = turn(machines.ema_params(dense(4), 0.9))
    close(after.params, turn(dense(4))[4].params)
    close(after.fixed["average"], jax.tree.map(lambda a, b: 0.9 * a + 0.1 * b, state.params, after.params))
    machine = machines.ema_params(dense(4), 0.9, every=2)
    predicted = machine.forward(state.params, after.fixed, X, KEY, False)[0]
    close(predicted, machine.forward(after.fixed["average"], after.fixed, X, KEY, True)[0])
    _, _, _, _, second, _, _ = turn(machine, step=1)
    close(second.params, second.fixed["average"])
    with pytest.raises(ValueError, match="decay is 2"):
        machines.ema_params(dense(4), 2)


def test_masks_keep_units_examples_and_parameters_as_they_are():
    plain = from_linen(nn.Dense(4), SGD)
    state, _, error, below, after, _, _ = turn(machines.masked(plain, output=machines.some_units(3)))
    still = [bool((after.params["kernel"][:, unit] == state.params["kernel"][:, unit]).all()) for unit in range(4)]
    assert sum(still) == 1
    close(below.delta, jnp.where(np.asarray(still)[None], 0, error) @ state.params["kernel"].T)

    _, _, _, below, _, _, _ = turn(machines.masked(plain, input=machines.some_examples(2)))
    assert sorted(np.asarray(below.delta).any(axis=1)) == [False] * 4 + [True] * 2
    np.testing.assert_array_equal(
        below.target[~np.asarray(below.delta).any(axis=1)], X[~np.asarray(below.delta).any(axis=1)]
    )

    adam = from_linen(nn.Dense(4), optax.adam(0.1))
    state, _, _, _, after, _, _ = turn(machines.masked(adam, params={"kernel": False, "bias": True}))
    np.testing.assert_array_equal(after.params["kernel"], state.params["kernel"])
    assert not np.allclose(after.params["bias"], state.params["bias"])


def test_a_mask_in_a_mask_draws_for_itself():
    within = machines.masked(from_linen(nn.Dense(64), SGD), output=machines.some_units(32))
    state, _, _, _, after, _, _ = turn(machines.masked(within, output=machines.some_units(32)))
    moved = (after.params["kernel"] != state.params["kernel"]).any(axis=0).sum()
    assert 4 < moved < 28  # units that both have drawn; 16 on the average


def test_repeat_input_keeps_its_machines_own_order_of_learning():
    often = machines.repeat_params(dense(4), 5)
    searched = turn(machines.repeat_input(often, 3, optax.sgd(0.1)))
    close(searched[4].params, turn(often)[4].params)
    close(searched[3], turn(machines.repeat_input(dense(4), 3, optax.sgd(0.1)))[3])


def test_another_update_replaces_an_order_of_its_own_too():
    still = machines.replaced(machines.repeat_params(dense(4), 3), update=lambda state, *_: state)
    state, _, _, _, after, _, _ = turn(still)
    close(after, state, 0)


def test_the_strength_of_noise_does_not_count_the_turns_of_an_inner_loop():
    often = machines.repeat_params(machines.with_noise(dense(4), 0.1), 3)
    assert int(turn(often, step=6)[4].fixed["step"]) == 7


def test_parts_side_by_side_may_have_several_inputs():
    both = machines.graph(
        {
            "a": Node(dense(3)),
            "b": Node(dense(3)),
            "sum": Node(machines.parallel(from_linen(Sum()), from_linen(Sum())), ("a", "b")),
        }
    )
    jax.eval_shape(lambda: turn(both))

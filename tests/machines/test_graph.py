"""Machines wired freely, and side by side."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from turns import KEY, LABEL, SGD, X, close, dense, turn

from al_jax import machines
from al_jax.losses import cross_entropy
from al_jax.machines import Node, from_linen


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


def test_parts_side_by_side_may_have_several_inputs():
    both = machines.graph(
        {
            "a": Node(dense(3)),
            "b": Node(dense(3)),
            "sum": Node(machines.parallel(from_linen(Sum()), from_linen(Sum())), ("a", "b")),
        }
    )
    jax.eval_shape(lambda: turn(both))

"""Machines wired freely: each node says where its input and where its target come from."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from al_jax.machines.chain import joined, learning, learns, of_all
from al_jax.machines.fitting import label_codes
from al_jax.machines.types import Context, Feedback, Machine, PyTree, Unheard, begin, refuse_no_machine

INPUT = "input"
GLOBAL = {"label": "label", "loss": "error"}  # targets that the context carries


class Node(NamedTuple):
    """A machine in a graph.

    Attributes:
      machine: what it computes and how it learns; `step_then_feedback` and `feedback_only` set its order of work.
      inputs: names of nodes, or `"input"`, the graph's own. A machine of several inputs takes a tuple.
      target: where its feedback comes from. `"above"`: the sum of what its readers hand down. The name of a later
        node, which has one input: what that node wants it to be, of the shape of this one's output. `"label"`: the
        one-hot label, for an output `(B, classes)`. `"loss"`: the loss's gradient at the output of the whole network,
        whose shape it must have.
    """

    machine: Machine
    inputs: tuple[str, ...] = (INPUT,)
    target: str = "above"


def graph(nodes: Mapping[str, Node], output: str | None = None, *, name: str = "graph") -> Machine:
    """A machine of nodes.

    Args:
      nodes: by name, each after those that it reads.
      output: the node whose output is the graph's, the last one by default.
      name: what errors and metrics call it.

    Raises:
      ValueError: a node has no machine, reads or takes its target from something that does not exist, or takes it from
        a node of several inputs; or, from `init`, a node's target has another shape than its output (from `backward`,
        if it is the loss's gradient), or the node would never learn.
    """
    names = list(nodes)
    output = output or (names[-1] if names else "")
    _check(nodes, output)
    machines = tuple(node.machine._replace(name=key) for key, node in nodes.items())
    told, (fed, tells), (_, unasked) = _told(nodes, output), _flows(nodes, output, True), _flows(nodes, output, False)

    def gathered(values: Mapping[str, PyTree], node: Node) -> PyTree:
        found = tuple(values[key] for key in node.inputs)
        return found if len(found) > 1 else found[0]

    def init(key, x):
        values, states = {INPUT: x}, []
        for index, (own, node) in enumerate(nodes.items()):
            state, values[own] = begin(machines[index], jax.random.fold_in(key, index), gathered(values, node))
            states.append(state)
        for own, node in nodes.items():
            _check_shape(own, node, values[own], gathered(values, nodes.get(node.target, node)))
        for (own, node), state in zip(nodes.items(), states, strict=True):
            if node.machine.hears and learns(node.machine, state) and not fed[own]:
                raise Unheard(
                    f"node {own!r} would never learn, since no feedback reaches it: give it another target or a rule "
                    "that hears the error or the label, or freeze it by al.machines.feedback_only"
                )
        return joined(states)

    def forward(params, fixed, x, key, train):
        values, residuals = {INPUT: x}, []
        for index, (own, node) in enumerate(nodes.items()):
            values[own], left = machines[index].forward(
                params[index], fixed[index], gathered(values, node), jax.random.fold_in(key, index), train
            )
            residuals.append(left)
        return values[output], (tuple(residuals), values)

    def work_down(turn, residuals, feedback: Feedback, context: Context):
        """From the last node to the first, each with its own feedback."""
        _, values = residuals
        heard: dict[str, Any] = {key: [] for key in (INPUT, *names)}
        wanted: dict[str, Feedback] = {}
        heard[output].append(feedback.delta)
        for index, (own, node) in reversed(list(enumerate(nodes.items()))):
            mine = _feedback(own, node, values[own], heard[own], wanted, context)
            wanted[own] = turn(index, mine)
            deltas = wanted[own].delta if len(node.inputs) > 1 else (wanted[own].delta,)
            for key, delta in zip(node.inputs, deltas, strict=True):
                heard[key].append(delta)
        x = values[INPUT]
        return Feedback.along(x, _sum(heard[INPUT]) if heard[INPUT] else jax.tree.map(jnp.zeros_like, x))

    backward, update, learn_all = learning(machines, work_down)
    about = of_all(machines)
    about["needs"] |= {GLOBAL[node.target] for node in nodes.values() if node.target in GLOBAL}
    lowest = [own for own, node in nodes.items() if INPUT in node.inputs]
    about |= {
        "hears": any(node.machine.hears and told[own] for own, node in nodes.items()),
        "tells": any(tells[own] for own in lowest),
        "initiates": any(unasked[own] for own in lowest),
    }
    return Machine(init, forward, backward, update, learn_all, name=name, **about)


def _check(nodes: Mapping[str, Node], output: str) -> None:
    names = list(nodes)
    if bare := [own for own, node in nodes.items() if not isinstance(node, Node)]:
        kind = type(nodes[bare[0]]).__name__
        raise ValueError(f"node {bare[0]!r} of machines.graph is a {kind}: it must be an al.machines.Node of a machine")
    refuse_no_machine("Node", *(node.machine for node in nodes.values()))
    if output not in nodes:
        raise ValueError(
            f"machines.graph has no node {output!r} for its output: there are {', '.join(names) or 'none'}"
        )
    read = {output, *(key for node in nodes.values() for key in node.inputs)}
    for index, (own, node) in enumerate(nodes.items()):
        if isinstance(node.inputs, str) or not node.inputs:
            raise ValueError(f"node {own!r} reads {node.inputs!r}: give it a tuple of names, as ('input',)")
        if own in (INPUT, "above", *GLOBAL):
            raise ValueError(f"a node cannot be called {own!r}, which means something else: rename it")
        if missing := [key for key in node.inputs if key != INPUT and key not in names[:index]]:
            raise ValueError(f"node {own!r} reads {missing[0]!r}, which is no node before it: put it first")
        if node.target == "above" and own not in read:
            raise ValueError(f"node {own!r} has its target from above, but nothing reads it: give it another target")
        if node.target not in ("above", *GLOBAL, *names[index + 1 :]):
            raise ValueError(
                f"node {own!r} has its target from {node.target!r}: allowed are above, label, loss or a later node"
            )
        if node.target in nodes and len(nodes[node.target].inputs) > 1:
            raise ValueError(
                f"node {own!r} has its target from {node.target!r}, which wants several inputs to change: take it from "
                "a node of one input"
            )


def _flows(nodes: Mapping[str, Node], output: str, told: bool) -> tuple[dict[str, bool], dict[str, bool]]:
    """Which nodes learn by feedback that may be more than zeros, and which hand such feedback down.

    `told` says whether the graph as a whole is told any for its output.
    """
    fed, tells = {}, {}
    for own, node in reversed(list(nodes.items())):
        given = node.target in GLOBAL or (told and node.target == "above" and own == output)
        fed[own] = given or any(tells[key] for key in _sources(own, nodes))
        tells[own] = node.machine.tells and (node.machine.initiates or fed[own])
    return fed, tells


def _told(nodes: Mapping[str, Node], output: str) -> dict[str, bool]:
    """Which nodes the feedback for the graph's own output reaches."""
    told = {}
    for own, node in reversed(list(nodes.items())):
        reached = any(nodes[key].machine.tells and told[key] for key in _sources(own, nodes))
        told[own] = reached or (node.target == "above" and own == output)
    return told


def _sources(own: str, nodes: Mapping[str, Node]) -> list[str]:
    """The nodes that say what a node should have put out."""
    target = nodes[own].target
    if target == "above":
        return [key for key in nodes if own in nodes[key].inputs]
    return [target] if target in nodes else []


def _feedback(own: str, node: Node, y: PyTree, heard: list, wanted: Mapping[str, Feedback], context: Context):
    if node.target == "above":
        return Feedback.along(y, _sum(heard))
    if node.target == "label":
        return Feedback.toward(y, label_codes(own, context, y.shape[-1]).astype(y.dtype))
    target = context.error if node.target == "loss" else wanted[node.target].target
    _refuse_other_shape(own, node, y, target)
    return Feedback.along(y, target) if node.target == "loss" else Feedback.toward(y, target)


def _check_shape(own: str, node: Node, y: PyTree, wanted: PyTree) -> None:
    """Whether `y` has the shape of its target, as far as it is known before the loss is; `wanted` is a node's input."""
    if node.target not in ("above", *GLOBAL):
        _refuse_other_shape(own, node, y, wanted)
    elif node.target == "label" and jax.tree.map(jnp.ndim, y) != 2:
        raise ValueError(
            f"node {own!r} puts out {jax.tree.map(jnp.shape, y)}, but its target from 'label' is a code for each "
            "example: it must put out (examples, classes)"
        )


def _refuse_other_shape(own: str, node: Node, y: PyTree, target: PyTree) -> None:
    if jax.tree.map(jnp.shape, target) != jax.tree.map(jnp.shape, y):
        raise ValueError(
            f"node {own!r} puts out {jax.tree.map(jnp.shape, y)}, but its target from {node.target!r} is "
            f"{jax.tree.map(jnp.shape, target)}: they must have one shape"
        )


def _sum(deltas: list) -> PyTree:
    total = deltas[0]
    for delta in deltas[1:]:
        total = jax.tree.map(jnp.add, total, delta)
    return total

"""Who learns by feedback must be reached by some, and machines say whether they hear and tell."""

import flax.linen as nn
import jax
import optax
import pytest
from unlearned import DENSE, DIRECT, KEY, TOP, TREES, X, drawn

from al_jax import machines
from al_jax.machines import from_linen

SILENT = {
    "direct": DIRECT,
    "local": machines.local_classifier(nn.Dense(5), classes=4, name="upper"),
    "trees": machines.ensemble(TREES, 2, name="upper"),
    "search": machines.searched(nn.Dense(5), machines.elitist(4, 1, 0.1), feedback=None, name="upper"),
    "chain": machines.chain(DIRECT, TOP, name="upper"),
    "no step": machines.with_step(from_linen(nn.Dense(5)), 0.0)._replace(name="upper"),
}


@pytest.mark.parametrize("upper", SILENT.values(), ids=SILENT)
@pytest.mark.parametrize(
    "lower", [DENSE, machines.tree_layer(5, 2, feedback=None, name="lower")], ids=("dense", "tree")
)
def test_below_a_machine_that_hands_nothing_down_no_other_waits_for_feedback(lower, upper):
    with pytest.raises(ValueError, match="'1_lower' would never learn, since '3_upper' above hands no feedback down"):
        drawn(machines.chain(lower, from_linen(machines.After((nn.tanh,))), upper, TOP))


@pytest.mark.parametrize(
    "lower",
    [
        DIRECT,
        machines.feedback_only(DENSE),
        machines.masked(DENSE, params=False),
        from_linen(machines.After((nn.tanh,))),
        machines.reversible_tanh(),
    ],
    ids=("direct", "frozen", "masked", "function", "inverse"),
)
def test_below_it_stands_what_needs_no_feedback(lower):
    drawn(machines.chain(lower, DIRECT, TOP))


def side_by_side(output="tanh", lower=DIRECT):
    """A graph of an activation and, above it or beside it, a layer that hears the error directly."""
    nodes = {
        "tanh": machines.Node(from_linen(machines.After((nn.tanh,)))),
        "direct": machines.Node(lower, ("tanh",) if output == "direct" else ("input",), target="label"),
    }
    return machines.graph(nodes, output)._replace(name="upper")


@pytest.mark.parametrize(
    "middle",
    [
        machines.chain(side_by_side("direct"), TOP),
        machines.chain(machines.parallel(DIRECT, machines.feedback_only(DENSE)), DIRECT, TOP),
        machines.chain(machines.repeat_params(from_linen(nn.Dense(5)), 2, loss=lambda y, label: y.mean()), DIRECT, TOP),
        machines.chain(machines.gaussian_climb(DIRECT, candidates=2, sigma=0.1), DIRECT, TOP),
    ],
    ids=("graph", "parallel", "inner loop", "climbing"),
)
def test_what_needs_the_label_or_the_error_does_not_hand_down_for_that(middle):
    with pytest.raises(ValueError, match="'1_lower' would never learn"):
        drawn(machines.chain(DENSE, *middle.parts))


def test_graphs_say_whether_they_are_told_and_tell():
    assert not side_by_side("direct").tells
    assert side_by_side().tells
    assert not side_by_side().initiates
    assert side_by_side("direct", machines.gaussian_climb(DIRECT, candidates=2, sigma=0.1)).initiates
    labelled = machines.graph({"a": machines.Node(DENSE, target="label"), "top": machines.Node(TOP, ("a",), "label")})
    assert labelled.initiates
    assert not labelled.hears
    assert machines.graph({"a": machines.Node(DENSE, target="label"), "top": machines.Node(TOP, ("a",))}).hears
    drawn(machines.chain(machines.graph({"a": machines.Node(DENSE, target="label")}), DIRECT, TOP))


@pytest.mark.parametrize("score", [machines.label_rate, machines.target_distance])
def test_what_climbs_by_the_label_waits_for_no_feedback(score):
    trees = machines.tree_classifier(5, 2, feedback=None)
    climbed = machines.climbed(DENSE, trees, candidates=2, score=score)
    assert climbed.hears == (score is machines.target_distance)
    assert climbed.initiates != climbed.hears
    assert machines.climbed(DENSE, TOP, candidates=2, score=score).hears
    network = machines.chain(DENSE, climbed, DIRECT, TOP)
    if climbed.hears:
        with pytest.raises(ValueError, match="'1_lower' would never learn"):
            drawn(network)
    else:
        drawn(network)


def test_what_finds_feedback_of_its_own_may_stand_between():
    """By its own search, by noise, or by the label."""
    for middle in (
        machines.gaussian_climb(DIRECT, candidates=2, sigma=0.1),
        machines.with_noise(DIRECT, 0.1, explore=True),
    ):
        drawn(machines.chain(DENSE, middle, TOP))
    frozen = machines.feedback_only(from_linen(nn.Dense(5)))
    labelled = machines.repeat_input(frozen, 2, optax.sgd(0.1), loss=lambda y, label: y.mean())
    drawn(machines.chain(DENSE, labelled, DIRECT, TOP))


@pytest.mark.parametrize(
    "lower",
    [
        machines.chain(DIRECT, from_linen(nn.Dense(5)), name="lower"),
        machines.parallel(DIRECT, from_linen(nn.Dense(5)), name="lower"),
        machines.repeat_input(DENSE, 2, optax.sgd(0.1), loss=lambda y, label: y.mean()),
    ],
    ids=("chain", "parallel", "search"),
)
def test_a_part_that_waits_for_feedback_is_not_hidden_by_one_that_does_not(lower):
    with pytest.raises(ValueError, match="machine '1_lower' would never learn"):
        drawn(machines.chain(lower, DIRECT, TOP))


def test_a_node_that_no_feedback_reaches_is_refused():
    def wired(target="above", lower=DENSE):
        return machines.graph(
            {
                "lower": machines.Node(lower, target=target),
                "tanh": machines.Node(from_linen(machines.After((nn.tanh,))), ("lower",)),
                "direct": machines.Node(DIRECT, ("tanh",)),
                "top": machines.Node(TOP, ("direct",)),
            }
        )

    for target in ("above", "tanh"):
        with pytest.raises(ValueError, match="node 'lower' would never learn, since no feedback reaches it"):
            drawn(wired(target))
    for fine in (wired("label", TOP), wired(lower=DIRECT), wired(lower=machines.feedback_only(DENSE))):
        jax.eval_shape(fine.init, KEY, X[:, :5])
    assert not machines.graph({"direct": machines.Node(DIRECT)}).tells

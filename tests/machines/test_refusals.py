"""What cannot hold is refused when a machine is built or drawn, in a sentence that names it."""

import flax.linen as nn
import jax
import optax
import pytest
from sklearn.linear_model import LinearRegression

from al_jax import machines
from al_jax.machines import from_linen

KEY, X = jax.random.key(0), jax.random.normal(jax.random.key(1), (6, 5))
DENSE = from_linen(nn.Dense(5), name="lower")
TOP = from_linen(nn.Dense(4))
DIRECT = machines.direct_feedback_alignment(nn.Dense(5), classes=4, name="upper")
TREES = machines.tree_layer(5, 2, feedback=None, name="upper")


def drawn(machine):
    """Without computing a number."""
    return jax.eval_shape(machine.init, KEY, X)


def gradients_of(machine):
    """Those of `jax.grad` for the sum of its output, as shapes."""

    def total(params, fixed, x):
        return machines.differentiable(machine)(params, fixed, x, KEY, True).sum()

    state = drawn(machine)
    return jax.eval_shape(jax.grad(total, argnums=(0, 2)), state.params, state.fixed, X)[0]


@pytest.mark.parametrize(
    "machine",
    [
        machines.ensemble(DENSE, 2, name="own"),
        machines.searched(nn.Dense(5), machines.elitist(4, 1, 0.1), feedback=None, name="own"),
        machines.tree_layer(5, 2, feedback=machines.gaussian_search(2, 0.1), name="own"),
        machines.estimator(LinearRegression, 5, feedback=None, name="own"),
        machines.feedback_only(DENSE)._replace(name="own"),
    ],
    ids=("ensemble", "search", "tree", "estimator", "frozen"),
)
@pytest.mark.parametrize("inside", [lambda m: m, lambda m: machines.chain(m, DENSE)], ids=("alone", "chain"))
def test_jax_grad_does_not_train_what_finds_no_gradients(machine, inside):
    with pytest.raises(ValueError, match="'own' learns by its own update and finds no gradients of its parameters"):
        gradients_of(inside(machine))


def test_jax_grad_trains_what_estimates_gradients():
    machine = machines.chain(machines.evolved(nn.Dense(5), 4, 0.1), machines.with_noise(DENSE, 0.1))
    assert jax.tree.structure(gradients_of(machine)) == jax.tree.structure(drawn(machine).params)


SILENT = {
    "direct": DIRECT,
    "local": machines.local_classifier(nn.Dense(5), classes=4, name="upper"),
    "trees": machines.ensemble(TREES, 2, name="upper"),
    "search": machines.searched(nn.Dense(5), machines.elitist(4, 1, 0.1), feedback=None, name="upper"),
    "chain": machines.chain(DIRECT, TOP, name="upper"),
    "no step": machines.with_step(from_linen(nn.Dense(5)), 0.0)._replace(name="upper"),
}


BUILT = {
    "vote without mean": (
        lambda: machines.ensemble(TREES, 2, aggregate=machines.majority_vote, boost=1.0),
        "'ensemble of upper' makes good what others miss of a mean",
    ),
    "all dropped": (lambda: machines.with_dropout(DENSE, 1.0), "dropout below machine 'lower' is 1.0"),
    "negative noise": (lambda: machines.with_noise(DENSE, -0.1), "noise on the input of machine 'lower' is -0.1"),
    "no steps": (lambda: machines.repeat_input(DENSE, 0, optax.sgd(1.0)), "repeat_input repeats 0 times"),
    "no updates": (lambda: machines.repeat_params(DENSE, 0), "repeat_params repeats 0 times"),
    "no examples": (lambda: machines.repeat_params(DENSE, 2, batch=0), "repeat_params draws 0 examples"),
    "never averaged": (lambda: machines.ema_params(DENSE, 0.9, every=0), "every is 0, it must be 1 or more"),
    "nothing to mask": (
        lambda: machines.masked(DIRECT, output=machines.some_units(2)),
        "'upper' takes no feedback for its output: output= has nothing to mask",
    ),
    "no target to make good": (
        lambda: machines.ensemble(machines.tree_classifier(4, 2, feedback=None), 2, boost=1.0),
        "hears no target, so there is nothing to make good",
    ),
    "a margin that rounds away": (lambda: machines.reversible_sigmoid(1e-8), "must be from 1.2e-07 to below"),
    "a name for its letters": (lambda: machines.graph({"a": machines.Node(DENSE, "input")}), "reads 'input': give it"),
}


@pytest.mark.parametrize(("build", "message"), BUILT.values(), ids=BUILT)
def test_what_has_no_meaning_is_not_built(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize(
    ("mask", "message"),
    [(machines.some_units(6), "takes 6 of 5 units"), (machines.some_examples(0), "takes 0 of 6 examples")],
)
def test_masks_take_what_there_is(mask, message):
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(mask, KEY, X)


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


@pytest.mark.parametrize(
    "held",
    [machines.with_phase(TREES, machines.alternating(2)[1]), machines.masked(TREES, params=False)],
    ids=("phase", "mask"),
)
def test_no_phase_or_mask_holds_what_is_fitted(held):
    with pytest.raises(ValueError, match="fits a model, which is no parameter"):
        drawn(held)


def test_a_mask_of_other_parameters_is_refused():
    with pytest.raises(ValueError, match=r"params is no prefix of its parameters \{'bias': \(5,\), 'kernel'"):
        drawn(machines.masked(DENSE, params={"weight": True}))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: machines.chain(nn.Dense(3)), "machines.chain takes machines, not a Dense: al.machines.from_linen"),
        (lambda: machines.trainer(nn.Dense(3)), "machines.trainer takes a machine, not a Dense"),
        (lambda: machines.trainer(TOP, optax.adam(1e-3)), "loss is a Gradient.*: it must be a function"),
    ],
)
def test_what_is_no_machine_or_loss_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_trainer_of_machines_refuses_depths_and_images_that_do_not_fit():
    trainer = machines.trainer(TOP)
    state = trainer.init(KEY, {"image": X, "label": jax.numpy.zeros(6, int)})
    assert trainer.predict(state, X, depth=1).shape == (6, 4)
    with pytest.raises(ValueError, match="depth is 2, allowed are 1 to 1"):
        trainer.predict(state, X, depth=2)
    with pytest.raises(ValueError, match=r"images \(6, 4\) do not fit these components, drawn for others"):
        trainer.predict(state, X[:, :4])

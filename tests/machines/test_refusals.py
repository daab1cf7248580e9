"""What cannot hold is refused when a machine is built or drawn, in a sentence that names it."""

import flax.linen as nn
import jax
import optax
import pytest
from sklearn.linear_model import LinearRegression
from unlearned import DENSE, DIRECT, KEY, TOP, TREES, X, drawn

from al_jax import machines
from al_jax.machines import from_linen

SGD, ODD = optax.sgd(0.1), machines.alternating(1)[1]


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


BUILT = {
    "vote without mean": (
        lambda: machines.ensemble(TREES, 2, aggregate=machines.majority_vote, boost=1.0),
        "'ensemble of upper' makes good what others miss of a mean",
    ),
    "all dropped": (lambda: machines.with_dropout(DENSE, 1.0), "dropout below machine 'lower' is 1.0"),
    "negative noise": (lambda: machines.with_noise(DENSE, -0.1), "noise on the input of machine 'lower' is -0.1"),
    "no steps": (lambda: machines.repeat_input(DENSE, 0, SGD), "times of machines.repeat_input is 0: it must be 1"),
    "no updates": (lambda: machines.repeat_params(DENSE, 0), "times of machines.repeat_params is 0: it must be 1"),
    "half a time": (lambda: machines.repeat_params(DENSE, 0.5), "repeat_params is 0.5: it must be a whole number"),
    "no examples": (lambda: machines.repeat_params(DENSE, 2, batch=0), "batch of machines.repeat_params is 0"),
    "never averaged": (lambda: machines.ema_params(DENSE, 0.9, every=0), "every is 0: it must be 1 or more"),
    "half members": (
        lambda: machines.ensemble(DENSE, 2.0),
        "members of machine 'ensemble of lower' is 2.0: it must be",
    ),
    "half a candidate": (
        lambda: machines.climbed(DENSE, TOP, candidates=2.5),
        "candidates of machine 'climbed' is 2.5: it must be a whole number",
    ),
    "a population of 4.0": (
        lambda: machines.evolved(nn.Dense(3), 4.0, 0.1),
        "population of machine 'Dense' is 4.0: it must be a whole number",
    ),
    "half a class": (
        lambda: machines.local_classifier(nn.Dense(3), classes=4.5),
        "classes of machine 'Dense' is 4.5: it must be a whole number",
    ),
    "a step back": (lambda: machines.with_step(TOP, -1.0), "the step below machine 'Dense' is -1.0: it must be 0 or"),
    "a negative search": (lambda: machines.gaussian_search(2, -1), "sigma of gaussian_search is -1: it must be 0 or"),
    "a negative mutation": (lambda: machines.elitist(4, 1, -1), "sigma of elitist is -1: it must be 0 or more"),
    "an average that goes on while its parameters are held": (
        lambda: machines.masked(machines.ema_params(DENSE, 0.9), params=False),
        "'lower' averages parameters, also while they rest: put its ema_params outside",
    ),
    "an average that goes on outside of its phase": (
        lambda: machines.with_phase(machines.chain(machines.ema_params(DENSE, 0.9), TOP), ODD),
        "'chain' averages parameters, also while they rest: put its ema_params outside",
    ),
    "members that begin outside of their phase": (
        lambda: machines.with_phase(machines.ensemble(DENSE, 2), ODD),
        "'ensemble of lower' begins new members, also while parameters rest: use feedback_only",
    ),
    "trees outside of their phase": (
        lambda: machines.with_phase(TREES, ODD),
        "'upper' fits a model, which is no parameter: use feedback_only",
    ),
    "trees of a mask": (
        lambda: machines.masked(TREES, params=False),
        "'upper' fits a model, which is no parameter: use feedback_only",
    ),
    "a schedule that stands still": (
        lambda: machines.feedback_only(machines.with_noise(DENSE, lambda step: 0.1 * step)),
        "'lower' counts updates for a schedule: put its with_noise or with_dropout outside",
    ),
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
    "a machine for a node": (
        lambda: machines.graph({"a": DENSE}),
        "node 'a' of machines.graph is a Machine: it must be",
    ),
    "a rate for an optimizer": (
        lambda: from_linen(nn.Dense(3), 1e-3),
        "a float is no optimizer: give machine 'Dense' a",
    ),
    "a function it does not have": (
        lambda: machines.replaced(DENSE, updat=DENSE.update),
        "a machine has no 'updat': what machines.replaced replaces is init, forward, backward, update,",
    ),
    "an optimizer's maker": (lambda: from_linen(nn.Dense(3), optax.adam), "adam makes an optimizer of a learning rate"),
    "a rate for a search": (
        lambda: machines.repeat_input(DENSE, 2, 1e-3),
        "a float is no optimizer: give the input of machine 'lower' a transformation",
    ),
    "a class for a module": (lambda: from_linen(nn.Dense), "Dense is a class: give an instance of it, as Dense"),
    "a function for a module": (lambda: from_linen(nn.tanh), "made of a Flax module, not of a function"),
    "measures of another": (
        lambda: machines.trainer(TOP, diagnose=machines.diagnostics(DENSE)),
        "diagnose measures another machine than 'Dense'",
    ),
}


def test_the_other_order_is_built():
    quiet = machines.with_noise(machines.feedback_only(DENSE), lambda step: 0.1 * step)
    for inside in (machines.masked(DENSE, params=False), machines.with_phase(DENSE, ODD), quiet):
        drawn(machines.ema_params(inside, 0.9))
    drawn(machines.feedback_only(machines.ensemble(TREES, 2)))


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


def test_a_mask_of_other_parameters_is_refused():
    with pytest.raises(ValueError, match=r"params is no prefix of its parameters \{'bias': \(5,\), 'kernel'"):
        drawn(machines.masked(DENSE, params={"weight": True}))


@pytest.mark.parametrize(
    "build",
    [
        machines.chain,
        machines.parallel,
        lambda module: machines.graph({"a": machines.Node(module)}),
        lambda module: machines.climbed(DENSE, module, candidates=2),
        lambda module: machines.gaussian_climb(module, candidates=2, sigma=0.1),
        lambda module: machines.ensemble(module, 2),
        lambda module: machines.ema_params(module, 0.9),
        lambda module: machines.with_noise(module, 0.1),
        lambda module: machines.with_dropout(module, 0.1),
        lambda module: machines.with_phase(module, ODD),
        lambda module: machines.with_step(module, 1.0),
        lambda module: machines.repeat_input(module, 2, SGD),
        lambda module: machines.repeat_params(module, 2),
        machines.masked,
        machines.step_then_feedback,
        machines.feedback_only,
        machines.replaced,
        machines.differentiable,
        machines.diagnostics,
        machines.trainer,
    ],
)
def test_what_takes_machines_refuses_modules(build):
    with pytest.raises(ValueError, match=r"machines.\w+ takes machines, not a Dense: al.machines.from_linen makes one"):
        build(nn.Dense(3))

"""From a configuration to a learning machine."""

import functools
from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from al_jax import machines
from al_jax.losses import cross_entropy
from al_jax.machines import Machine
from al_jax.networks.convolution import conv_general_dilated
from al_jax.training import derived
from al_jax.training.config import Config
from al_jax.training.facts import DataFacts

Rule = Callable[[Config, DataFacts, optax.GradientTransformation], Machine]
DIFFERENTIABLE_FROM = {"decision_linear": 2, "neural_decision": 2}  # by rule, from 1; the first part of these has trees
CHANNELS = 32  # of the convolution below a `neural_decision`, with kernels of 4x4 and a stride of 2 (Zenkai, A.7)


def build_machine(config: Config, facts: DataFacts, optimizer: optax.GradientTransformation, epoch: int) -> Machine:
    """The machine of `config.rule`, from images to scores.

    Args:
      config: all fields.
      facts: of its data.
      optimizer: of every part that has parameters.
      epoch: updates in one, for phases.
    """
    layers: dict[str, Callable[..., Machine]] = {
        "gradient": machines.from_linen,
        "feedback_alignment": functools.partial(machines.feedback_alignment, kind=config.feedback),
        "direct_feedback_alignment": functools.partial(machines.direct_feedback_alignment, classes=facts.classes),
        "local_classifier": functools.partial(machines.local_classifier, classes=facts.classes),
        "evolution": functools.partial(machines.evolved, population=config.population, sigma=config.sigma),
    }
    if (layer := layers.get(config.rule)) is not None:
        # Under feedback alignment the output layer aligns too; else it descends its gradient.
        top = layer if config.rule == "feedback_alignment" else machines.from_linen
        hidden = [layer(module, optimizer=optimizer) for module in hidden_layers(config)]
        return machines.chain(*hidden, top(nn.Dense(facts.classes), optimizer=optimizer))
    rules: dict[str, Rule] = {
        "least_squares": _least_squares,
        "target_propagation": functools.partial(_target_propagation, epoch=epoch),
        "decision_linear": _decision_linear,
        "neural_decision": _neural_decision,
    }
    return rules[config.rule](config, facts, optimizer)


def _least_squares(config: Config, facts: DataFacts, optimizer) -> Machine:
    """Least squares through the dense part of each layer, gradients through the rest (Zenkai, A.3)."""
    parts = []
    for width in derived.units_of(config):
        parts.append(machines.least_squares(width, optimizer, inputs=config.ridge))
        parts.append(machines.from_linen(machines.After(then_of(config)), optimizer))
    return machines.chain(*parts, machines.least_squares(facts.classes, optimizer, inputs=config.ridge))


def _target_propagation(config: Config, facts: DataFacts, optimizer, epoch: int) -> Machine:
    """The lowest layer needs no inverse; the output layer hands a step along its gradient down (Lee et al. 2015).

    Where epochs alternate, no layer at all learns in those of the inverses (Zenkai, A.4).
    """
    widths = derived.units_of(config)
    first, *others = hidden_layers(config)
    reverse_when, forward_when = machines.alternating(epoch) if config.alternate else (None, None)
    inverses = [machines.Layer(width, reverse_of(config)) for width in widths]
    middle = [
        machines.target_propagation(
            module,
            inverse,
            optimizer,
            optax.adam(config.reverse_rate),
            difference=config.difference,
            noise=config.target_noise,
            forward_when=forward_when,
            reverse_when=reverse_when,
        )
        for module, inverse in zip(others, inverses, strict=False)
    ]
    lowest, top = (machines.from_linen(module, optimizer) for module in (first, nn.Dense(facts.classes)))
    if forward_when:
        lowest, top = (machines.with_phase(machine, forward_when) for machine in (lowest, top))
    if config.input_noise:
        lowest = machines.with_noise(lowest, config.input_noise)
    return machines.chain(lowest, *middle, machines.with_step(top, config.target_step * config.batch_size))


def _decision_linear(config: Config, facts: DataFacts, optimizer) -> Machine:
    """Trees, a ring of the newest; above them a network that searches the inputs it wants (Zenkai, A.2)."""
    (width,) = derived.units_of(config)
    trees = machines.tree_layer(
        width, config.tree_depth, feedback=None, cuts=config.tree_cuts or None, joint=config.joint_trees
    )
    above = machines.from_linen(NormedLinear(facts.classes), optimizer)
    searched = machines.repeat_input(above, config.input_steps, optax.sgd(config.input_rate), loss=_sum_cross_entropy)
    taught = machines.step_then_feedback(machines.repeat_params(searched, config.upper_steps, loss=cross_entropy))
    return machines.chain(machines.ensemble(trees, config.members, boost=config.boost), taught)


def _sum_cross_entropy(scores: jax.Array, label: jax.Array) -> jax.Array:
    """A sum over the batch, so that a step on an input does not depend on the batch's size."""
    return len(label) * cross_entropy(scores, label)


def _neural_decision(config: Config, facts: DataFacts, optimizer) -> Machine:
    """Features that chase the best of several draws of themselves, below decision trees (Zenkai, A.7)."""
    (width,) = derived.units_of(config)
    features = machines.from_linen(Features(width, config.search_noise), optimizer)
    trees = machines.tree_classifier(facts.classes, config.tree_depth, feedback=None)
    voters = machines.ensemble(trees, config.members)
    return machines.climbed(features, voters, candidates=config.candidates, score=machines.label_rate)


class NormedLinear(nn.Module):
    """Batch norm, then a dense layer: `(B, features) -> (B, width)`."""

    width: int

    @nn.compact
    def __call__(self, x, train):
        return nn.Dense(self.width)(machines.After(("norm",))(x, train))


class Features(nn.Module):
    """A strided convolution, then a dense layer, both with batch norm: `(B, H, W, C) -> (B, width)`.

    In training it adds noise to what it puts out. Dropout within, in its place, would be trained away: features that
    chase targets under one mask and then another learn not to depend on it, and with the draws goes the search.
    """

    width: int
    noise: float

    @nn.compact
    def __call__(self, x, train):
        x = nn.Conv(CHANNELS, (4, 4), strides=2, conv_general_dilated=conv_general_dilated)(x)
        x = nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.9)(x))
        x = nn.Dense(self.width)(x.reshape(len(x), -1))
        x = nn.BatchNorm(use_running_average=not train, momentum=0.9)(x)
        return x + self.noise * jax.random.normal(self.make_rng("dropout"), x.shape) if train else x


def hidden_layers(config: Config) -> Sequence[nn.Module]:
    """The modules below the output layer."""
    then = then_of(config)
    if config.network == "lenet":
        return (
            machines.ConvLayer(6, then=then),
            machines.ConvLayer(16, then=then),
            machines.Layer(120, then),
            machines.Layer(84, then),
        )
    return tuple(machines.Layer(width, then) for width in derived.units_of(config))


def then_of(config: Config) -> tuple:
    """What follows the linear part of a layer."""
    known = {"relu": nn.relu, "tanh": jnp.tanh, "norm": "norm"}
    return tuple(known[name] for name in config.layer.split("_"))


def reverse_of(config: Config) -> tuple:
    """What follows the linear part of an inverse: its outputs have the range of what it undoes."""
    return (jnp.tanh,) if config.layer == "tanh" else ("norm", nn.relu)

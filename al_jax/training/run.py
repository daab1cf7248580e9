"""What a configuration decides before training starts: data, network and trainer."""

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from al_jax.components import with_prepare
from al_jax.data import Dataset, Examples, drawn, load, validation_split
from al_jax.engines import distributed
from al_jax.engines.optimizers import optimizers_of
from al_jax.engines.partition import even_partition
from al_jax.engines.update import draw_components
from al_jax.machines.components import begun
from al_jax.training import derived
from al_jax.training.build import build_machine_trainer, build_prepare, build_trainer
from al_jax.training.config import MACHINES, Config
from al_jax.training.errors import ConfigError
from al_jax.training.evaluation import Evaluate, make_evaluate
from al_jax.training.facts import DataFacts
from al_jax.training.machines import build_machine
from al_jax.training.networks import build_network
from al_jax.training.optimizers import build_optimizer, steps_in_run
from al_jax.training.source import commit
from al_jax.training.validation import validate
from al_jax.types import ComponentState, Network, Trainer


class Run(NamedTuple):
    """A run that is ready to train.

    Attributes:
      config: all fields.
      workdir: where its files go.
      dataset: its data, without the validation examples.
      facts: what the network knows of the data.
      held_out: the splits that training does not see, the one whose accuracy by depth is recorded first: `test`.
      network: without the preparation of images.
      optimizer: of every component.
      prepare: of images, inside jit.
      trainer: the engine.
      shapes: the canonical components of one seed, as shapes.
      evaluate: `(variables, split) -> Accuracy`, of images that nothing has prepared.
      updates_per_epoch: full batches in the training set.
      partition: components of each stage of a pipeline; None for other engines, and before `settled` measured.
      commit: of the code, as it was when the run was set up; later it may be another one.
    """

    config: Config
    workdir: Path
    dataset: Dataset
    facts: DataFacts
    held_out: Mapping[str, Examples]
    network: Network
    optimizer: optax.GradientTransformation
    prepare: Callable
    trainer: Trainer
    shapes: tuple[ComponentState, ...]
    evaluate: Evaluate
    updates_per_epoch: int
    partition: tuple[int, ...] | None = None
    commit: str = ""

    @property
    def updates(self) -> int:
        """Updates from beginning to end."""
        return self.config.epochs * self.updates_per_epoch

    @property
    def seeds(self) -> range:
        return range(self.config.seed, self.config.seed + self.config.num_seeds)


class Finished(NamedTuple):
    """A run at its end.

    Attributes:
      components: the canonical components, with an axis of seeds if there are several.
      wall_seconds: time in this program, over all restarts.
      examples_per_second: of training alone, without compilation and evaluation; 0 where nothing was measured.
      partition: components of each stage of the pipeline, None where there was none.
    """

    components: tuple[ComponentState, ...]
    wall_seconds: float
    examples_per_second: float
    partition: tuple[int, ...] | None = None

    @classmethod
    def at_the_end(cls, components: tuple[ComponentState, ...], notes: Mapping[str, Any]) -> "Finished":
        """From what checkpoints note beside the components."""
        seconds, sizes = notes["trained_seconds"], notes.get("partition")
        speed = notes["trained_examples"] / seconds if seconds else 0.0
        return cls(components, notes["wall_seconds"], speed, tuple(sizes) if sizes else None)


def set_up(config: Config, workdir: Path) -> Run:
    """Loads the data and builds network and trainer; nothing is compiled yet.

    Raises:
      RunError: the configuration cannot run.
      DataError: the data is not there.
    """
    validate(config)
    if distributed.size() > config.devices:
        raise ConfigError(
            f"config.devices is {config.devices}, but there are {distributed.size()} processes: give every process "
            "at least one device"
        )
    dataset = load(config.dataset, config.data_dir or None)
    held_out = {"test": dataset.test}
    if config.validation:
        train, held_out["validation"] = validation_split(dataset.train, config.validation)
        dataset = dataset._replace(train=train)
    if config.examples:
        dataset = dataset._replace(train=drawn(dataset.train, config.examples))
    updates_per_epoch = updates_in_epoch(config, dataset.train.examples)
    facts = DataFacts.of(config, dataset)
    network, prepare = build_network(config, facts), build_prepare(config, facts)
    optimizer = build_optimizer(config, steps_in_run(config, updates_per_epoch))
    partition = given_partition(config)
    try:
        if config.rule in MACHINES:
            trainer = build_machine_trainer(config, facts, optimizer, updates_per_epoch, prepare)
        else:
            trainer = build_trainer(config, network, optimizer, prepare, partition)
        shapes = component_shapes(config, facts, network)
    except ValueError as error:
        raise ConfigError(f"these fields make no network: {error}") from error
    evaluate = make_evaluate(with_prepare(network, prepare))
    parts = network, optimizer, prepare, trainer, shapes, evaluate
    return Run(config, workdir, dataset, facts, held_out, *parts, updates_per_epoch, partition, commit())


def updates_in_epoch(config: Config, examples: int) -> int:
    """Full batches in so many training examples; refuses fewer than one."""
    if config.batch_size > examples:
        raise ConfigError(f"config.batch_size is {config.batch_size}, but there are {examples} training examples")
    return examples // config.batch_size


def given_partition(config: Config) -> tuple[int, ...] | None:
    """Components of each stage of a pipeline, None where there is none or `partition=auto` is yet to measure."""
    if config.engine != "pipelined" or config.partition == "auto":
        return None
    return derived.partition_of(config) or even_partition(derived.depth(config), derived.stages(config))


def micro_batch_shapes(config: Config, facts: DataFacts, devices: int = 1) -> dict[str, jax.ShapeDtypeStruct]:
    """The shapes of one micro-batch, or of the part of it that each of several devices sees."""
    size = config.batch_size // config.accumulate // devices
    return {
        "image": jax.ShapeDtypeStruct((size, *facts.image), jnp.uint8),
        "label": jax.ShapeDtypeStruct((size,), jnp.int32),
    }


def component_shapes(config: Config, facts: DataFacts, network: Network) -> tuple[ComponentState, ...]:
    """The canonical components of one seed as shapes; `network` is what `build_network` makes of the configuration."""
    prepare, batch = build_prepare(config, facts), micro_batch_shapes(config, facts)
    optimizer = build_optimizer(config, updates=1)  # its length changes no shape
    if config.rule in MACHINES:
        machine = build_machine(config, facts, optimizer, epoch=1)
        return jax.eval_shape(functools.partial(begun, machine, prepare), jax.random.key(0), batch)[0]
    network = with_prepare(network, prepare)
    optimizers = optimizers_of(network, optimizer)
    return jax.eval_shape(lambda: draw_components(network, optimizers, jax.random.key(0), batch))


def stored_shapes(config: Config, shapes: tuple[ComponentState, ...]) -> tuple[ComponentState, ...]:
    """What a run's checkpoints hold: `shapes`, with an axis of seeds in front of every leaf if there are several."""
    if config.num_seeds == 1:
        return shapes
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct((config.num_seeds, *x.shape), x.dtype), shapes)


def per_seed(run: Run, components: tuple[ComponentState, ...]) -> list[tuple[ComponentState, ...]]:
    """The components of each seed by themselves."""
    if run.config.num_seeds == 1:
        return [components]
    return [jax.tree.map(lambda x, index=index: x[index], components) for index in range(run.config.num_seeds)]

"""Which components each stage of a run's pipeline has: measured once, kept while the number of stages is the same."""

import math
from collections.abc import Mapping
from typing import Any

import jax

from al_jax.components import with_prepare
from al_jax.engines import distributed
from al_jax.engines.costs import Profile, Progress, profile
from al_jax.engines.forecast import plan_partition
from al_jax.engines.optimizers import optimizers_of
from al_jax.training import company, derived
from al_jax.training.build import build_prepare, build_trainer
from al_jax.training.config import Config
from al_jax.training.errors import ConfigError
from al_jax.training.facts import DataFacts
from al_jax.training.networks import build_network
from al_jax.training.optimizers import build_optimizer
from al_jax.training.run import Run, micro_batch_shapes


def settled(run: Run, notes: Mapping[str, Any]) -> Run:
    """The run with the partition it trains with, which `partition=auto` measures unless a checkpoint has noted it.

    Args:
      run: what `set_up` made.
      notes: of the checkpoint from which it continues; empty where it begins.

    Raises:
      ConfigError: no partition fits the devices' memory.
    """
    if run.config.partition != "auto":
        return run
    noted = tuple(notes.get("partition", ()))
    again = notes.get("partition_field") == "auto" and len(noted) == derived.stages(run.config)
    sizes = noted if again else distributed.on_first(lambda: decide_partition(run))
    trainer = build_trainer(run.config, run.network, run.optimizer, run.prepare, sizes)
    return run._replace(trainer=trainer, partition=sizes)


def decide_partition(run: Run) -> tuple[int, ...]:
    """Measures every component's update on the first device of this process; returns the components of each stage.

    Raises:
      ConfigError: no partition fits the memory that the device says it has.
    """
    device = jax.local_devices()[0]
    limit = (device.memory_stats() or {}).get("bytes_limit", math.inf)  # None of a CPU
    company.say(f"measuring {len(run.network.components)} components for config.partition=auto")
    found = profile_config(run.config, run.facts, measure_on=device)
    micro_batches = micro_batches_in_call(run.config, run.updates_per_epoch)
    try:
        return plan_partition(found, found.work, derived.stages(run.config), micro_batches, limit)
    except ValueError as error:
        raise ConfigError(f"config.partition is 'auto', but {error}") from error


def profile_config(
    config: Config,
    facts: DataFacts,
    measure_on: jax.Device | None = None,
    progress: Progress = lambda number, of: None,
) -> Profile:
    """The costs of a run's components for what one device of a stage sees; measured where a device is given."""
    network = with_prepare(build_network(config, facts), build_prepare(config, facts))
    return profile(
        network,
        optimizers_of(network, build_optimizer(config, updates=1)),  # its length changes no cost
        micro_batch_shapes(config, facts, config.data_parallel),
        shards=config.shards // config.data_parallel,
        accumulate=config.accumulate,
        measure_on=measure_on,
        exact=config.exact,
        progress=progress,
    )


def micro_batches_in_call(config: Config, updates_per_epoch: int) -> int:
    """Micro-batches that are on the devices together."""
    return min(config.updates_per_call, updates_per_epoch) * config.accumulate


def partition_notes(run: Run) -> dict[str, Any]:
    """What checkpoints keep of a pipeline: the partition, and which field decided it."""
    return {"partition": list(run.partition), "partition_field": run.config.partition} if run.partition else {}

"""A pipeline planned from a configuration alone: no data, no devices, and nothing runs unless times are asked for."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax

from al_jax.data import size_of, unit_range
from al_jax.engines.advice import best_change
from al_jax.engines.costs import Profile, Progress
from al_jax.engines.forecast import Memory, efficiency_of, in_words, memory_of, plan_partition, tick_of
from al_jax.engines.packing import bytes_of
from al_jax.engines.partition import best_partition, blocks_of, even_partition
from al_jax.training import derived
from al_jax.training.config import Config
from al_jax.training.errors import ConfigError
from al_jax.training.facts import DataFacts, check_channels
from al_jax.training.partition import micro_batches_in_call, profile_config
from al_jax.training.run import updates_in_epoch
from al_jax.training.validation import validate


class Stage(NamedTuple):
    """What one stage of the pipeline does and holds.

    Attributes:
      components: numbers of the first and the last one, from 1.
      cost: of its components, in the plan's unit.
      share: of the cost of all.
      busy: the part of a tick in which it works.
      held: bytes of its parameters, model state and optimizer state.
      empty: bytes of the slots for them that it leaves empty.
      temporaries: bytes of activations, gradients and what is handed up, of its component that needs most.
      entering: bytes of the signal that comes in; of stage 1, the micro-batch.
      sent: bytes of the signal that it sends up every tick.
    """

    components: tuple[int, int]
    cost: float
    share: float
    busy: float
    held: int
    empty: int
    temporaries: int
    entering: int
    sent: int


class Plan(NamedTuple):
    """A partition of a run's components and what it will cost.

    Attributes:
      measured: whether costs are seconds by a clock; FLOPs by XLA's count otherwise.
      costs: of each component for a micro-batch.
      partition: components of each stage.
      stages: one for each.
      memory: of every device.
      micro_batches: of the whole run.
      in_call: of them, or places for them, in every call.
      fills: how often the pipeline drains and fills again.
      waiting: ticks of the whole run in which some stages work and others wait for that.
      tick, efficiency: of this partition.
      even_efficiency: of the even one.
      advice: the best single improvement.
    """

    measured: bool
    costs: tuple[float, ...]
    partition: tuple[int, ...]
    stages: tuple[Stage, ...]
    memory: Memory
    micro_batches: int
    in_call: int
    fills: int
    waiting: int
    tick: float
    efficiency: float
    even_efficiency: float
    advice: str

    @property
    def filling(self) -> int:
        """Ticks in which some stages work and others wait, each time that the pipeline fills and drains."""
        return len(self.stages) - 1

    @property
    def flush(self) -> int:
        """Ticks of the calls without micro-batches that drain it; in those beyond `filling` nobody works."""
        return math.ceil(self.filling / self.in_call) * self.in_call

    @property
    def bubble(self) -> float:
        """The part of the ticks with work that filling and draining add."""
        return self.waiting / (self.micro_batches + self.waiting)

    @property
    def speed_up(self) -> float:
        """Over one device that does all components in turn, were it not for transfers and ticks without work."""
        return self.efficiency * len(self.stages) * (1 - self.bubble)

    def cost(self, value: float) -> str:
        """A cost for people, in milliseconds or floating-point operations."""
        if self.measured:
            return f"{1e3 * value:,.2f} ms"
        return f"{value / 1e9:,.2f} GFLOP" if self.tick >= 1e9 else f"{value / 1e6:,.2f} MFLOP"

    def record(self) -> dict[str, Any]:
        """For JSON."""
        memory = {**self.memory._asdict(), "total": self.memory.total, "padding_share": self.memory.padding_share}
        own = {**self._asdict(), "stages": [stage._asdict() for stage in self.stages], "memory": memory}
        unit = "seconds" if self.measured else "FLOPs"
        return {"unit": unit, **own, "flush": self.flush, "bubble": self.bubble, "speed_up": self.speed_up}


def make_plan(
    config: Config,
    limit: float = math.inf,
    measure_on: jax.Device | None = None,
    progress: Progress = lambda number, of: None,
) -> Plan:
    """Plans the pipeline of a configuration, with the partition it gives; `even` and `auto` mean the best.

    Args:
      config: with `engine=pipelined` and the devices to plan for, which need not exist.
      limit: bytes of a device.
      measure_on: a device on which every component is timed.
      progress: called before each component is compiled.

    Raises:
      RunError: the configuration cannot run, or nothing fits the limit.
      DataError: the data set is unknown.
    """
    validate(config)
    size = size_of(config.dataset)
    check_channels(config, size.image[-1])
    facts = DataFacts(size.classes, size.image, unit_range())  # other statistics would cost the same
    left = size.examples - config.validation
    if left < max(config.examples, 1):
        raise ConfigError(
            f"config.validation is {config.validation} and config.examples {config.examples}, but {config.dataset} has "
            f"{size.examples} training examples"
        )
    per_epoch = updates_in_epoch(config, config.examples or left)
    try:
        profile = profile_config(config, facts, measure_on, progress)
    except ValueError as error:
        raise ConfigError(f"these fields make no network: {error}") from error
    costs, stages, in_call = profile.work, derived.stages(config), micro_batches_in_call(config, per_epoch)
    sizes = derived.partition_of(config)
    try:
        sizes = sizes or plan_partition(profile, costs, stages, in_call, limit)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    memory = memory_of(profile, sizes, in_call)
    if memory.total > limit:
        raise ConfigError(
            f"config.partition is {config.partition!r}, which needs {in_words(memory.total)} a device, not "
            f"{in_words(limit)}: give as much, or 'auto' to look for another"
        )
    fills, waiting = _fills(config, per_epoch, stages)
    plan = Plan(
        measured=measure_on is not None,
        costs=costs,
        partition=sizes,
        stages=_stages(profile, costs, sizes, memory),
        memory=memory,
        micro_batches=config.epochs * per_epoch * config.accumulate,
        in_call=in_call,
        fills=fills,
        waiting=waiting,
        tick=tick_of(costs, sizes),
        efficiency=efficiency_of(costs, sizes),
        even_efficiency=efficiency_of(costs, even_partition(len(costs), stages)),
        advice="",
    )
    unlimited = best_partition(costs, stages, sent=profile.sent)
    return plan._replace(advice=best_change(costs, sizes, unlimited, plan.cost))


def _fills(config: Config, per_epoch: int, stages: int) -> tuple[int, int]:
    """How often the pipeline drains, and the ticks that this takes: for evaluations, after the first call, and where
    the last call of an epoch is filled up with nothing, as far as that goes."""
    evaluations = math.ceil(config.epochs / config.eval_every)
    first_is_evaluated = config.updates_per_call >= per_epoch and 1 in (config.epochs, config.eval_every)
    whole = evaluations + (not first_is_evaluated)
    nothing = -per_epoch % min(config.updates_per_call, per_epoch) * config.accumulate
    others = config.epochs - evaluations if nothing else 0
    return whole + others, whole * (stages - 1) + others * min(nothing, stages - 1)


def _stages(profile: Profile, costs: Sequence[float], sizes: Sequence[int], memory: Memory) -> tuple[Stage, ...]:
    tick, total = tick_of(costs, sizes), math.fsum(costs)
    found, first = [], 0
    held, sent = blocks_of(profile.held, sizes), (*profile.sent, 0)
    for stage, size in enumerate(sizes):
        block = slice(first, first + size)
        cost = math.fsum(costs[block])
        found.append(
            Stage(
                components=(first + 1, first + size),
                cost=cost,
                share=cost / total if total else 0.0,
                busy=cost / tick if tick else 0.0,
                held=bytes_of(held[stage]),
                empty=memory.padding[stage],
                temporaries=max(own.temporaries for own in profile.costs[block]),
                entering=bytes_of(profile.entering[first]),
                sent=sent[first + size - 1],
            )
        )
        first += size
    return tuple(found)

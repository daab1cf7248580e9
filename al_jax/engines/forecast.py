"""What a partition will cost, before anything runs: the tick of its pipeline and the memory of its devices.

Every device runs one program, so it has room for the fullest stage and for the largest work of any component. What
differs between stages is how much of that they use.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from al_jax.engines.costs import Profile
from al_jax.engines.fitting import fitting_partition
from al_jax.engines.packing import bytes_of, in_place_layout, ranked_layout
from al_jax.engines.partition import best_partition, blocks_of
from al_jax.engines.pipelined import signal_layout

PASSING = 4  # micro-batches on a device's part of the belt: its register, the one read, the selected, the arriving


class Memory(NamedTuple):
    """Bytes that each device has allocated while it trains.

    Attributes:
      held: leaf slots of parameters, model state and optimizer state, as long as the stages need together.
      temporaries: activations, gradients and what is handed up, of the component that needs most.
      boundary: slots of the signals and messages that come in, and as much for those that go out.
      belt: a device's share of the micro-batches of a call, and what passes through it.
      padding: of `held`, what each stage leaves empty.
    """

    held: int
    temporaries: int
    boundary: int
    belt: int
    padding: tuple[int, ...]

    @property
    def total(self) -> int:
        return self.held + self.temporaries + self.boundary + self.belt

    @property
    def padding_share(self) -> float:
        """The part of all devices' slots that is empty."""
        return sum(self.padding) / (len(self.padding) * self.held) if self.held else 0.0


def memory_of(profile: Profile, sizes: Sequence[int], micro_batches: int) -> Memory:
    """What each device needs under a partition, in calls of so many micro-batches."""
    blocks = blocks_of(profile.held, sizes)
    held = bytes_of(in_place_layout(blocks).slots)
    signals = bytes_of(signal_layout(profile.entering, sizes).slots)
    messages = bytes_of(ranked_layout([told[0] for told in blocks_of(profile.told, sizes)]).slots)
    one = bytes_of(profile.entering[0])
    return Memory(
        held=held,
        temporaries=max(cost.temporaries for cost in profile.costs),
        boundary=2 * (signals + messages),
        belt=(math.ceil(micro_batches / len(sizes)) + PASSING) * one,
        padding=tuple(held - bytes_of(block) for block in blocks),
    )


def plan_partition(
    profile: Profile, costs: Sequence[float], stages: int, micro_batches: int, limit: float = math.inf
) -> tuple[int, ...]:
    """The partition of shortest tick of those whose devices fit the limit.

    Of several it is the one that `best_partition` gives, or where that one does not fit, the one of fewest bytes.

    Args:
      profile: of the network.
      costs: of each component, in any unit.
      stages: how many blocks to make.
      micro_batches: of a call.
      limit: bytes of a device.

    Raises:
      ValueError: there are more stages than components, or nothing fits; the message says what would.
    """
    held = [bytes_of(own) for own in profile.held]
    sizes = best_partition(costs, stages, memory=lambda start, end: sum(held[start:end]), sent=profile.sent)
    memory = memory_of(profile, sizes, micro_batches)
    if memory.total <= limit:
        return sizes
    others = memory.temporaries + memory.belt  # the same in every partition
    if found := fitting_partition(profile, costs, stages, limit - others):
        return found
    smallest = fitting_partition(profile, [0] * len(costs), stages)
    assert smallest is not None
    raise ValueError(
        f"no partition over {stages} stages fits {in_words(limit)} a device: give at least "
        f"{in_words(memory_of(profile, smallest, micro_batches).total)}, smaller micro-batches, or more devices"
    )


def tick_of(costs: Sequence[float], sizes: Sequence[int]) -> float:
    """What the most expensive block costs."""
    return max(map(math.fsum, blocks_of(costs, sizes)))


def efficiency_of(costs: Sequence[float], sizes: Sequence[int]) -> float:
    """The part of a tick in which devices work, on average."""
    return math.fsum(costs) / (len(sizes) * tick) if (tick := tick_of(costs, sizes)) else 1.0


def in_words(size: float) -> str:
    """Bytes as people write them, rounded up: what is named as enough is enough."""
    for unit, factor in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if size >= factor:
            return f"{math.ceil(size / factor * 100) / 100:.2f} {unit}"
    return f"{size:.0f} bytes"

"""What a partition will cost, before anything runs: the tick of its pipeline and the memory of its devices.

Every device runs one program, so it has room for the fullest stage and for the largest work of any component. What
differs between stages is how much of that they use.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from al_jax.engines.costs import Profile
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
    """The partition of shortest tick of those whose devices fit the limit; ties as `best_partition` breaks them.

    How much of the slots stays empty depends on all stages together, and is known of a whole partition only. So it
    walks from the shortest tick to the fullest block that is least full, and takes the first that fits.

    Args:
      profile: of the network.
      costs: of each component, in any unit.
      stages: how many blocks to make.
      micro_batches: of a call.
      limit: bytes of a device.

    Raises:
      ValueError: there are more stages than components, or nothing fits; the message says what would.
    """
    sizes_of = [bytes_of(held) for held in profile.held]
    within, least = math.inf, math.inf
    while True:
        try:
            sizes = best_partition(
                costs, stages, memory=lambda start, end: sum(sizes_of[start:end]), limit=within, sent=profile.sent
            )
        except ValueError:
            if least == math.inf:
                raise
            raise ValueError(
                f"no partition over {stages} stages fits {in_words(limit)} a device: give at least {in_words(least)}, "
                "smaller micro-batches, or more devices"
            ) from None
        needed = memory_of(profile, sizes, micro_batches).total
        if needed <= limit:
            return sizes
        least = min(least, needed)
        within = max(sum(block) for block in blocks_of(sizes_of, sizes)) - 1


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

"""Refusals of the engines, each one sentence, before anything is compiled."""

from collections.abc import Sequence

from al_jax.types import Batch


def check_cut(shards: int, data: int, accumulate: int) -> None:
    """Refuses shards that do not spread evenly over the data axis, and counts below one."""
    if shards < 1 or shards % data:
        raise ValueError(f"shards is {shards}: it must be a multiple of the {data} devices that share a micro-batch")
    if accumulate < 1:
        raise ValueError(f"accumulate is {accumulate}: it must be 1 or more micro-batches for an update")


def check_batch(batch: Batch, shards: int, axis: int = 0) -> None:
    """Refuses arrays that differ in length along the axis of examples, or that do not divide into slices."""
    sizes = {name: x.shape[axis] for name, x in batch.items()}
    if len(set(sizes.values())) != 1:
        raise ValueError(f"the arrays of a micro-batch must have one length, but they have {sizes}")
    if (size := next(iter(sizes.values()))) % shards:
        raise ValueError(f"a micro-batch of {size} examples is not divisible by shards={shards}")


def check_batches(batches: Batch, shards: int, accumulate: int, valid: int | None) -> int:
    """Refuses micro-batches that end within an update; returns how many of them count."""
    numbers = {name: x.shape[0] for name, x in batches.items()}
    if len(set(numbers.values())) != 1:
        raise ValueError(f"all arrays must hold the same number of micro-batches, but they hold {numbers}")
    number = next(iter(numbers.values()))
    if not number:
        raise ValueError("there is no micro-batch: give at least one")
    check_batch(batches, shards, axis=1)
    valid = number if valid is None else valid
    if not 0 <= valid <= number:
        raise ValueError(f"valid is {valid}, but there are {number} micro-batches")
    if valid % accumulate:
        raise ValueError(f"{valid} micro-batches end within an update: give a multiple of accumulate={accumulate}")
    return valid


def check_components(found: int, components: int) -> None:
    """Refuses the components of another network."""
    if found != components:
        raise ValueError(f"{found} components for a network of {components}: place those of the same network")


def check_devices(devices: int, data: int, components: int) -> int:
    """Refuses device counts that do not make whole stages, or more stages than components; returns the stages."""
    if devices < 1 or data < 1 or devices % data:
        raise ValueError(f"{devices} devices do not divide into stages of {data}")
    if devices // data > components:
        raise ValueError(f"{devices // data} stages for {components} components: use at most one stage a component")
    return devices // data


def check_partition(partition: Sequence[int], components: int, stages: int) -> tuple[int, ...]:
    """Refuses blocks that do not cover the components, one block of at least one component for each stage."""
    partition = tuple(partition)
    if len(partition) != stages or sum(partition) != components or min(partition) < 1:
        raise ValueError(
            f"partition is {partition}: it must give {stages} stages at least one component each, {components} in all"
        )
    return partition

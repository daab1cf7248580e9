"""Refusals of the engines, each one sentence, before anything is compiled."""

import contextlib
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.errors import ScopeParamShapeError

from al_jax.arguments import several, whole
from al_jax.types import Batch, ComponentState, Network, PyTree


def check_cut(shards: int, data: int, accumulate: int) -> None:
    """Refuses shards that do not spread evenly over the data axis, and counts below one."""
    if whole("shards", shards) % data:
        raise ValueError(f"shards is {shards}: it must be a multiple of the {data} devices that share a micro-batch")
    whole("accumulate", accumulate)


def check_batch(batch: Batch, shards: int, axis: int = 0) -> None:
    """Refuses arrays that differ in length along the axis of examples, or that do not divide into slices."""
    _check_arrays(batch, axis)
    sizes = {name: x.shape[axis] for name, x in batch.items()}
    if len(set(sizes.values())) != 1:
        raise ValueError(f"the arrays of a micro-batch must have one length, but they have {sizes}")
    if (size := next(iter(sizes.values()))) % shards:
        raise ValueError(f"a micro-batch of {size} examples is not divisible by shards={shards}")


def check_batches(batches: Batch, shards: int, accumulate: int, valid: int | None) -> int:
    """Refuses micro-batches that end within an update; returns how many of them count."""
    _check_arrays(batches, axis=1)
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


def _check_arrays(batch: Batch, axis: int) -> None:
    if not isinstance(batch, Mapping):
        raise ValueError(f"a batch is a dict of arrays, with an 'image' and a 'label', not a {type(batch).__name__}")
    for name, x in batch.items():
        if len(getattr(x, "shape", ())) <= axis:
            found = f"has the shape {x.shape}" if hasattr(x, "shape") else f"is a {type(x).__name__}"
            wanted = "one row for each example" if axis == 0 else "micro-batches (M, B, ...); x[None] makes one of x"
            raise ValueError(f"{name!r} of the batch {found}: it must be an array of {wanted}")
        if getattr(x.dtype, "kind", "") in tuple("OSUMm"):  # random keys have none
            raise ValueError(
                f"{name!r} of the batch is of the type {x.dtype}: it must be of numbers, and labels classes from 0; "
                "np.unique(x, return_inverse=True)[1] makes those of names"
            )


def check_labels(batches: Batch, valid: int, classes: int | None) -> None:
    """Refuses labels that are no classes, whose losses would be NaN. Labels already on a device are not checked.

    Those of more axes than micro-batches and examples are no classes but targets.
    """
    label = batches.get("label")
    if classes and valid and isinstance(label, np.ndarray) and label.dtype.kind in "iu" and label.ndim == 2:
        least, most = label[:valid].min(), label[:valid].max()
        if least < 0 or most >= classes:
            raise ValueError(f"labels are from {least} to {most}: of {classes} classes they must be 0 to {classes - 1}")


def check_state(state: PyTree, kind: type) -> None:
    """Refuses what is no state of this engine, and a state that an earlier step or flush has consumed."""
    parts = state if isinstance(state, tuple) else (state,)
    if not parts or not all(isinstance(part, kind) for part in parts):
        raise ValueError("a trainer takes a state of its own, from init or place: place makes one of components")
    if any(isinstance(leaf, jax.Array) and _deleted(leaf) for leaf in jax.tree.leaves(state)):
        raise ValueError("this state was consumed by an earlier step or flush: go on with the one that it returned")


def check_concrete(*given: PyTree) -> None:
    """Refuses what JAX is tracing."""
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(given)):
        raise ValueError("a pipeline compiles its own step: call its trainer outside of jax.jit, jax.vmap and the like")


def _deleted(leaf: jax.Array) -> bool:
    return not isinstance(leaf, jax.core.Tracer) and leaf.is_deleted()


def check_key(key: Any) -> None:
    """Refuses what is no random key, typed or of plain numbers, and several at once."""
    if not hasattr(key, "dtype"):
        raise ValueError(f"the key is {key!r}: give a random key, as jax.random.key(0)")
    typed = jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    if key.ndim != (0 if typed else 1) or not (typed or key.dtype == jnp.uint32):
        raise ValueError(f"the key is {key.dtype}{list(key.shape)}: give one random key, as jax.random.key(0)")


def check_prediction(images: Any, depth: int | None, depths: Sequence[int]) -> int | None:
    """Refuses what is no array of images, and depths at which a network does not predict; returns the depth."""
    if not getattr(images, "ndim", 0):
        raise ValueError(f"predict takes an array of images (B, ...), not a {type(images).__name__}")
    if not len(images):
        raise ValueError("there are no images to predict: give at least one")
    depth = None if depth is None else whole("depth", depth)
    if depth is not None and depth not in depths:
        raise ValueError(f"depth is {depth}, allowed are 1 to {len(depths)}")
    return depth


@contextlib.contextmanager
def fitting(images: Any):
    """Says in a sentence that parameters were drawn for other images, or for another network."""
    try:
        yield
    except ScopeParamShapeError as error:
        why = str(error).splitlines()[0].split(" (http")[0]
        raise ValueError(
            f"images {getattr(images, 'shape', '')} do not fit these components, drawn for others or for another "
            f"network: {why}"
        ) from error


def check_number(components: Sequence[ComponentState], number: int) -> None:
    """Refuses what is no tuple of components, and the components of a network of another size."""
    if not isinstance(components, Sequence) or not all(isinstance(own, ComponentState) for own in components):
        raise ValueError("place takes components, one ComponentState each, as trainer.components gives them")
    if len(components) != number:
        raise ValueError(f"{len(components)} components for a network of {number}: place those of the same network")


def check_components(components: Sequence[ComponentState], network: Network, optimizers: Sequence[Any]) -> None:
    """Refuses the components of another network, and the states of other optimizers."""
    check_number(components, len(network.components))
    for index, (state, optimizer) in enumerate(zip(components, optimizers, strict=True)):
        if _types_of_state(optimizer.init, *_types(state.params)) != _types(state.opt_state):
            raise ValueError(
                f"the state of component {index + 1}'s optimizer is not this one's: place components that were trained "
                "with it, or put opt_state=optimizer.init(params) into them"
            )


def _types(tree: PyTree) -> tuple[Any, tuple]:
    leaves, structure = jax.tree.flatten(tree)
    return structure, tuple((jnp.shape(leaf), jnp.result_type(leaf)) for leaf in leaves)


@functools.lru_cache(maxsize=256)  # tracing takes longer than the rest of placing
def _types_of_state(init: Callable[[PyTree], PyTree], structure: Any, types: tuple) -> tuple[Any, tuple]:
    """Those of an optimizer's state for parameters of these types."""
    return _types(jax.eval_shape(init, structure.unflatten([jax.ShapeDtypeStruct(*own) for own in types])))


def check_are_devices(devices: Sequence[jax.Device]) -> None:
    """Refuses what is no sequence of devices, an empty one, and one that has a device twice."""
    if not hasattr(devices, "__len__") or not len(devices) or not all(isinstance(own, jax.Device) for own in devices):
        raise ValueError(f"devices is {devices!r}: give the devices themselves, as jax.devices()[:2]")
    if twice := [device for device in devices if list(devices).count(device) > 1]:
        raise ValueError(f"{twice[0]!r} is there twice in devices: give each device once")


def check_devices(devices: Sequence[jax.Device], data: int, components: int) -> int:
    """Refuses devices that do not make whole stages, or more stages than components; returns the stages."""
    check_are_devices(devices)
    if len(devices) % whole("data", data):
        raise ValueError(f"{len(devices)} devices do not divide into stages of {data}")
    stages = len(devices) // data
    if stages > components:
        raise ValueError(f"{stages} stages for {components} components: give at most one stage a component")
    return stages


def check_partition(partition: Sequence[int], components: int, stages: int) -> tuple[int, ...]:
    """Refuses blocks that do not cover the components, one block of at least one component for each stage."""
    partition = tuple(whole("a stage of partition", size, 0) for size in several("partition", partition))
    if len(partition) != stages or sum(partition) != components or min(partition) < 1:
        raise ValueError(
            f"partition is {partition}: it must give {stages} stages at least one component each, {components} in all"
        )
    return partition

"""The nouns of al_jax: NamedTuples of pure functions, and the pytrees they work on.

In shapes, `B` is the size of a micro-batch, `M` the number of micro-batches in one call, `K` the number of components.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax

PyTree = Any
Signal = PyTree  # what travels up between components; only the rule that made it looks inside
Variables = Mapping[str, PyTree]  # {"params": ..., "batch_stats": ...}, as Flax Linen names them
Prepare = Callable[[jax.Array, jax.Array, bool], jax.Array]  # (image, key, train) -> image
Batch = Mapping[str, Any]  # arrays, or their shapes: {"image": (B, ...), "label": (B,)}


class Component(NamedTuple):
    """One part of a network that trains on its own loss.

    Attributes:
      init: `(key, signal) -> variables`.
      apply: `(variables, signal, key, train) -> (signal_up, losses, model_state)`. `losses` maps names to scalars whose
        sum is this component's objective. `model_state` is every collection of variables but the parameters.
      labels: a tree prefix of the parameters that names groups of them, for example `{"f": "associated"}`;
        `al.groups_of` makes labels for `optax.partition` of it.
      rates: factor on the optimizer's updates of each group that `labels` names.
      name: what errors call it.
      module: the Flax module behind it, None where there is none.
      tell: `state -> message`, what it tells the component below about its own state before each of its updates.
      hear: `(model_state, message) -> model_state`, how it takes in a message from the component above. It gets one
        message between its updates u and u + 1, about the state of the component above before that one's update u. In
        a pipeline the component above may still wait for its own message about update u - 1: `tell` must give the
        same whether it has come or not.
    """

    init: Callable[[jax.Array, Signal], Variables]
    apply: Callable[[Variables, Signal, jax.Array, bool], tuple[Signal, dict[str, jax.Array], PyTree]]
    labels: PyTree
    rates: Mapping[str, float]
    name: str = "component"
    module: nn.Module | None = None
    tell: Callable[["ComponentState"], PyTree] | None = None
    hear: Callable[[PyTree, PyTree], PyTree] | None = None


class Network(NamedTuple):
    """A chain of components and the path that inference takes through it.

    Attributes:
      components: from the input upwards; component 1 receives the batch itself.
      predict: `(variables, images, depth=None) -> scores`, with the variables of every component; `depth=k` uses the
        first k components only.
      effective: for each component a tree prefix of its parameters, True where inference with all components uses them
        (the paper's effective parameters; the others are affiliated).
      anytime: `(variables, images, depth=None) -> scores (depth, B, classes)`, the predictions of the first 1, 2, …
        components with shared work done once; None where `predict` for each depth has nothing to share.
      levels: the number of depths, where that is not the number of components: `al.leak` makes one of several.
      classes: their number; labels count from 0. None where the network's maker did not say.
      depths: a property, what `predict` takes as `depth`: 1 to the number of components, or `levels`.
    """

    components: tuple[Component, ...]
    predict: Callable[..., jax.Array]
    effective: tuple[PyTree, ...]
    anytime: Callable[..., jax.Array] | None = None
    levels: int | None = None
    classes: int | None = None

    @property
    def depths(self) -> range:
        return range(1, (self.levels or len(self.components)) + 1)


class ComponentState(NamedTuple):
    """All that training knows about one component between two updates, the same on every engine.

    Attributes:
      params: the parameters.
      model_state: the other collections of variables, for example `{"batch_stats": ...}`.
      opt_state: the optimizer's state.
      updates: int32 scalar, the updates done so far.
      key: uint32 `(2,)`, where this component's randomness comes from; draws of an update depend on it and on the
        update's number alone, never on the device.
    """

    params: PyTree
    model_state: PyTree
    opt_state: PyTree
    updates: jax.Array
    key: jax.Array

    @property
    def variables(self) -> dict[str, PyTree]:
        """The variables that `Component.apply` and `Network.predict` take."""
        return {"params": self.params, **self.model_state}


class Metrics(NamedTuple):
    """What one call of `Trainer.step` measured. In a pipeline, component k is some micro-batches behind component 1.

    Attributes:
      updates: int32 `(K, M)`, the number (from 0) of the update to which an entry belongs, -1 where there was no work.
      losses: for each component, its losses by name, each `(M,)`, NaN where there was no work.
    """

    updates: jax.Array
    losses: tuple[dict[str, jax.Array], ...]


class Trainer(NamedTuple):
    """What an engine makes of a network, an optimizer and devices. Its state is opaque.

    Attributes:
      init: `(key, batch) -> state`, with one micro-batch, or its shapes. Without a pipeline and `exact`, `init` and
        `step` may be traced by `jax.jit`, `jax.vmap` and `jax.eval_shape`.
      step: `(state, batches, valid=None) -> (state, metrics)`. Consumes the state and trains on `(M, B, ...)`
        micro-batches, or on the first `valid` of them. It returns before that is done, and on a CPU JAX may read NumPy
        arrays where they lie: do not write into those of `batches` before the metrics are there.
      flush: `state -> state`. Consumes the state and finishes updates that are still in flight.
      components: `state -> components`, the canonical tuple of `ComponentState`, flushed; leaves the state as it is.
        Arrays in NamedTuples, which pickle or orbax (with a target of their kind) save and restore.
      place: `components -> state`, the inverse, on any engine and number of devices: training resumes where it was.
      predict: `(state, images, depth=None) -> scores`, float32 `(B, classes)`, of images before `prepare`. A pipeline
        brings its components to one device for every call.
      reads: `(M, B) -> bool (M, B)`, which examples of a call this process must supply; what stands in place of the
        others is never read. None: all, as in a single process.
    """

    init: Callable[[Any, Batch], PyTree]
    step: Callable[..., tuple[PyTree, Metrics]]
    flush: Callable[[PyTree], PyTree]
    components: Callable[[PyTree], tuple[ComponentState, ...]]
    place: Callable[[Sequence[ComponentState]], PyTree]
    predict: Callable[..., jax.Array]
    reads: Callable[[int, int], Any] | None = None

"""Losses on the host: named, averaged over the updates of one call, and watched for NaN."""

from collections import OrderedDict
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from al_jax.training.errors import REMEDY, Diverged
from al_jax.types import ComponentState, Metrics


class LossLog:
    """Collects the losses of one network until every component has worked through a window of updates.

    In a pipeline the upper components are behind, so the losses of one call's updates arrive over several calls; rows
    are the same on every engine.
    """

    def __init__(self, accumulate: int, suffix: str = ""):
        self._accumulate = accumulate
        self._suffix = suffix
        self._windows: OrderedDict[tuple[int, int], dict[str, list[float]]] = OrderedDict()

    def expect(self, first: int, last: int) -> None:
        """Announces the updates `first` to `last - 1`, which one call feeds."""
        self._windows[first, last] = {}

    @property
    def waiting(self) -> bool:
        """Whether losses of fed updates are still to come."""
        return bool(self._windows)

    def add(self, metrics: Metrics) -> list[tuple[int, dict[str, float]]]:
        """Takes in what a call measured; returns `(updates done, mean losses)` for each window that is complete.

        Raises:
          Diverged: a loss is NaN or infinite.
        """
        updates = np.asarray(metrics.updates)
        broken = []
        for index, losses in enumerate(metrics.losses):
            worked = updates[index] >= 0
            for name, values in losses.items():
                own = np.asarray(values)[worked]
                self._add(index, name, updates[index][worked], own)
                for place in np.flatnonzero(~np.isfinite(own))[:1]:
                    broken.append((int(updates[index][worked][place]), index + 1, name, own[place]))
        if broken:
            update, component, name, value = min(broken)
            raise Diverged(
                f"the loss {name!r} of component {component} is {value} at update {update}{self._suffix}: {REMEDY}"
            )
        return self._complete(sum(len(losses) for losses in metrics.losses))

    def _add(self, index: int, name: str, updates: np.ndarray, values: np.ndarray) -> None:
        for (first, last), window in self._windows.items():
            own = values[(updates >= first) & (updates < last)]
            window.setdefault(f"component_{index + 1}/{name}", []).extend(own.tolist())

    def _complete(self, names: int) -> list[tuple[int, dict[str, float]]]:
        rows = []
        while self._windows:
            (first, last), window = next(iter(self._windows.items()))
            expected = (last - first) * self._accumulate
            if len(window) < names or any(len(values) < expected for values in window.values()):
                break
            rows.append((last, {name: float(np.mean(values)) for name, values in window.items()}))
            del self._windows[first, last]
        return rows


def refuse_infinite(components: Sequence[ComponentState], updates: int) -> None:
    """Raises `Diverged` where a number of a component is not finite after so many updates."""
    for path, finite in jax.tree_util.tree_leaves_with_path(jax.device_get(_finite(components))):
        if not finite:
            name = jax.tree_util.keystr(path[1:], simple=True, separator="/")
            raise Diverged(f"{name} of component {path[0].idx + 1} is not finite after update {updates}: {REMEDY}")


@jax.jit
def _finite(tree):
    """Whether every number of each leaf is finite; one program for all, as each makes a start longer."""
    return jax.tree.map(
        lambda x: jnp.isfinite(x).all() if jnp.issubdtype(x.dtype, jnp.inexact) else jnp.bool_(True), tree
    )

"""Several processes as one machine, through `jax.distributed`.

Every process runs the same program and makes the same calls in the same order; what only one of them knows (a signal,
the time, a file) is shared here. A process that is alone needs none of this and pays nothing for it.
"""

import pickle
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np
from jax._src import distributed as runtime  # its client has no public name
from jax.experimental import multihost_utils

from al_jax.engines.world import LONGEST

T = TypeVar("T")
CHUNK = 2**28  # bytes of a value that are broadcast at once
BEHIND = 100  # calls; no process is as far behind the first, whose losses come from all of them


def size() -> int:
    """The number of processes; asks no device."""
    return runtime.global_state.num_processes or 1


def rank() -> int:
    """The number of this process, from 0."""
    return runtime.global_state.process_id


def first() -> bool:
    """Whether this is the process that reads and writes files for all."""
    return rank() == 0


def devices(number: int) -> list[jax.Device]:
    """So many of JAX's devices, equally many of every process, in the order of processes.

    Raises:
      ValueError: the number is not a multiple of the processes, or a process has too few.
    """
    share, rest = divmod(number, size())
    if rest:
        raise ValueError(f"{number} devices do not spread evenly over {size()} processes: use a multiple of {size()}")
    own: list[list[jax.Device]] = [[] for _ in range(size())]
    for device in jax.devices():
        own[device.process_index].append(device)
    if (least := min(map(len, own))) < share:
        there = f"{least} {jax.default_backend()} devices" + " in a process" * (size() > 1)
        raise ValueError(f"{number} devices are asked for, but there are {there}: use at most {least * size()}")
    return [device for group in own for device in group[:share]]


def on_first(run: Callable[[], T]) -> T:
    """Runs `run` in the first process alone; what it returns, all return, and an `Exception` of it all raise."""
    if size() == 1:
        return run()
    outcome = None
    if first():
        try:
            outcome = True, run()
        except Exception as error:
            outcome = False, error
    good, value = _broadcast(outcome)
    if not good:
        raise value
    return value


def _broadcast(value):
    """The first process's value, pickled, since a sum over processes would not keep the sign of a zero."""
    content = np.frombuffer(pickle.dumps(value), np.uint8) if first() else np.zeros(0, np.uint8)
    high, low = _of_first(np.asarray(divmod(content.size, 2**32), np.uint32))  # JAX has no longer integers
    length = int(high) * 2**32 + int(low)
    parts = []
    for begin in range(0, length, CHUNK):
        size = min(CHUNK, length - begin)
        parts.append(_of_first(content[begin : begin + size] if first() else np.zeros(size, np.uint8)))
    return pickle.loads(np.concatenate(parts).data)


def _of_first(array: np.ndarray) -> np.ndarray:
    """The first process's array, whose shape all know."""
    return np.asarray(multihost_utils.broadcast_one_to_all(array))


def total(x: np.ndarray) -> np.ndarray:
    """The sum over processes of an array of integers."""
    if size() == 1:
        return x
    return np.asarray(multihost_utils.process_allgather(x)).reshape(size(), *x.shape).sum(0)


class Agreement:
    """What any process wishes, known to all of them at the same call.

    The first process decides at each of its calls, and the others ask what it decided, by JAX's coordination service:
    on the devices, two programs with collectives must never be under way at once.
    """

    def __init__(self, timeout: float):
        """Args:
        timeout: seconds in which the first process comes to each call.
        """
        self._timeout = timeout
        self._calls = 0

    def ask(self, *wishes: int) -> tuple[int, ...]:
        """The greatest of all processes' wishes, each at least 0; a wish lasts."""
        if size() == 1:
            return wishes
        self._calls += 1
        if not first():
            if any(wishes):
                tell("wishes", " ".join(map(str, wishes)))
            return _numbers(
                _client().blocking_key_value_get(_decided(self._calls), round(1000 * min(self._timeout, LONGEST)))
            )
        own = [wishes, *map(_numbers, told("wishes").values())]
        decided = tuple(map(max, zip(*own, strict=True)))
        _client().key_value_set(_decided(self._calls), " ".join(map(str, decided)))
        if self._calls > BEHIND:
            _client().key_value_delete(_decided(self._calls - BEHIND))
        return decided


def _decided(call: int) -> str:
    return f"al_jax/decided/{call}"


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split()))


def tell(name: str, text: str) -> None:
    """Leaves a text where every process finds it."""
    _client().key_value_set(f"al_jax/{name}/{rank()}", text, allow_overwrite=True)


def told(name: str) -> dict[int, str]:
    """The texts of a name that were left so far, by the number of the process that left them.

    Raises:
      JaxRuntimeError: process 0 does not answer.
    """
    texts = _client().key_value_dir_get(f"al_jax/{name}")
    return {int(key.rsplit("/", 1)[1]): text for key, text in texts}


def _client() -> Any:
    return runtime.global_state.client

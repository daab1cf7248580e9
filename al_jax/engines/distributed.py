"""Several processes as one machine, through `jax.distributed`.

Every process runs the same program and makes the same calls in the same order; what only one of them knows, a signal,
the time or a file, is made common here. A process that is alone needs none of this and pays nothing for it.
"""

import os
import pickle
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
from jax._src import distributed as runtime  # its client has no public name
from jax.experimental import multihost_utils

T = TypeVar("T")
AUTO = "auto"
LONGEST = 10**6  # seconds that JAX's runtime, which counts milliseconds in 32 bits, can wait
CHUNK = 2**28  # bytes of a value that are broadcast at once
BEHIND = 100  # calls; no process is as far behind the first, whose losses come from all of them


class World(NamedTuple):
    """Which processes train together, and which of them this is.

    Attributes:
      coordinator: `host:port` where process 0 listens; `auto`: as SLURM, Open MPI, GKE or a TPU pod tell JAX; "": this
        process is alone.
      processes: how many there are; 0: as the cluster says.
      process: the number of this one, from 0; -1: as the cluster says.
    """

    coordinator: str = ""
    processes: int = 0
    process: int = -1


def of_environment() -> World:
    """What JAX's environment variables say.

    Raises:
      ValueError: one of them says nothing that can be meant.
    """
    coordinator = os.environ.get("JAX_COORDINATOR_ADDRESS", "")
    _check_address("JAX_COORDINATOR_ADDRESS", coordinator)
    return World(coordinator, _whole("JAX_NUM_PROCESSES", 1, unset=0), _whole("JAX_PROCESS_ID", 0, unset=-1))


def _whole(variable: str, least: int, unset: int) -> int:
    text = os.environ.get(variable, "")
    if text and (not text.isdecimal() or int(text) < least):
        raise ValueError(f"{variable} is {text!r}: it must be a whole number of at least {least}")
    return int(text) if text else unset


def _check_address(name: str, coordinator: str) -> None:
    """Refuses what is no address, with which JAX's runtime crashes."""
    host, _, port = coordinator.rpartition(":")
    good = host and port.isdecimal() and 0 < int(port) < 2**16
    if coordinator not in ("", AUTO) and not good:
        raise ValueError(f"{name} is {coordinator!r}: it must be host:port, as in node1:1234, or auto on a cluster")


def start(coordinator: str = "", processes: int = 0, process: int = -1, timeout: float = 300) -> None:
    """Joins the other processes of a `World`; call it before JAX's backend starts.

    Args:
      coordinator, processes, process: as in a `World`.
      timeout: seconds to wait for the others.

    Raises:
      ValueError: a field is wrong, missing or does not fit the others, or no cluster was found.
      JaxRuntimeError: not all processes came; in some versions JAX aborts instead.
    """
    _check(World(coordinator, processes, process), timeout)
    if not coordinator:
        return
    known: dict[str, Any] = {
        "coordinator_address": None if coordinator == AUTO else coordinator,
        "num_processes": processes or None,
        "process_id": process if process >= 0 else None,
    }
    # A survivor shall get an error that it can explain, not be aborted; and SIGTERM is for the run's own handler.
    for option, value in (("jax_enable_recoverability", True), ("jax_enable_preemption_service", False)):
        if option in jax.config.values:
            jax.config.update(option, value)
    method = None if None in known.values() else "deactivate"
    try:
        jax.distributed.initialize(
            **known, cluster_detection_method=method, initialization_timeout=max(1, round(timeout))
        )
    except ValueError as error:
        raise ValueError(
            f"coordinator is {coordinator!r}, but {str(error).rstrip('.')}: give coordinator=host:port, num_processes "
            "and process_id, or start the program by SLURM, Open MPI or python -m al_jax.launch"
        ) from error


def _check(world: World, timeout: float) -> None:
    coordinator, processes, process = world
    _check_address("coordinator", coordinator)
    if processes < 0:
        raise ValueError(f"num_processes is {processes}: it must be at least 1, or 0 for what the environment says")
    if process < -1:
        raise ValueError(f"process_id is {process}: it must be at least 0, or -1 for what the environment says")
    if not 0 < timeout <= LONGEST:
        raise ValueError(f"start_timeout is {timeout}: it must be a positive number of seconds, at most {LONGEST}")
    if not coordinator and (processes > 1 or process > 0):
        raise ValueError(
            f"coordinator is empty, but num_processes is {processes} and process_id {process}: give "
            "coordinator=host:port, or auto on a cluster"
        )
    if coordinator and processes and process >= processes:
        raise ValueError(
            f"process_id is {process}: with num_processes={processes} it must be from 0 to {processes - 1}"
        )


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

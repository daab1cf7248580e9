"""Which processes train together, and how they meet, through `jax.distributed`."""

import os
import socket
from typing import Any, NamedTuple

import jax

from al_jax.arguments import reason

AUTO = "auto"
LONGEST = 10**6  # seconds that JAX's runtime, which counts milliseconds in 32 bits, can wait


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
    if _whole("JAX_COORDINATOR_PORT", 1, unset=1) >= 2**16:
        raise ValueError(f"JAX_COORDINATOR_PORT is {os.environ['JAX_COORDINATOR_PORT']}: ports are below {2**16}")
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
    if process == 0 and coordinator != AUTO:
        _check_free(coordinator)
    method = None if None in known.values() else "deactivate"
    try:
        jax.distributed.initialize(
            **known, cluster_detection_method=method, initialization_timeout=max(1, round(timeout))
        )
    except jax.errors.JaxRuntimeError:
        raise
    except (ValueError, KeyError, RuntimeError) as error:  # of half a cluster's variables
        raise ValueError(
            f"coordinator is {coordinator!r}, but {reason(error).rstrip('.')}: give coordinator=host:port, "
            "num_processes and process_id, or start the program by SLURM, Open MPI or python -m al_jax.launch"
        ) from error


def _check_free(coordinator: str) -> None:
    """Refuses a port on which somebody listens already, with which JAX's runtime crashes."""
    try:
        socket.create_server(("", int(coordinator.rpartition(":")[2]))).close()
    except OSError as error:
        raise ValueError(
            f"coordinator is {coordinator!r}, but its port cannot be had ({error.strerror}): choose another"
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

"""Processes that are pinned to cores and answer questions, alone or as the ranks of a group.

One core stands for one device: a process is pinned before it starts, so that every thread it makes stays there.
"""

import contextlib
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import wait
from typing import Any, NoReturn

import jax

from al_jax.engines import exact as exactness
from al_jax.ports import free_port

Functions = dict[str, Callable[..., Any]]
PATIENCE = 1800.0  # seconds for one answer, of which the longest take some minutes


class Worker:
    """A process on `cores` that calls one of the functions it made when asked; None leaves it on all cores."""

    def __init__(self, cores: Sequence[int] | None, make: Callable[..., Functions], *args: Any):
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, make, *args), daemon=True)
        _start_on(cores, self.process)
        theirs.close()

    def __call__(self, name: str, *args: Any) -> Any:
        self.ask(name, *args)
        return self.answer()

    def ask(self, name: str, *args: Any) -> None:
        with _ended_in_a_sentence():
            self.pipe.send((name, args))

    def answer(self) -> Any:
        if not self.pipe.poll(PATIENCE):
            _give_up([self])
        with _ended_in_a_sentence():
            return self.pipe.recv()

    def pin(self, cores: Sequence[int]) -> None:
        """Moves all its threads to these cores."""
        if hasattr(os, "sched_setaffinity"):
            for thread in os.listdir(f"/proc/{self.process.pid}/task"):
                with contextlib.suppress(ProcessLookupError):  # a thread that has ended meanwhile
                    os.sched_setaffinity(int(thread), cores)

    def close(self) -> None:
        self.pipe.close()  # at which the process ends by itself

    def join(self) -> None:
        self.process.join(timeout=20)


class Group:
    """Workers that are asked together, `make(rank, address, *args)` in each; the answers come in the order of ranks."""

    def __init__(self, cores: Sequence[int], make: Callable[..., Functions], *args: Any):
        address = f"127.0.0.1:{free_port()}"
        self.workers = [Worker([core], make, rank, address, *args) for rank, core in enumerate(cores)]

    def __call__(self, name: str, *args: Any) -> list[Any]:
        self.ask(name, *args)
        return self.answer()

    def ask(self, name: str, *args: Any) -> None:
        for worker in self.workers:
            worker.ask(name, *args)

    def answer(self) -> list[Any]:
        answers, waiting = {}, {worker.pipe: worker for worker in self.workers}
        while waiting:  # whoever speaks first is heard first, so that a dead rank is noticed while others wait for it
            if not (ready := wait(list(waiting), PATIENCE)):
                _give_up(self.workers)
            for pipe in ready:
                worker = waiting.pop(pipe)
                answers[worker] = worker.answer()
        return [answers[worker] for worker in self.workers]

    def close(self) -> None:
        for worker in self.workers:
            worker.close()

    def join(self) -> None:
        for worker in self.workers:
            worker.join()


@contextlib.contextmanager
def _ended_in_a_sentence() -> Iterator[None]:
    try:
        yield
    except (EOFError, ConnectionError):  # a connection is broken, or reset where its other side had not read all
        raise SystemExit("a process of the benchmark ended: its error stands above") from None


def _give_up(workers: Sequence[Worker]) -> NoReturn:
    """Kills processes that hang, which would not end when they are asked to."""
    for worker in workers:
        worker.process.kill()
    raise SystemExit(f"a process of the benchmark hangs: it has not answered for {PATIENCE:g} seconds")


def two_cores() -> tuple[int, int]:
    """The last two cores this process may use; twice the same where there is one."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
    return cores[-1], cores[-2] if len(cores) > 1 else cores[-1]


def start_jax(devices: int = 1, exact: bool = False, rank: int = 0, ranks: int = 1, address: str | None = None) -> None:
    """Settings of JAX in a worker, before its backend starts; with an address it joins the other ranks.

    The thread pool has two threads, as with any number of devices above one: with one, reductions round differently,
    and a collective would hold the only thread.
    """
    os.environ["NPROC"] = "2"
    if exact:
        exactness.request()
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", devices)
    if address:
        jax.distributed.initialize(address, num_processes=ranks, process_id=rank, initialization_timeout=120)


def _start_on(cores: Sequence[int] | None, process) -> None:
    """Starts a process from a thread that is pinned; the process inherits that, and that no thread preempts another.

    When a message comes, gloo's thread would take the core from a thread that computes; if that one holds a lock of
    gloo's, gloo's thread asks for it in vain until its time slice ends, several milliseconds for every message.
    """

    def start():
        if cores is not None and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, set(cores))  # of this thread alone
        if hasattr(os, "SCHED_BATCH"):
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
        process.start()

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()


def _serve(pipe, make, *args) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # gloo says whom it has met; errors go to stderr
    functions = make(*args)
    try:
        while True:
            name, given = pipe.recv()
            pipe.send(functions[name](*given))
    except EOFError:
        pass  # the benchmark is done with this worker

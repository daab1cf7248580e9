"""What a component tells the one below it, and the work of a row of components on one device.

A message says something about parameters before their update u, and is taken in by the component below after its own
update u and before its update u + 1. On one device that is right after the work of both. In a pipeline the speaker is
a micro-batch behind: what it says at the beginning of a tick reaches the listener in time for that tick.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from al_jax.engines.update import Held, Slices, Transformations, Work, make_work
from al_jax.types import Component, Network, PyTree, Signal


class Message(NamedTuple):
    """What is said, and whether the speaker's next micro-batch ends an update: only then it is taken in."""

    said: PyTree
    counts: jax.Array


class Worker(NamedTuple):
    """A component's work, what it tells the component below, and how it takes in what the one above tells.

    Attributes:
      work: its work on a micro-batch.
      say: what it tells next.
      listen: takes in a message.
      heard: whether the component below listens.
      listens: whether the component above is heard.
    """

    work: Work
    say: Callable[[Held], Message]
    listen: Callable[[Held, Message], Held]
    heard: bool
    listens: bool


def make_workers(network: Network, optimizers: Transformations, accumulate: int, slices: Slices) -> list[Worker]:
    """A worker for each component; arguments are those of `make_work`."""
    parts = network.components
    pairs = [below.hear is not None and above.tell is not None for below, above in itertools.pairwise(parts)]
    return [
        Worker(make_work(part, rule, accumulate, slices), _say(part, accumulate), _listen(part), heard, listens)
        for part, rule, heard, listens in zip(parts, optimizers, [False, *pairs], [*pairs, False], strict=True)
    ]


def _say(part: Component, accumulate: int) -> Callable[[Held], Message]:
    def say(held: Held) -> Message:
        counts = held.accumulated.count == accumulate - 1 if held.accumulated else jnp.bool_(True)
        return Message(part.tell(held.state) if part.tell else (), counts)

    return say


def _listen(part: Component) -> Callable[[Held, Message], Held]:
    def listen(held: Held, message: Message) -> Held:
        before = held.state.model_state
        heard = part.hear(before, message.said) if part.hear else before
        after = jax.tree.map(lambda new, old: jnp.where(message.counts, new, old), heard, before)
        return held._replace(state=held.state._replace(model_state=after))

    return listen


def work_through(workers: Sequence[Worker], held: Sequence[Held], signal: Signal):
    """One micro-batch through components on one device.

    Returns:
      The components after it, the signal above them, and the losses of each.
    """
    after, measured = [], []
    for worker, own in zip(workers, held, strict=True):
        if after and worker.heard:
            after[-1] = workers[len(after) - 1].listen(after[-1], worker.say(own))
        own, signal, losses = worker.work(own, signal)
        after.append(own)
        measured.append(losses)
    return tuple(after), signal, tuple(measured)


def say(workers: Sequence[Worker], held: Sequence[Held]) -> Message | tuple[()]:
    """What a row of components tells the one below it, () where nobody listens."""
    return workers[0].say(held[0]) if workers[0].heard else ()

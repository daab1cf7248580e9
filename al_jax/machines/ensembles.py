"""Ensembles of the newest few learners, as a ring of stacked states."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from al_jax.arguments import whole
from al_jax.machines.types import Feedback, Machine, MachineState, learn, refuse_no_machine
from al_jax.machines.votes import mean_vote


def ensemble(
    machine: Machine,
    members: int,
    *,
    aggregate: Callable = mean_vote,
    every: int = 1,
    restart: bool = True,
    boost: float = 0.0,
    name: str | None = None,
) -> Machine:
    """Answers what the newest `members` learners vote for, of which the newest alone learns.

    Every `every` updates a further learner begins, in the place of the oldest once there are `members`. At most
    `members` vote, each after its first update (the very first learner from the start). Every learner hears the
    ensemble's own feedback or, with `boost`, corrects a share of the others' errors: its target is
    `t + boost * sum(t - y of the others)`, so that with `boost=1` it alone would bring the mean to the target, as in
    backfitting (Hastie and Tibshirani 1986). The mean of the voters' deltas is handed down.

    With regression trees this is experiment 2 of Short 2023 (arXiv 2311.09663), with decision trees experiment 7.

    Args:
      machine: a learner.
      members: the most that vote.
      aggregate: `(votes (n, B, ...), weights (n,)) -> (B, ...)`; weights are 1 for voters, which come first from the
        oldest to the newest, and 0 for the rest.
      every: updates of each learner.
      restart: a further learner is drawn afresh, with all that lies in its `fixed`; otherwise it goes on from a copy
        of the newest.
      boost: from 0 to 1. Above 0 it needs `mean_vote` and outputs that are arrays. The others' errors are measured on
        one batch, so a large share needs large batches.
      name: what errors and metrics call it.

    Raises:
      ValueError: `members` or `every` is not at least 1, `boost` not from 0 to 1, or it is above 0 where the vote is
        no mean or the learners hear no target.
    """
    refuse_no_machine("ensemble", machine)
    name = name or f"ensemble of {machine.name}"
    whole(f"members of machine {name!r}", members)
    whole(f"every of machine {name!r}", every)
    if not 0 <= boost <= 1:
        raise ValueError(f"machine {name!r} makes good a share of what others miss: boost from 0 to 1, not {boost}")
    if boost and not machine.hears:
        raise ValueError(f"machine {name!r} hears no target, so there is nothing to make good: set boost=0")
    if boost and aggregate is not mean_vote:
        raise ValueError(
            f"machine {name!r} makes good what others miss of a mean: leave aggregate=mean_vote, or set boost=0"
        )

    def init(key, x):
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(members))
        stack = MachineState(*jax.vmap(machine.init, (0, None))(keys, x))
        return stack._replace(fixed={"members": stack.fixed, "updates": jnp.int32(0)})

    def forward(params, fixed, x, key, train):
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(members))
        votes, residuals = jax.vmap(machine.forward, (0, 0, None, 0, None))(params, fixed["members"], x, keys, train)
        order, weights = voters(fixed["updates"], members, every)
        y = jax.tree.map(lambda leaf: aggregate(leaf[order], weights), votes)
        return y, (residuals, x, keys, votes if boost else ())

    def backward(params, fixed, residuals, feedback, context):
        def of_member(params, fixed, residuals, key):
            _, below, metrics = machine.backward(params, fixed, residuals, feedback, context._replace(key=key))
            return below.delta, metrics

        keys = jax.random.split(jax.random.fold_in(context.key, 2), members)  # `update` takes 0 and 1
        delta, metrics = jax.vmap(of_member)(params, fixed["members"], residuals[0], keys)
        order, weights = voters(fixed["updates"], members, every)
        mean = lambda leaf: mean_vote(leaf[order], weights)
        return feedback, Feedback.along(residuals[1], jax.tree.map(mean, delta)), jax.tree.map(mean, metrics)

    def update(state, residuals, gradients, context):
        key_fresh, key_learn = jax.random.split(context.key)
        _, x, keys, votes = residuals
        updates = state.fixed["updates"]
        rest = state._replace(fixed=state.fixed["members"])
        newest = updates // every % members

        def begun():
            if restart:
                return machine.init(key_fresh, x)
            return member_of(rest, (newest - 1) % members)

        begins = (updates > 0) & (updates % every == 0)
        learner = jax.lax.cond(begins, begun, lambda: member_of(rest, newest))
        y, left = machine.forward(learner.params, learner.fixed, x, keys[newest], True)
        if boost:
            places = jnp.arange(members)
            others = jnp.float32((places <= updates // every) & (places != newest))
            missed = others.sum() * gradients.target - jnp.tensordot(others, votes, axes=1)
            gradients = Feedback.toward(y, gradients.target + boost * missed)
        learner, _, _ = learn(machine, learner, left, gradients, context._replace(key=key_learn))
        rest = jax.tree.map(lambda leaf, own: leaf.at[newest].set(own), rest, learner)
        return rest._replace(fixed={"members": rest.fixed, "updates": updates + 1})

    about: dict[str, Any] = {
        field: getattr(machine, field) for field in ("needs", "effective", "hears", "tells", "initiates")
    }
    about["beside"] = machine.beside | {"members"}
    return Machine(init, forward, backward, update, name=name, **about)


def voters(updates: jax.Array, members: int, every: int) -> tuple[jax.Array, jax.Array]:
    """The places of the ring from the oldest voter to the newest, then the empty ones; and 1 for every voter, else 0.

    Args:
      updates: int32 scalar, those done so far.
      members: places.
      every: updates of each learner.
    """
    begun = jnp.maximum(1, (updates + every - 1) // every)
    oldest = jnp.where(begun > members, begun % members, 0)
    places = jnp.arange(members)
    return (oldest + places) % members, jnp.float32(places < begun)


def member_of(stack: MachineState, place: jax.Array) -> MachineState:
    """One member's state, of the stacked states."""
    return jax.tree.map(lambda leaf: leaf[place], stack)

"""Scores of candidates, which know whether more is better."""

import dataclasses
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

from al_jax.machines.types import Context, Feedback


@partial(jax.tree_util.register_dataclass, data_fields=["value"], meta_fields=["maximise"])
@dataclasses.dataclass(frozen=True)
class Score:
    """Scores of which either the greater or the lesser are better; the two kinds do not mix.

    Attributes:
      value: any shape; in searches `(candidates,)`, or `(candidates, B)` where every sample chooses for itself.
      maximise: static, whether the greater ones are better.
    """

    value: jax.Array
    maximise: bool

    def __add__(self, other: "Score") -> "Score":
        return Score(self.value + other.value, _direction("add", self, other))

    def __sub__(self, other: "Score") -> "Score":
        return Score(self.value - other.value, _direction("subtract", self, other))

    def better(self, other: "Score") -> jax.Array:
        """Where this score beats the other."""
        _direction("compare", self, other)
        return self.gain > other.gain

    def mean(self, axis=None) -> "Score":
        """The mean over one or all axes."""
        return Score(self.value.mean(axis), self.maximise)

    @property
    def gain(self) -> jax.Array:
        """The value, negated where less is better; what is no number is worse than all others, -inf."""
        return jnp.where(jnp.isnan(self.value), -jnp.inf, self.value if self.maximise else -self.value)


def stacked(scores: "list[Score]") -> Score:
    """Scores of one direction with a new leading axis."""
    return Score(jnp.stack([score.value for score in scores]), _direction("stack", *scores))


def _direction(verb: str, *scores: Score) -> bool:
    if len({score.maximise for score in scores}) > 1:
        raise ValueError(f"cannot {verb} scores of which some are better when greater and some when lesser")
    return scores[0].maximise


ScoreFunction = Callable[[jax.Array, Feedback, Context], Score]


def uses_feedback(score: ScoreFunction) -> bool:
    """Whether a score depends on feedback; one that does not may say so by an attribute `hears`, False."""
    return getattr(score, "hears", True)


def target_distance(y: jax.Array, feedback: Feedback, context: Context) -> Score:
    """The squared distance of outputs `(B, ...)` to the target, `(B,)`."""
    return Score(jnp.square(y - feedback.target).reshape(len(y), -1).sum(1), maximise=False)


def label_rate(y: jax.Array, feedback: Feedback, context: Context) -> Score:
    """The entries `(B,)` of outputs `(B, classes)` for the right class, such as probabilities or shares of votes.

    Raises:
      ValueError: there is no label.
    """
    if context.label is None:
        raise ValueError("label_rate scores by the label, and a network that jax.grad trains has none")
    return Score(jnp.take_along_axis(y, context.label[:, None], axis=1)[:, 0], maximise=True)


vars(label_rate)["hears"] = False  # of feedback

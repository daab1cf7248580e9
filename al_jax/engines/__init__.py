"""Engines decide where and when each component runs; they know no layer and no learning rule."""

from al_jax.engines.pipelined import pipelined
from al_jax.engines.sequential import sequential

__all__ = ["pipelined", "sequential"]

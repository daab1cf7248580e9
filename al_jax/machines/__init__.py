"""Learning machines: layers with their own update and their own way to hand targets down."""

from al_jax.machines.chain import chain
from al_jax.machines.differentiable import differentiable
from al_jax.machines.linen import Layer, from_linen
from al_jax.machines.orders import feedback_only, step_then_feedback
from al_jax.machines.trainer import as_network, trainer
from al_jax.machines.types import Context, Feedback, Machine, MachineState, learn

__all__ = [
    "Context",
    "Feedback",
    "Layer",
    "Machine",
    "MachineState",
    "as_network",
    "chain",
    "differentiable",
    "feedback_only",
    "from_linen",
    "learn",
    "step_then_feedback",
    "trainer",
]

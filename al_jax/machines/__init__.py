"""Learning machines: layers with their own update and their own way to hand targets down."""

from al_jax.machines.chain import chain
from al_jax.machines.diagnostics import diagnostics
from al_jax.machines.differentiable import differentiable
from al_jax.machines.direct import direct_feedback_alignment, local_classifier
from al_jax.machines.feedback_alignment import feedback_alignment
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
    "diagnostics",
    "differentiable",
    "direct_feedback_alignment",
    "feedback_alignment",
    "feedback_only",
    "from_linen",
    "learn",
    "local_classifier",
    "step_then_feedback",
    "trainer",
]

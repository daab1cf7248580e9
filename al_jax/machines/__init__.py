"""Learning machines: layers with their own update and their own way to hand targets down."""

from al_jax.machines.chain import chain
from al_jax.machines.diagnostics import diagnostics
from al_jax.machines.differentiable import differentiable
from al_jax.machines.direct import direct_feedback_alignment, local_classifier
from al_jax.machines.ema import ema_params
from al_jax.machines.feedback_alignment import feedback_alignment
from al_jax.machines.graph import Node, graph
from al_jax.machines.linen import After, ConvLayer, Layer, from_linen
from al_jax.machines.masks import masked, some_examples, some_units
from al_jax.machines.noise import with_dropout, with_noise
from al_jax.machines.orders import feedback_only, step_then_feedback
from al_jax.machines.parallel import parallel
from al_jax.machines.repeat import repeat_input, repeat_params
from al_jax.machines.trainer import as_network, trainer
from al_jax.machines.types import Context, Feedback, Machine, MachineState, learn

__all__ = [
    "After",
    "Context",
    "ConvLayer",
    "Feedback",
    "Layer",
    "Machine",
    "MachineState",
    "Node",
    "as_network",
    "chain",
    "diagnostics",
    "differentiable",
    "direct_feedback_alignment",
    "ema_params",
    "feedback_alignment",
    "feedback_only",
    "from_linen",
    "graph",
    "learn",
    "local_classifier",
    "masked",
    "parallel",
    "repeat_input",
    "repeat_params",
    "some_examples",
    "some_units",
    "step_then_feedback",
    "trainer",
    "with_dropout",
    "with_noise",
]

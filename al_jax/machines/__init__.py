"""Learning machines: layers with their own update and their own way to hand targets down."""

from al_jax.machines.chain import chain
from al_jax.machines.differentiable import differentiable
from al_jax.machines.least_squares import least_squares, solve_ridge
from al_jax.machines.linen import Layer, from_linen
from al_jax.machines.orders import feedback_only, step_then_feedback
from al_jax.machines.reversible import (
    back_target,
    bool_to_sign,
    reversible,
    reversible_batch_norm,
    reversible_leaky_relu,
    reversible_sigmoid,
    reversible_softmax,
    reversible_tanh,
    sign_to_bool,
)
from al_jax.machines.schedules import alternating, with_step
from al_jax.machines.straight_through import argmax_through, round_through, sign_through, step_through, straight_through
from al_jax.machines.target_propagation import target_propagation
from al_jax.machines.trainer import as_network, trainer
from al_jax.machines.types import Context, Feedback, Machine, MachineState, learn

__all__ = [
    "Context",
    "Feedback",
    "Layer",
    "Machine",
    "MachineState",
    "alternating",
    "argmax_through",
    "as_network",
    "back_target",
    "bool_to_sign",
    "chain",
    "differentiable",
    "feedback_only",
    "from_linen",
    "learn",
    "least_squares",
    "reversible",
    "reversible_batch_norm",
    "reversible_leaky_relu",
    "reversible_sigmoid",
    "reversible_softmax",
    "reversible_tanh",
    "round_through",
    "sign_through",
    "sign_to_bool",
    "solve_ridge",
    "step_then_feedback",
    "step_through",
    "straight_through",
    "target_propagation",
    "trainer",
    "with_step",
]

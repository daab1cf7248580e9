"""Learning machines: layers with their own update and their own way to hand targets down."""

from al_jax.machines import search
from al_jax.machines.cart import Tree, fit_tree, predict_tree
from al_jax.machines.chain import chain
from al_jax.machines.climbing import climbed, gaussian_climb, gaussian_search
from al_jax.machines.components import as_network
from al_jax.machines.diagnostics import diagnostics
from al_jax.machines.differentiable import differentiable
from al_jax.machines.direct import direct_feedback_alignment, local_classifier
from al_jax.machines.ema import ema_params
from al_jax.machines.ensembles import ensemble
from al_jax.machines.estimators import estimator, fitted_estimators
from al_jax.machines.evolution import Strategy, centred_ranks, elitist, evolved, from_evosax, searched
from al_jax.machines.feedback_alignment import feedback_alignment
from al_jax.machines.fitting import fitted
from al_jax.machines.graph import Node, graph
from al_jax.machines.least_squares import least_squares, solve_ridge
from al_jax.machines.linen import After, ConvLayer, Layer, from_linen
from al_jax.machines.masks import masked, some_examples, some_units
from al_jax.machines.noise import with_dropout, with_noise
from al_jax.machines.orders import feedback_only, step_then_feedback
from al_jax.machines.parallel import parallel
from al_jax.machines.random_trees import fit_random_tree
from al_jax.machines.repeat import repeat_input, repeat_params
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
from al_jax.machines.schedules import alternating, with_phase, with_step
from al_jax.machines.scores import Score, label_rate, stacked, target_distance
from al_jax.machines.straight_through import argmax_through, round_through, sign_through, step_through, straight_through
from al_jax.machines.target_propagation import target_propagation
from al_jax.machines.trainer import trainer
from al_jax.machines.trees import tree_classifier, tree_layer
from al_jax.machines.types import Context, Feedback, Machine, MachineState, learn, replaced
from al_jax.machines.votes import majority_vote, mean_vote, rate_vote, sign_vote, stochastic_votes

__all__ = [
    "After",
    "Context",
    "ConvLayer",
    "Feedback",
    "Layer",
    "Machine",
    "MachineState",
    "Node",
    "Score",
    "Strategy",
    "Tree",
    "alternating",
    "argmax_through",
    "as_network",
    "back_target",
    "bool_to_sign",
    "centred_ranks",
    "chain",
    "climbed",
    "diagnostics",
    "differentiable",
    "direct_feedback_alignment",
    "elitist",
    "ema_params",
    "ensemble",
    "estimator",
    "evolved",
    "feedback_alignment",
    "feedback_only",
    "fit_random_tree",
    "fit_tree",
    "fitted",
    "fitted_estimators",
    "from_evosax",
    "from_linen",
    "gaussian_climb",
    "gaussian_search",
    "graph",
    "label_rate",
    "learn",
    "least_squares",
    "local_classifier",
    "majority_vote",
    "masked",
    "mean_vote",
    "parallel",
    "predict_tree",
    "rate_vote",
    "repeat_input",
    "repeat_params",
    "replaced",
    "reversible",
    "reversible_batch_norm",
    "reversible_leaky_relu",
    "reversible_sigmoid",
    "reversible_softmax",
    "reversible_tanh",
    "round_through",
    "search",
    "searched",
    "sign_through",
    "sign_to_bool",
    "sign_vote",
    "solve_ridge",
    "some_examples",
    "some_units",
    "stacked",
    "step_then_feedback",
    "step_through",
    "stochastic_votes",
    "straight_through",
    "target_distance",
    "target_propagation",
    "trainer",
    "tree_classifier",
    "tree_layer",
    "with_dropout",
    "with_noise",
    "with_phase",
    "with_step",
]

"""Learning machines: layers with their own update and their own way to hand targets down."""

from al_jax.machines import search
from al_jax.machines.chain import chain
from al_jax.machines.climbing import climbed, gaussian_climb, gaussian_search
from al_jax.machines.differentiable import differentiable
from al_jax.machines.dropout import scheduled_dropout
from al_jax.machines.ensembles import ensemble
from al_jax.machines.estimators import estimator, fitted_estimators
from al_jax.machines.evolution import Strategy, centred_ranks, elitist, evolved, from_evosax, searched
from al_jax.machines.fitting import fitted
from al_jax.machines.linen import Layer, from_linen
from al_jax.machines.orders import feedback_only, step_then_feedback
from al_jax.machines.scores import Score, label_rate, stacked, target_distance
from al_jax.machines.trainer import as_network, trainer
from al_jax.machines.trees import Tree, fit_tree, predict_tree, tree_classifier, tree_layer
from al_jax.machines.types import Context, Feedback, Machine, MachineState, learn
from al_jax.machines.votes import majority_vote, mean_vote, rate_vote, sign_vote, stochastic_votes

__all__ = [
    "Context",
    "Feedback",
    "Layer",
    "Machine",
    "MachineState",
    "Score",
    "Strategy",
    "Tree",
    "as_network",
    "centred_ranks",
    "chain",
    "climbed",
    "differentiable",
    "elitist",
    "ensemble",
    "estimator",
    "evolved",
    "feedback_only",
    "fit_tree",
    "fitted",
    "fitted_estimators",
    "from_evosax",
    "from_linen",
    "gaussian_climb",
    "gaussian_search",
    "label_rate",
    "learn",
    "majority_vote",
    "mean_vote",
    "predict_tree",
    "rate_vote",
    "scheduled_dropout",
    "search",
    "searched",
    "sign_vote",
    "stacked",
    "step_then_feedback",
    "stochastic_votes",
    "target_distance",
    "trainer",
    "tree_classifier",
    "tree_layer",
]

"""Which component works on which micro-batch, when and on which device: schedules as data, and their picture."""

from al_jax.schedule.pictures import draw, figure
from al_jax.schedule.schedules import (
    BACKWARD,
    FORWARD,
    LOCAL,
    Schedule,
    Task,
    associated,
    backprop,
    gpipe,
    makespan,
    observed,
    units,
    utilisation,
)

__all__ = [
    "BACKWARD",
    "FORWARD",
    "LOCAL",
    "Schedule",
    "Task",
    "associated",
    "backprop",
    "draw",
    "figure",
    "gpipe",
    "makespan",
    "observed",
    "units",
    "utilisation",
]

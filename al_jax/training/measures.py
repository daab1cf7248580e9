"""What rows of metrics.jsonl have beside losses where a run is diagnosed."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

Rows = Sequence[Mapping[str, Any]]
PART = re.compile(r"^(?:component_1/)?component_(\d+)[/_](.+)")
# Titles, units, and the value at which a measure says nothing, if there is one.
MEASURES = {
    "angle": ("gradients of parameters", "degrees to the true gradient", 90),
    "norm_ratio": ("gradients of parameters", "norm over that of the true gradient", 1),
    "feedback_angle": ("feedback for the part below", "degrees to the true gradient", 90),
    "distance": ("local error, before the update", "mean distance to the targets", None),
    "local_error_change": ("local error, by the update", "error after less before", 0),
    "global_error_change": ("global error, by the update", "error after less before", 0),
    "input_error_change": ("local error, by the input's target", "error after less before", 0),
    "input_global_error_change": ("global error, by the input's target", "error after less before", 0),
}


def without_measures(rows: Rows) -> Rows:
    """The rows with their losses alone."""
    return [{name: row[name] for name in row if name.rpartition("/")[2] not in MEASURES} for row in rows]


def part_of(name: str) -> tuple[int, str]:
    """The component of a loss or measure, from 1, and what it is called there: of `component_2/angle` 2 and `angle`.

    Where `al.leak` made one component of several, `component_1/component_2_angle` is theirs, too.
    """
    component, kind = PART.findall(name)[0]
    return int(component), kind

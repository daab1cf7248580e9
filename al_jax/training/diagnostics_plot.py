"""Plots of what `diagnostics` measured, from the rows of a run's metrics.jsonl."""

from pathlib import Path

from matplotlib.figure import Figure

from al_jax.training.measures import MEASURES, Rows, part_of
from al_jax.training.plots import finish, line_style, marker_of

COLUMNS = 2


def plot_diagnostics(rows: Rows, path: Path) -> None:
    """Angles, norms, errors and their changes over updates, one panel a measure and one line a part.

    Args:
      rows: of one seed, with names such as `component_2/angle`.
      path: of the picture.

    Raises:
      ValueError: no row holds any of these measures.
    """
    found = {name for row in rows for name in row if name.startswith("component_")}
    measures = [measure for measure in MEASURES if any(name.endswith(f"/{measure}") for name in found)]
    if not measures:
        raise ValueError(
            "no row has a measure of diagnostics: train with al.machines.trainer(diagnose=al.machines.diagnostics(…))"
        )
    height = -(-len(measures) // COLUMNS)
    figure = Figure(figsize=(5.2 * COLUMNS, 3.2 * height), layout="constrained")
    panels = list(figure.subplots(height, COLUMNS, squeeze=False).flat)
    for axes, measure in zip(panels, measures, strict=False):
        _draw(axes, rows, measure, sorted(part_of(name)[0] for name in found if name.endswith(f"/{measure}")))
    for axes in panels[len(measures) :]:
        axes.remove()
    figure.savefig(path, dpi=140)


def _draw(axes, rows: Rows, measure: str, parts: list[int]) -> None:
    title, unit, neutral = MEASURES[measure]
    for part in parts:
        name = f"component_{part}/{measure}"
        points = [(row["update"], row[name]) for row in rows if name in row]
        style = {"label": f"part {part}", "linewidth": 1.2, "marker": marker_of(points), **line_style(part - 1)}
        axes.plot(*zip(*points, strict=True), **style)
    if neutral is not None:
        axes.axhline(neutral, color="#888888", linewidth=0.8, zorder=0)
    axes.set(title=title, xlabel="update", ylabel=unit)
    finish(axes)

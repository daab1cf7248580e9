"""The comparison as a picture: speed of every arm, time by depth, and what the rules learn meanwhile."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, PercentFormatter, ScalarFormatter

from benchmarks.pipeline import arms as names

# Paul Tol's "bright" scheme, safe for colour-blind readers (https://sronpersonalpages.nl/~pault).
BLUE, RED, GREEN, YELLOW, GREY = "#4477AA", "#EE6677", "#228833", "#CCBB44", "#BBBBBB"
FADED = (names.BACKPROP_TWO, names.ASSOCIATED_TWO, names.COPIES)  # what a box gives without devices


def draw(record: Mapping[str, Any], path: Path) -> None:
    """Saves a PNG with a panel for each case, and below them depth and learning where they were measured."""
    cases, more = record["cases"], "left_out" not in record["depth"]
    drawing = Figure(figsize=(6.4 * len(cases), 8.4 if more else 2.6), dpi=130, layout="constrained")
    above = drawing.subplots(1 + more, len(cases), squeeze=False, height_ratios=[1, 0.9][: 1 + more])
    for axes, case in zip(above[0], cases, strict=True):
        _speeds(axes, case)
    if more:
        _depth(above[1, 0], record["depth"])
        _learning(above[1, -1], record["learning"])
    for axes in above.flat:
        axes.spines[["top", "right"]].set_visible(False)
    drawing.savefig(path, format="png")


def _colour(name: str) -> str:
    if name in FADED:
        return GREY
    if name == names.MIXED:
        return RED  # computes something else
    return GREEN if name.startswith("AL") else YELLOW if name.startswith("torch") else BLUE


def _speeds(axes: Axes, case: Mapping[str, Any]) -> None:
    """A bar for each arm, the range over rounds as a line, and the speed-up over the same work on one core."""
    arms = {name: arm for name in names.ORDER if "left_out" not in (arm := case["arms"][name])}
    fastest = max(arm["examples_per_second"] for arm in arms.values())
    for place, (name, arm) in enumerate(arms.items()):
        speed = arm["examples_per_second"]
        ends = [1e3 * case["batch"] / arm[end] for end in ("max", "min")]
        axes.barh(place, speed, height=0.72, color=_colour(name))
        axes.plot(ends, [place, place], color="#222222", linewidth=1)
        note = f"{arm['speedup_over_own_core']:.2f}" if arm["cores"] > 1 else ""
        axes.text(max(speed, ends[1]) + 0.012 * fastest, place, note, va="center_baseline", fontsize=8)
    labels = [f"{name}, m = {m}" if (m := arm.get("micro_batches", 1)) > 1 else name for name, arm in arms.items()]
    axes.set_yticks(range(len(arms)), labels, fontsize=8)
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(0, 1.1 * fastest)
    axes.set_xlabel("examples/s; at the bars: speed-up over the same work on one core", fontsize=8)
    axes.set_title(f"{case['name']}, tick {case['tick_ms']:.0f} ms", loc="left", fontsize=9)


def _depth(axes: Axes, depth: Mapping[str, Any]) -> None:
    rows = depth["rows"]
    at = [row["components"] for row in rows]
    lines = {
        "backprop_ms": ("backprop, one core", BLUE, "o-"),
        "associated_ms": ("AL, one core", GREY, "o-"),
        "two_ms": ("AL, two cores", GREEN, "o-"),
        "model_ms": ("AL, a core for each component (model)", GREEN, "--"),
    }
    for key, (label, colour, style) in lines.items():
        slope = depth["slopes_ms_per_component"][key]
        label = f"{label}: {slope:+.3f} ms a component"
        axes.plot(at, [row[key] for row in rows], style, color=colour, label=label, markersize=4, linewidth=1.4)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(at, [str(components) for components in at], fontsize=8)
    axes.yaxis.set_major_formatter(ScalarFormatter())
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.margins(y=0.5)  # room for the legend
    axes.set_xlabel("components", fontsize=8)
    axes.set_ylabel("ms for an update", fontsize=8)
    axes.legend(frameon=False, fontsize=8, loc="upper left")
    axes.set_title(f"Depth: {depth['width']} units a component, batch {depth['batch']}", loc="left", fontsize=9)


def _learning(axes: Axes, learning: Mapping[str, Any]) -> None:
    colours = iter((GREEN, BLUE, YELLOW, RED, "#AA3377"))
    for rule, curves in learning["curves"].items():
        means = [sum(column) / len(column) for column in zip(*curves, strict=True)]
        label = f"{'AL' if rule == 'associated' else rule}: {means[-1]:.1%}"
        axes.plot(learning["updates"], means, color=next(colours), label=label, linewidth=1.4)
    axes.set_xlabel("updates", fontsize=8)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.legend(frameon=False, fontsize=8, loc="lower right", bbox_to_anchor=(1, 0.12))  # above who fails
    seeds = len(next(iter(learning["curves"].values())))
    axes.set_title(f"Test accuracy on digits, mean of {seeds} seeds", loc="left", fontsize=9)

"""The comparison as a table, a row for each arm, and what was aimed at."""

from collections.abc import Mapping
from typing import Any

from rich.markup import escape

from benchmarks import timing
from benchmarks.pipeline import arms as names

COLUMNS = ["arm", "m", "examples/s", "x own core", "x backprop", "bound", "busy", "MACs", "memory", "time", "others"]
TARGETS = ["network", "target", "aim", "measured"]
RULES = {names.MIXED: "mixed, p = 2"}


def show(record: Mapping[str, Any]) -> None:
    """Prints all arms; the caption says what the columns are."""
    for case in record["cases"]:
        rows = [row(record, case, name) for name in names.ORDER if "left_out" not in case["arms"][name]]
        timing.show(case["name"], COLUMNS, rows, escape(caption(record, case)))


def row(record: Mapping[str, Any], case: Mapping[str, Any], name: str) -> list[str]:
    arm = case["arms"][name]
    seconds = seconds_to_accuracy(record, case, name)
    return [
        name,
        str(arm.get("micro_batches", "")),
        f"{arm['examples_per_second']:,.0f}",
        f"{arm['speedup_over_own_core']:.2f}",
        f"{arm['speedup_over_backprop']:.2f}",
        f"{arm['bound']:.2f}" if "bound" in arm else "",
        f"{arm['utilisation']:.0%}",
        f"{arm['macs_per_example'] / 1e6:.1f} M",
        "" if arm["memory"] is None else f"{arm['memory'] / 1e6:.0f} MB",
        "" if seconds is None else f"{seconds:.1f} s",
        "" if arm["foreign_cores"] is None else f"{arm['foreign_cores']:.2f}",
    ]


def seconds_to_accuracy(record: Mapping[str, Any], case: Mapping[str, Any], name: str) -> float | None:
    """Updates that the rule needs times what the arm takes for one, AL's codes before; None where that is not known."""
    learnt = record["learning"]
    if learnt.get("case") != case["name"] or name.startswith("torch") or name == names.COPIES:
        return None
    rule = RULES.get(name, "associated" if name.startswith("AL") else "backprop")
    updates = learnt["updates_to_accuracy"][rule]
    before = learnt["code_seconds"] if rule == "associated" else 0.0
    return None if updates is None else before + updates * case["arms"][name]["ms_per_update"] / 1e3


def targets(record: Mapping[str, Any]) -> list[list[str]]:
    """Rows of what was aimed at and what was measured."""
    rows = []
    for case in record["cases"]:
        name, own, pipelined = case["name"], case["arms"], case["arms"][names.PIPELINED]
        rivals = [own[name] for name in (names.GPIPE, names.REMAT, names.TORCH_GPIPE, names.TORCH_1F1B)]
        rivals = [arm["speedup_over_own_core"] for arm in rivals if "left_out" not in arm]
        speedup = pipelined["speedup_over_own_core"]
        rows.append([name, "speed-up over its own core", 1.85, speedup])
        rows.append([name, "part of its own bound", 0.95, pipelined["of_bound"]])
        if rivals:
            rows.append([name, "speed-up over that of the best backprop pipeline", 1.3, speedup / max(rivals)])
        if not case["widths"]:
            rows.append([name, "over backprop on one core", 1.6, pipelined["speedup_over_backprop"]])
    return [[name, target, f"{aim:.2f}", f"{found:.2f}"] for name, target, aim, found in rows]


def caption(record: Mapping[str, Any], case: Mapping[str, Any]) -> str:
    """What the columns are, what the table does not show, and which arms are missing."""
    stages, tick = " and ".join(map(str, case["partition"])), f"{case['tick_ms']:.1f} ms"
    whose = "these runs" if case["timed_under_exact"] else "a short run under exact"
    notes = [
        f"Batch {case['batch']}, {case['updates']} updates in each of {case['rounds']} repetitions.",
        f"AL's pipeline: {stages} components, tick {tick}, of it transfer {case['transfer_share']:.1%}.",
        f"Digests of {whose}, sequential and pipelined, are equal.",
        "m: micro-batches of an update. Bound: AL's from its components' own times, others' from their schedules with "
        "equal stages. Busy: processor time by time and cores.",
        "MACs: of an example, all gradients. Memory: the fullest device, without data; torch: growth of the process.",
        "Others: cores that other programs held, at worst.",
    ]
    if record["learning"].get("case") == case["name"]:
        notes.append(f"Time: to {record['learning']['accuracy']:.0%} test accuracy on digits.")
        notes.append(_lost(record["learning"]))
    if left_out := [name for name in names.ORDER if "left_out" in case["arms"][name]]:
        notes.append(f"{case['arms'][left_out[0]]['left_out'].capitalize()}: {'; '.join(left_out)}.")
    return " ".join(notes)


def _lost(learnt: Mapping[str, Any]) -> str:
    """What Associated Learning, and backprop with mixed versions of weights, lose against backprop in accuracy."""
    last, updates = learnt["last"], learnt["updates"][-1]
    lost = [f"{100 * (last['backprop'] - last[rule]):.1f} ({rule})" for rule in last if rule != "backprop"]
    return f"After {updates} updates backprop has {last['backprop']:.1%} accuracy, less by points: {', '.join(lost)}."

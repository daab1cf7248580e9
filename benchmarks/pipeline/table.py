"""The comparison as a table, a row for each arm, and what was aimed at."""

from collections.abc import Mapping
from typing import Any

from benchmarks import timing
from benchmarks.pipeline import arms as names

COLUMNS = ["network", "arm", "examples/s", "ms/update", "x own core", "x backprop", "busy", "bound", "MACs", "memory"]
COLUMNS += ["to accuracy", "others"]
TARGETS = ["network", "target", "aim", "measured"]
RULES = {names.MIXED: "mixed, p = 2"}


def show(record: Mapping[str, Any]) -> None:
    """Prints all arms; `busy` is processor time over time and cores, `others` the cores that other programs held."""
    for case in record["cases"]:
        rows = [row(record, case, name) for name in names.ORDER]
        timing.show(case["name"], COLUMNS, rows, _caption(record, case))


def row(record: Mapping[str, Any], case: Mapping[str, Any], name: str) -> list[str]:
    arm = case["arms"][name]
    label = f"{name}, m = {arm['micro_batches']}" if arm.get("micro_batches", 1) > 1 else name
    if "left_out" in arm:
        return [case["name"], label, arm["left_out"], *[""] * (len(COLUMNS) - 3)]
    seconds = seconds_to_accuracy(record, case, name)
    return [
        case["name"],
        label,
        f"{arm['examples_per_second']:,.0f}",
        f"{arm['ms_per_update']:.1f} ({arm['min']:.1f} to {arm['max']:.1f})",
        f"{arm['speedup_over_own_core']:.2f}",
        f"{arm['speedup_over_backprop']:.2f}",
        f"{arm['utilisation']:.0%}",
        f"{arm['bound']:.2f}" if "bound" in arm else "",
        f"{arm['macs_per_example'] / 1e6:.1f} M",
        "" if arm["memory"] is None else f"{arm['memory'] / 1e6:.0f} MB",
        "" if seconds is None else f"{seconds:.1f} s",
        "" if arm["foreign_cores"] is None else f"{arm['foreign_cores']:.2f}",
    ]


def seconds_to_accuracy(record: Mapping[str, Any], case: Mapping[str, Any], name: str) -> float | None:
    """Updates that the rule needs times what the arm takes for one; None where that is not known."""
    learnt = record["learning"]
    if learnt.get("case") != case["name"] or name.startswith("torch") or name == names.COPIES:
        return None
    rule = RULES.get(name, "associated" if name.startswith("AL") else "backprop")
    updates = learnt["updates_to_accuracy"][rule]
    return None if updates is None else updates * case["arms"][name]["ms_per_update"] / 1e3


def targets(record: Mapping[str, Any]) -> list[list[str]]:
    """Rows of what was aimed at and what was measured."""
    rows = []
    for case in record["cases"]:
        own, pipelined = case["arms"], case["arms"][names.PIPELINED]
        rivals = [own[name] for name in (names.GPIPE, names.REMAT, names.TORCH_GPIPE, names.TORCH_1F1B)]
        rivals = [arm["speedup_over_own_core"] for arm in rivals if "left_out" not in arm]
        speedup = pipelined["speedup_over_own_core"]
        rows.append(["speed-up over its own core", 1.85, speedup])
        rows.append(["part of its own bound", 0.95, pipelined["of_bound"]])
        if rivals:
            rows.append(["speed-up over that of the best backprop pipeline", 1.3, speedup / max(rivals)])
        if not case["widths"]:
            rows.append(["over backprop on one core", 1.6, pipelined["speedup_over_backprop"]])
        rows = [[case["name"], *row] if len(row) == 3 else row for row in rows]
    return [[name, target, f"{aim:.2f}", f"{found:.2f}"] for name, target, aim, found in rows]


def _caption(record: Mapping[str, Any], case: Mapping[str, Any]) -> str:
    stages = ", ".join(map(str, case["partition"]))
    digests = "of these runs" if case["timed_under_exact"] else "of a short run under exact"
    notes = [
        f"{record['hardware']['processor']}; batch {case['batch']}, {case['updates']} updates a repetition.",
        f"Components a stage {stages}; tick {case['tick_ms']:.0f} ms, of it {case['transfer_share']:.1%} transfer.",
        f"Digests {digests} are equal. MACs an example, of all gradients. Memory of the fullest device without data:",
        "XLA's accounting, for torch what the process grew by.",
    ]
    return " ".join(notes)

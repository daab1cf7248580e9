"""Random search with the same budget for Associated Learning and backpropagation, on validation images alone.

    python -m al_jax.analysis.search configs/cifar_cnn.py --trials 8 --validation 5000 \\
        --space learning_rate=log:1e-4:1e-2 l2=0,1e-6,1e-5 -- --config.epochs=2 --config.examples=10000

Trial i draws one setting from the space and trains both rules with it: the config, and the config with its `:backprop`
variant put over it, each with the drawn fields that its rule knows. Test images are not even evaluated. Everything is
written to `results/search/NAME.json` after each training, and the same command continues; what follows `--` are fields
for both.
"""

import math
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from al_jax.analysis.options import parser_of, positive
from al_jax.analysis.published import name_of, with_variants
from al_jax.analysis.results import PATHS, UNCOUNTED
from al_jax.training.command_line import command, read_config, split_arguments
from al_jax.training.config import Config, default_config, from_text
from al_jax.training.errors import ConfigError, Diverged, RunError
from al_jax.training.limits import NEEDS
from al_jax.training.loop import Training
from al_jax.training.records import read_json, writable, write_json
from al_jax.training.run import set_up
from al_jax.training.summary import machine
from al_jax.training.validation import validate
from al_jax.training.workdir import claimed

Space = Mapping[str, str]
ARMS = ((), ("backprop",))
SAME = UNCOUNTED | {"epochs", "rule"}  # what would change the budget, or nothing


def draw(space: Space, seed: int, trial: int) -> dict[str, Any]:
    """The setting of a trial, a function of seed and trial alone.

    Raises:
      ConfigError: a field is unknown or no matter of the search, or its range is neither `log:LOW:HIGH` of numbers nor
        values with commas between them.

    Example:
      >>> draw({"learning_rate": "log:1e-4:1e-2", "batch_size": "32,128"}, seed=0, trial=0)
      {'learning_rate': 0.00188, 'batch_size': 32}
    """
    rng = np.random.Generator(np.random.PCG64([seed, trial]))
    setting = {}
    for field, values in space.items():
        if field in SAME:
            raise ConfigError(f"--space {field}=...: it is the same in all trials, give it behind --")
        if not values.startswith("log:"):
            choices = [from_text(field, text) for text in values.split(",")]
            setting[field] = choices[int(rng.random() * len(choices))]
            continue
        kind = type(from_text(field, str(default_config().get(field))))
        try:
            if kind not in (int, float):
                raise TypeError(f"{field} is no number")
            low, high = (math.log(kind(float(end))) for end in values.split(":")[1:])
        except (ValueError, TypeError) as error:
            raise ConfigError(
                f"--space {field}={values}: give log:LOW:HIGH of numbers above 0, or values with commas between them"
            ) from error
        value = math.exp(low + (high - low) * rng.random())
        setting[field] = round(value) if kind is int else float(f"{value:.3g}")
    return setting


def known(setting: Mapping[str, Any], rule: str) -> dict[str, Any]:
    """The fields of a setting that have an effect under a rule.

    Example:
      >>> known({"learning_rate": 1e-3, "bridge_hidden": "elu"}, "backprop")
      {'learning_rate': 0.001}
    """
    foreign = {field for field, other, rules in NEEDS if other == "rule" and rule not in rules}
    return {field: value for field, value in setting.items() if field not in foreign}


def validation_accuracy(config: Config) -> float:
    """Trains to the end, and looks at the validation images only."""
    if not config.validation:
        raise ConfigError("a search needs validation images: give --validation, or a config with some")
    with tempfile.TemporaryDirectory() as folder:
        run = set_up(config, Path(folder))
        run = run._replace(held_out={"validation": run.held_out["validation"]})
        with claimed(config, run.workdir):
            finished = Training(run).finish()
    return run.evaluate([part.variables for part in finished.components], run.held_out["validation"]).full


def search(spec: str, trials: int, space: Space, fields: Mapping[str, str], seed: int, path: Path) -> dict[str, Any]:
    """Works through the trials that `path` does not have yet."""
    kept = {name: text for name, text in fields.items() if name not in PATHS}
    asked: dict[str, Any] = {"config": spec, "space": dict(space), "fields": kept, "seed": seed}
    entries: list[dict[str, Any]] = []
    if path.exists():
        found = read_json(path, *asked, "trials")
        if any(found[name] != asked[name] for name in asked):
            raise RunError(f"{path} holds another search: give another --out")
        entries = found["trials"]
    done = {(entry["trial"], entry["rule"]) for entry in entries}
    for trial, setting, config in _trainings(spec, trials, space, fields, seed):
        if (trial, config.rule) in done:
            continue
        entry = {"trial": trial, "rule": config.rule, **setting, "validation_accuracy": 0.0}
        try:
            entry["validation_accuracy"] = validation_accuracy(config)
        except Diverged as error:
            entry["diverged"] = str(error)
        print(f"trial {trial}, {config.rule}: {entry['validation_accuracy']:.2%} with {setting}", flush=True)
        entries.append(entry)
        write_json(path, {**asked, **machine(), "trials": entries})
    return {**asked, "trials": entries}


def _trainings(
    spec: str, trials: int, space: Space, fields: Mapping[str, str], seed: int
) -> list[tuple[int, dict[str, Any], Config]]:
    """Trial, setting and config of each, all of them valid before the first is trained."""
    specs = {read_config(own, fields).rule: own for own in (with_variants(spec, *arm) for arm in ARMS)}
    if len(specs) < len(ARMS):
        raise ConfigError(f"{spec} trains by backprop already: give the config that its variant stands beside")
    found = []
    for trial in range(trials):
        drawn = draw(space, seed, trial)
        for rule, own in specs.items():
            config, setting = read_config(own, fields), known(drawn, rule)
            config.update({**setting, "eval_every": config.epochs})
            validate(config)
            if config.num_seeds > 1:
                raise ConfigError(f"config.num_seeds is {config.num_seeds}: a trial trains one seed, leave it 1")
            found.append((trial, setting, config))
    return found


def best(found: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The trial of the highest validation accuracy of each rule."""
    trials: Sequence[Mapping[str, Any]] = found["trials"]
    by_rule: dict[str, list] = {}
    for entry in trials:
        by_rule.setdefault(entry["rule"], []).append(entry)
    return {rule: max(own, key=lambda entry: entry["validation_accuracy"]) for rule, own in by_rule.items()}


def _pairs(entries: Sequence[str]) -> dict[str, str]:
    for entry in entries:
        if "=" not in entry:
            raise ConfigError(f"{entry!r} is not FIELD=VALUE")
    return dict(entry.split("=", 1) for entry in entries)


def main() -> None:
    own, of_train = split_arguments(sys.argv[1:])
    parser = parser_of("search", __doc__)
    parser.add_argument("config", metavar="CONFIG", help="as train.py takes it")
    parser.add_argument("--trials", type=positive, default=8, metavar="N", help="settings to try; 8 by default")
    held_out = "training images held out to choose by; 5000 by default"
    parser.add_argument("--validation", type=int, default=5000, metavar="N", help=held_out)
    space = ["learning_rate=log:1e-4:1e-2", "l2=0,1e-6,1e-5"]
    ranges = f"FIELD=log:LOW:HIGH or FIELD=VALUE,VALUE,...; by default {' '.join(space)}"
    parser.add_argument("--space", nargs="+", default=space, metavar="RANGE", help=ranges)
    parser.add_argument("--seed", type=int, default=0, help="of the draws; 0 by default")
    parser.add_argument("--out", type=Path, metavar="FILE", help="results/search/NAME.json by default")
    given = parser.parse_args(own)
    if given.seed < 0:
        parser.error(f"--seed is {given.seed}: give 0 or more")
    path = given.out or Path("results/search") / f"{name_of(given.config)}.json"
    writable(path)
    space = _pairs(given.space)
    fields = _pairs([entry.removeprefix("--config.") for entry in of_train])
    fields = {"validation": str(given.validation), **fields}
    for rule, entry in best(search(given.config, given.trials, space, fields, given.seed, path)).items():
        shown = {name: value for name, value in entry.items() if name in space}
        print(f"best of {rule}: trial {entry['trial']}, {entry['validation_accuracy']:.2%} with {shown}")


if __name__ == "__main__":
    command(main, again="continues")

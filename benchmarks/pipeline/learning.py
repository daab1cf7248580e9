"""What the arms learn: test accuracy on digits by the number of updates, and how much of it mixed versions lose.

All exact engines make the same network of the same updates, so a rule is trained once, and the time to an accuracy is
its updates times what an arm takes for one. Mixed versions depend on the number of stages, so they are trained on 2, 4
and 8 host devices, where everything but their speed is meaningful; they are drained every few updates to be evaluated,
which flatters them.

Associated Learning starts with codes that were trained on the ten labels beforehand, as no image reaches them;
otherwise its upper components wait long for codes that tell classes apart. The seconds that this takes on one core are
recorded, and count.
"""

import statistics
from typing import Any

import jax
import numpy as np

import al_jax as al
from al_jax.rules import with_codes
from benchmarks import timing
from benchmarks.pipeline.backward import Schedule, pipeline
from benchmarks.pipeline.cases import CLASSES, PREPARE, Case, digits
from benchmarks.workers import Functions, Worker, start_jax, two_cores

ACCURACY = 0.95
SEEDS = (0, 1)
UPDATES, EVERY = 150, 10  # in all, and between two looks
STAGES = (2, 4, 8)
CODE_UPDATES = 3000
RULES = ("associated", "backprop", *(f"mixed, p = {stages}" for stages in STAGES))


def learn(case: Case) -> dict[str, Any]:
    """For each rule the test accuracies of all seeds after every `EVERY` updates, and the updates to `ACCURACY`."""
    case = case._replace(updates=UPDATES)
    worker = Worker(two_cores(), functions, case)
    curves = {rule: [worker("curve", rule, seed) for seed in SEEDS] for rule in RULES}
    worker.close()
    worker.join()
    alone = Worker(two_cores()[:1], functions, case)  # on one core: it is added to what one core takes
    code_seconds = alone("code_seconds")
    alone.close()
    alone.join()
    return {
        "case": case.name,
        "accuracy": ACCURACY,
        "code_seconds": code_seconds,
        "updates": [EVERY * (look + 1) for look in range(case.updates // EVERY)],
        "curves": curves,
        "last": {rule: statistics.mean(curve[-1] for curve in of) for rule, of in curves.items()},
        "updates_to_accuracy": {rule: _updates_to(ACCURACY, of) for rule, of in curves.items()},
    }


def _updates_to(accuracy: float, curves: list[list[float]]) -> int | None:
    """The first look at which the mean over seeds has the accuracy."""
    means = [statistics.mean(column) for column in zip(*curves, strict=True)]
    return next((EVERY * (look + 1) for look, mean in enumerate(means) if mean >= accuracy), None)


def functions(case: Case) -> Functions:
    start_jax(devices=max(STAGES))
    return {
        "curve": lambda rule, seed: curve(case, rule, seed),
        "code_seconds": lambda: timing.measure(lambda: trained_codes(case, 0)).wall,  # compilation included
    }


def curve(case: Case, rule: str, seed: int) -> list[float]:
    """Test accuracy after every `EVERY` updates."""
    batches = case.batches()
    calls = [{name: x[at : at + EVERY] for name, x in batches.items()} for at in range(0, case.updates, EVERY)]
    network = case.network("associated" if rule == "associated" else "backprop")
    trainer = al.sequential(network, case.optimizer, prepare=PREPARE)
    state = trainer.init(jax.random.key(seed), case.shapes())
    images, labels = digits(case.image, "test")

    def accuracy(state) -> float:
        return float(np.mean(np.argmax(trainer.predict(state, images), -1) == labels))

    if rule == "associated":
        state = trainer.place(with_codes(trainer.components(state), trained_codes(case, seed)))
    if rule in ("associated", "backprop"):
        found = []
        for call in calls:
            state, _ = trainer.step(state, call)
            found.append(accuracy(state))
        return found
    start = trainer.components(state)
    made = pipeline(case, jax.devices()[: int(rule.split()[-1])], Schedule(mixed=True), start)
    held, found = made.place(start), []
    for call in calls:
        held, _ = made.step(held, call)
        found.append(accuracy(trainer.place([start[0]._replace(params=made.parameters(held))])))
    return found


def trained_codes(case: Case, seed: int):
    """Encoders and decoders of all components, trained on one example of each class."""
    labels = np.arange(CLASSES, dtype=np.int32)
    trainer = al.sequential(al.label_codes(CLASSES, (case.code,) * len(case.blocks())), case.optimizer)
    state = trainer.init(jax.random.key(seed), {"label": labels})
    state, _ = trainer.step(state, {"label": np.tile(labels, (CODE_UPDATES, 1))})
    return trainer.components(state)

"""The arms of a comparison: who runs where, on how many cores, and what each must agree with before it is timed."""

import functools
import importlib.util
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from benchmarks import timing
from benchmarks.pipeline import one_device
from benchmarks.pipeline.backward import Schedule
from benchmarks.pipeline.cases import Case
from benchmarks.pipeline.micro_batches import MICRO_BATCHES, Chosen, milliseconds, shortened
from benchmarks.pipeline.passes import cut
from benchmarks.pipeline.ranks import Stages
from benchmarks.timing import Sample
from benchmarks.workers import Group, Worker, two_cores

BACKPROP, BACKPROP_TWO = "backprop, one core", "backprop, one device with two threads"
ASSOCIATED, ASSOCIATED_TWO = "AL, one core", "AL, one device with two threads"
COPIES, PIPELINED = "AL, two unrelated runs at once", "AL, pipelined"
NAIVE, MIXED = "backprop, naive model parallel", "backprop, pipelined with mixed versions"
GPIPE, REMAT = "backprop, GPipe", "backprop, GPipe with remat"
TORCH, TORCH_GPIPE, TORCH_1F1B = "torch backprop, one core", "torch GPipe", "torch 1F1B"
ORDER = (BACKPROP, BACKPROP_TWO, NAIVE, MIXED, GPIPE, REMAT, TORCH, TORCH_GPIPE, TORCH_1F1B)
ORDER += (ASSOCIATED, ASSOCIATED_TWO, COPIES, PIPELINED)
TORCH_HERE = importlib.util.find_spec("torch") is not None
ROUNDING = 1e-3  # how far apart trainings that agree may end, in units of how far they moved


class Arm(NamedTuple):
    """One row of the comparison.

    Attributes:
      run: measures a repetition.
      cores: how many it uses, each a device or a thread.
      own: the arm that does the same work on one core.
      facts: what there is to say besides times.
      copies: how many networks it trains.
    """

    run: Callable[[], Sample]
    cores: int
    own: str
    facts: dict[str, Any]
    copies: int = 1


def together(samples: Sequence[Sample]) -> Sample:
    """Of processes that worked at the same time: until the last was ready, and the processor time of all."""
    return Sample(max(sample.wall for sample in samples), sum(sample.cpu for sample in samples))


class Pipelined(NamedTuple):
    """Pipelined AL as it is timed, the digests of what it and its one core trained, and what each offer took."""

    stages: Stages
    digests: dict[str, str | None]
    tried: list[dict[str, float]]


class Disagreement(Exception):
    """Arms that should train the same do not."""


def refuse(case: Case, why: str):
    raise Disagreement(f"{case.name}: {why}")


class Crew:
    """The processes of one case and the arms they offer."""

    def __init__(self, case: Case, chosen: Chosen, exact: bool, checks: bool = True):
        """Args:
        case: what is trained.
        chosen: the micro-batches of an update for each rule and number of threads.
        exact: compile for equal digests.
        checks: refuse arms that train differently; after many updates of Adam rounding alone leads far apart.
        """
        self.case, self.chosen, self.exact, self.checks, self.opened = case, chosen, exact, checks, []
        self.cores = two_cores()
        self.arms: dict[str, Arm] = {}

    def open(self, kind: Callable, cores: Sequence[int], make: Callable, *args: Any, case: Case | None = None) -> Any:
        """A worker or a group for this case, or for a variant of it."""
        opened = kind(cores, make, case or self.case, *args)
        self.opened.append(opened)
        return opened

    def close(self) -> None:
        for opened in self.opened:
            opened.close()
        for opened in self.opened:
            opened.join()

    def one_core(self, worker: Worker) -> dict[str, one_device.Trained]:
        """Both rules on one core; what they trained is the reference of the other arms."""
        return {
            rule: self._one_device(worker, name, name, rule, 1)
            for rule, name in {"associated": ASSOCIATED, "backprop": BACKPROP}.items()
        }

    def two_threads(self) -> None:
        worker = self.open(Worker, self.cores, one_device.functions, self.exact)
        self._one_device(worker, ASSOCIATED_TWO, ASSOCIATED, "associated", 2)
        self._one_device(worker, BACKPROP_TWO, BACKPROP, "backprop", 2)

    def _one_device(self, worker: Worker, name: str, own: str, rule: str, cores: int) -> one_device.Trained:
        number = self.chosen[rule, cores]
        trained = worker("train", rule, number)
        facts = {"memory": trained.memory, "micro_batches": number, "digest": trained.digest}
        self.arms[name] = Arm(functools.partial(worker, "time", (rule, number)), cores, own, facts)
        return trained

    def copies(self, worker: Worker) -> None:
        """The same training on each core at once, sharing nothing but the machine: what two cores can give at most."""
        other = self.open(Worker, self.cores[1:], one_device.functions, self.exact)
        arm = "associated", self.chosen["associated", 1]
        memory = other("train", *arm).memory

        def run():
            for own in (worker, other):
                own.ask("time", arm)
            return together([own.answer() for own in (worker, other)])

        self.arms[COPIES] = Arm(run, 2, ASSOCIATED, {"memory": memory, "micro_batches": arm[1]}, copies=2)

    def pipelined(self, group: Group, offers: Sequence[Stages], reference: one_device.Trained) -> Pipelined:
        """Pipelined AL, the fastest of several offers in a first try; the group was asked to train the first one."""
        of, digests = {}, {}
        for stages in offers:
            if stages != offers[0]:
                group.ask("train", stages)
            found, *others = group.answer()
            of[stages.micro_batches] = self._pipelined(group, stages, reference, [found, *others])
            digests[stages] = {"sequential": reference.digest, "pipelined": found.digest}
        tried = _fastest(self.arms, PIPELINED, of, self.case)
        kept = Stages(offers[0].partition, self.arms[PIPELINED].facts["micro_batches"])
        for stages in set(offers) - {kept}:
            group("forget", stages)
        return Pipelined(kept, digests[kept], tried)

    def _pipelined(self, group: Group, stages: Stages, reference: one_device.Trained, found: Sequence) -> Arm:
        apart = timing.movement_apart(reference.start, reference.end, found[0].end)
        if self.checks and not apart < ROUNDING:
            refuse(self.case, f"pipelined and sequential AL train differently: {apart:.1e} of how far they moved")
        facts = {"memory": max(own.memory for own in found), "apart": apart, "digest": found[0].digest}
        facts |= stages._asdict()
        return Arm(lambda: together(group("time", stages)), 2, ASSOCIATED, facts)

    def backward(self, group: Group, reference: one_device.Trained) -> dict[str, list]:
        """JAX pipelines of backpropagation; GPipe with the number of micro-batches that is fastest in a first try."""
        self._schedule(group, NAIVE, Schedule(), reference)
        self._schedule(group, MIXED, Schedule(mixed=True), reference)
        tried = {}
        for name, remat in {GPIPE: False, REMAT: True}.items():
            of = {m: self._schedule(group, name, Schedule(m, remat), reference) for m in MICRO_BATCHES}
            tried[name] = _fastest(self.arms, name, of, self.case)
            for m in set(of) - {self.arms[name].facts["micro_batches"]}:
                group("forget", Schedule(m, remat))
        return tried

    def _schedule(self, group: Group, name: str, schedule: Schedule, reference: one_device.Trained) -> Arm:
        found, *others = group("train", schedule)
        apart = timing.movement_apart(reference.start, reference.end, found.end)
        if self.checks and not schedule.mixed and not apart < ROUNDING:
            refuse(self.case, f"{name} and backprop on one core train differently: {apart:.1e} of how far they moved")
        facts = {"memory": max(own.memory for own in (found, *others)), "apart": apart}
        facts |= {} if schedule.mixed else {"micro_batches": schedule.micro_batches}
        arm = Arm(lambda: together(group("time", schedule)), 2, BACKPROP, facts)
        self.arms[name] = arm
        return arm

    def torch(self) -> dict[str, list]:
        """Torch on one core and on two, each with the number of micro-batches that is fastest in a first try."""
        from benchmarks.pipeline import torch_arms  # only here: torch is an extra, and takes long to import

        sizes = [len(layers) for layers in cut(self.case, 2)]
        tried = {TORCH: self._torch(TORCH, (1, *MICRO_BATCHES), Worker, self.cores[:1], torch_arms.one_core)}
        for name, kind in {TORCH_GPIPE: "GPipe", TORCH_1F1B: "1F1B"}.items():
            tried[name] = self._torch(name, MICRO_BATCHES, Group, self.cores, torch_arms.two_ranks, kind, sizes)
        return tried

    def _torch(self, name: str, numbers: Sequence[int], kind: Callable, cores: Sequence[int], make: Callable, *args):
        """Adds an arm; what is tried runs in processes of its own, since memory is measured."""
        short = shortened(self.case)
        trial = self.open(kind, cores, make, *args, case=short)
        of = {m: _torch_arm(trial, len(cores), m) for m in numbers}
        tried = _fastest(self.arms, name, of, short)
        trial.close()
        opened = self.open(kind, cores, make, *args)
        self.arms[name] = _torch_arm(opened, len(cores), self.arms[name].facts["micro_batches"])
        return tried


def _torch_arm(opened: Worker | Group, cores: int, micro_batches: int) -> Arm:
    def ask(name: str) -> list:
        answer = opened(name, micro_batches)
        return answer if isinstance(answer, list) else [answer]

    grown = [own.memory for own in ask("train")]
    facts = {"memory": None if None in grown else max(grown), "micro_batches": micro_batches}
    return Arm(lambda: together(ask("time")), cores, TORCH, facts)


def _fastest(arms: dict[str, Arm], name: str, of: dict[int, Arm], case: Case) -> list[dict[str, float]]:
    """Keeps the fastest of several numbers of micro-batches as the arm of that name; what each took once."""
    if len(of) == 1:
        (arms[name],) = of.values()
        return []
    walls = {m: arm.run().wall for m, arm in of.items()}
    arms[name] = of[min(walls, key=walls.get)]
    return milliseconds(walls, case)

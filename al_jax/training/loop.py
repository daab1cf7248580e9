"""Training: calls of the engine, evaluations and checkpoints, from wherever the run was stopped to its end."""

import contextlib
import functools
import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from al_jax.engines import distributed
from al_jax.training.checkpoint import Checkpoints
from al_jax.training.codes import pretrain
from al_jax.training.console import Display
from al_jax.training.errors import RunError
from al_jax.training.feeding import feed
from al_jax.training.losses import LossLog, refuse_infinite
from al_jax.training.measures import without_measures
from al_jax.training.partition import partition_notes, settled
from al_jax.training.records import Records, write_json
from al_jax.training.run import Finished, Run, micro_batch_shapes, per_seed, stored_shapes
from al_jax.training.stopwatch import Stopwatch
from al_jax.training.warm_start import warm_start
from al_jax.types import Batch, ComponentState, Metrics


class Stopped(Exception):
    """A signal, of this number, ended the run, and a checkpoint was taken."""

    def __init__(self, message: str, signal: int):
        super().__init__(message)
        self.signal = signal


class Training:
    """A run in progress: the engine's state, the updates done, and where they are recorded.

    Where several processes train together, all of them make the same calls; the first one reads and writes checkpoints.
    """

    def __init__(self, run: Run, interrupted: Callable[[], int] = lambda: 0, alive: Callable[[], None] = lambda: None):
        """Starts a run, or takes it up from its newest whole checkpoint.

        Args:
          run: what to train.
          interrupted: asked after every call; once it gives a signal's number in any process, the run saves and raises
            `Stopped`.
          alive: called whenever something is done.

        Raises:
          RunError: the workdir cannot be written, or its checkpoints do not belong to this run.
        """
        self._began = time.monotonic()
        self._run, self._config, self._interrupted, self._alive = run, run.config, interrupted, alive
        # Longer than the deadline of `company.Watch`, whose sentence is the better one when a process hangs.
        self._agreement = distributed.Agreement(run.config.start_timeout + run.config.step_timeout)
        self._checkpoints = Checkpoints(run.workdir, run.config.keep)
        self._stopwatch = Stopwatch()
        self._done = 0
        self._state = self._restore_or_draw()
        write_json(run.workdir / "config.json", json.loads(run.config.to_json()))
        run.facts.write(run.workdir)
        self._records = Records(run.workdir, self._done)
        several = run.config.num_seeds > 1
        self._logs = [LossLog(run.config.accumulate, f" of seed {seed}" * several) for seed in run.seeds]
        self._unread: Metrics | None = None
        self._losses: Mapping[str, float] = {}
        self._saved = time.monotonic()
        self._profiled = False

    def _restore_or_draw(self):
        shapes = stored_shapes(self._config, self._run.shapes)
        restored = distributed.on_first(lambda: self._checkpoints.restore(shapes))
        self._run = run = settled(self._run, restored.notes if restored else {})
        trainer = run.trainer
        if restored:
            if restored.updates > run.updates:
                raise RunError(
                    f"{run.workdir} has done {restored.updates} updates, more than the {run.updates} of "
                    f"config.epochs={run.config.epochs}: give at least as many epochs as before"
                )
            self._done = restored.updates
            self._stopwatch = Stopwatch(restored.notes["trained_seconds"], restored.notes["trained_examples"])
            self._began -= restored.notes["wall_seconds"]
            return trainer.place(restored.components)
        keys = [jax.random.key(seed) for seed in run.seeds]
        state = trainer.init(keys if len(keys) > 1 else keys[0], micro_batch_shapes(run.config, run.facts))
        if run.config.codes == "pretrained":
            seeds = per_seed(run, trainer.components(state))
            ready = pretrain(run.config, run.facts.classes, seeds, keys, self._stop_before_training)
            state = trainer.place(jax.tree.map(lambda *x: jnp.stack(x), *ready) if len(ready) > 1 else ready[0])
        if run.config.warm_start:
            components = trainer.components(state)
            state = trainer.place(distributed.on_first(lambda: warm_start(components, run.config.warm_start)))
        return state

    def _stop_before_training(self) -> None:
        if distributed.size() == 1 and (signal := self._interrupted()):  # several stop together, with the first update
            raise Stopped("stopped while its codes were trained, before the first update", signal)

    @property
    def components(self) -> tuple[ComponentState, ...]:
        """The components as they are now."""
        return self._run.trainer.components(self._state)

    def finish(self) -> Finished:
        """Trains to the end.

        Raises:
          Stopped: on a signal.
          RunError: a loss or parameter became NaN or infinite, or a checkpoint cannot be written.
        """
        self._display = Display(self._run.updates, self._done, quiet=not distributed.first())
        with contextlib.ExitStack() as ends:
            self._batches = feed(self._run, self._done)
            for part in (self._checkpoints, self._records, self._display, self._batches):
                ends.callback(part.close)
            if self._done:
                self._display.say(f"Continuing after update {self._done} of {self._run.updates}.")
            self._train()
            if self._config.profile and not self._profiled:
                self._display.say("No profiler trace: the second call of a process is traced, and there was none.")
            return self._finished()

    def _train(self) -> None:
        run, config = self._run, self._config
        first = True
        self._stopwatch.start()
        while self._done < run.updates:
            epoch, offset = divmod(self._done, run.updates_per_epoch)
            count = min(config.updates_per_call, run.updates_per_epoch - offset)
            profile = config.profile and not first and not self._profiled
            if profile:
                self._profiled = True
                jax.profiler.start_trace(str(run.workdir / "profile"))
            self._call(next(self._batches), count)
            epoch_ends = self._done % run.updates_per_epoch == 0
            last = self._done == run.updates
            evaluates = last or (epoch_ends and (epoch + 1) % config.eval_every == 0)
            stops, due = self._agreement.ask(self._interrupted(), int(self._save_is_due()))
            saves = last or stops or due
            if first or evaluates or saves or profile:
                self._drain()
                # The first call compiles, so its time counts only where no other will have been measured.
                self._stopwatch.stop(discard=first and not (last and not self._stopwatch.examples))
                first = False
            if profile:
                jax.profiler.stop_trace()
            if evaluates or saves:
                components = run.trainer.components(self._state)
                if evaluates:
                    self._report(epoch + 1, components)
                if saves:
                    self._save(components)
            if stops and not last:
                raise Stopped(f"stopped after update {self._done} of {run.updates} and saved", stops)
            self._stopwatch.resume()

    def _save_is_due(self) -> bool:
        """By the clock of the first process, once for each save."""
        due = distributed.first() and time.monotonic() - self._saved >= self._config.checkpoint_seconds
        if due:
            self._saved = time.monotonic()
        return due

    def _call(self, batches: Batch, count: int) -> None:
        for log in self._logs:
            log.expect(self._done, self._done + count)
        valid = count * self._config.accumulate
        self._state, metrics = self._run.trainer.step(self._state, batches, valid=valid)
        self._fed = batches
        self._done += count
        self._stopwatch.count(count * self._config.batch_size * self._config.num_seeds)
        # What the call before measured is read only now, so that reading never keeps the device waiting.
        self._read()
        self._unread = metrics

    def _drain(self) -> None:
        """Finishes what is in flight, so that every loss up to here is known.

        Whole calls of no micro-batches do it: a shorter one would be another program, to be compiled on its own.
        """
        self._read()
        while any(log.waiting for log in self._logs):
            self._state, self._unread = self._run.trainer.step(self._state, self._fed, valid=0)
            self._read()

    def _read(self) -> None:
        if self._unread is None:
            return
        metrics, self._unread = jax.device_get(self._unread), None
        self._alive()  # not before: a call returns at once, while another process may still compile its first
        rows = [log.add(_of_seed(metrics, index, self._logs)) for index, log in enumerate(self._logs)]
        for of_all_seeds in zip(*rows, strict=True):
            for seed, (update, losses) in zip(self._run.seeds, of_all_seeds, strict=True):
                self._records.write(update, **self._seeded(seed), **losses)
            update, measured = of_all_seeds[0]
            (self._losses,) = without_measures([measured])
            self._display.progress(update, self._losses, self._stopwatch.examples_per_second)

    def _report(self, epoch: int, components: tuple[ComponentState, ...]) -> None:
        """Evaluates what was held out, and writes a row."""
        shown = {}
        for seed, own in zip(self._run.seeds, per_seed(self._run, components), strict=True):
            evaluate = functools.partial(self._run.evaluate, [part.variables for part in own], alive=self._alive)
            accuracies = {name: evaluate(split) for name, split in self._run.held_out.items()}
            values = {}
            for name, accuracy in accuracies.items():
                values |= accuracy.named(name, self._run.facts.classes)
            by_depth = next(iter(accuracies.values())).by_depth
            self._records.write(self._done, epoch=epoch, **self._seeded(seed), **values, accuracy_by_depth=by_depth)
            shown = shown or {name: accuracy.full for name, accuracy in accuracies.items()}
        self._display.epoch(epoch, shown, self._losses, self._stopwatch.examples_per_second)

    def _save(self, components: tuple[ComponentState, ...]) -> None:
        refuse_infinite(components, self._done)
        if distributed.first():
            self._checkpoints.save(self._done, components, self._notes())
        self._alive()

    def _finished(self) -> Finished:
        return Finished.at_the_end(self._run.trainer.components(self._state), self._notes())

    def _notes(self) -> dict[str, Any]:
        """What checkpoints keep beside the components."""
        return {
            "wall_seconds": time.monotonic() - self._began,
            "trained_seconds": self._stopwatch.seconds,
            "trained_examples": self._stopwatch.examples,
            **partition_notes(self._run),
        }

    def _seeded(self, seed: int) -> Mapping[str, int]:
        return {"seed": seed} if self._config.num_seeds > 1 else {}


def _of_seed(metrics: Metrics, index: int, logs: list[LossLog]) -> Metrics:
    return jax.tree.map(lambda x: x[index], metrics) if len(logs) > 1 else metrics

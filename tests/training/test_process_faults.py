"""Processes that die, hang or cannot write: the others leave within a bounded time, and nothing saved is lost."""

import random
import signal
import time

import processes as real
import pytest
from processes import (
    EXPLAINED,
    FULL_DISK,
    SLOW_SAVES,
    by_jax,
    digest_of,
    finish,
    kill,
    pair,
    sentence,
    start,
    wait_for_checkpoint,
)

from al_jax.training.checkpoint import Checkpoints
from al_jax.training.company import LOST

no_process_stays = real.no_process_stays


def alone(workdir, **fields):
    """The same run in one process on one device: exit status and what it said."""
    return finish(start(0, {}, workdir, engine="sequential", devices=1, **fields))


def newest(workdir):
    """The update of the last whole checkpoint, -1 before the first."""
    return max(Checkpoints(workdir, 3).steps(), default=-1)


@pytest.mark.slow
def test_after_the_death_of_any_process_the_other_leaves_and_the_run_goes_on(tmp_path):
    undisturbed, workdir, moment = tmp_path / "undisturbed", tmp_path / "killed", random.Random()
    assert alone(undisturbed, checkpoint_seconds=1000)[0] == 0
    for victim in range(2):
        done = newest(workdir)
        processes = pair(workdir)
        wait_for_checkpoint(processes, workdir, after=done)
        time.sleep(moment.uniform(0, 0.3))
        kill(processes[victim])
        status, output, errors = finish(processes[1 - victim])
        if victim:  # the survivor is the one that speaks, and goes on from what the first pair left
            assert f"Continuing after update {done} of" in output
        if EXPLAINED:
            assert status == LOST, errors
            assert "it cannot save, the same command continues from the last checkpoint" in sentence(errors)
            assert f"so process {1 - victim} of 2 leaves" in sentence(errors)
        else:
            assert status
    done = newest(workdir)
    status, output, errors = alone(workdir, checkpoint_seconds=1000)  # fewer processes and devices than before
    assert status == 0, errors
    assert f"Continuing after update {done} of" in output
    assert digest_of(workdir) == digest_of(undisturbed)


@pytest.mark.slow
def test_a_process_that_hangs_does_not_hold_the_other(tmp_path):
    stuck = 0  # the one at which the others meet
    processes = pair(tmp_path, epochs=4000, eval_every=4000, step_timeout=20)  # in which the first save is done
    wait_for_checkpoint(processes, tmp_path)
    processes[stuck].send_signal(signal.SIGSTOP)
    status, _, errors = finish(processes[1 - stuck])
    assert status == LOST
    assert "no call was done in 20 seconds" in sentence(errors)


@pytest.mark.slow
def test_a_process_that_is_asked_to_stop_stays_until_the_first_has_saved(tmp_path):
    """One that left earlier looks like a failure to launchers and to srun, which then end the first as well."""
    world, fields = by_jax(), {"epochs": 4000}
    slow = start(0, world, tmp_path, before=("-c", SLOW_SAVES.format(1.5)), **fields)
    processes = [slow, start(1, world, tmp_path, **fields)]
    wait_for_checkpoint(processes, tmp_path)
    for process in processes:
        process.send_signal(signal.SIGTERM)
    status, _, errors = finish(processes[1])
    saved = newest(tmp_path)
    first, output, _ = finish(slow)
    assert status == first == 128 + signal.SIGTERM, errors
    assert f"stopped after update {saved} of" in output


@pytest.mark.slow
def test_a_disk_that_fills_up_under_a_checkpoint_ends_both(tmp_path):
    world = by_jax()
    processes = [
        start(0, world, tmp_path, before=("-c", FULL_DISK.format(16384)), width=64),
        start(1, world, tmp_path, width=64),
    ]
    (status, _, errors), (lost, _, heard) = map(finish, processes)
    assert status == 1
    assert "cannot write a checkpoint to" in sentence(errors)
    assert lost == LOST
    assert "process 0 left (cannot write a checkpoint to" in sentence(heard)


@pytest.mark.slow
def test_where_no_checkpoint_is_whole_both_say_so(tmp_path):
    assert alone(tmp_path, epochs=1)[0] == 0
    for path in tmp_path.glob("checkpoints/*/manifest.ocdbt"):
        path.write_bytes(b"")
    for process in pair(tmp_path, epochs=1):
        status, _, errors = finish(process)
        assert status in (1, LOST)
        assert "is whole: delete the folder to start the run anew" in sentence(errors)

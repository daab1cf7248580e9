"""train.py as a single process that is killed, interrupted and started again."""

import functools
import random
import signal
import time

import processes
import pytest
from processes import FULL_DISK, digest_of, finish, kill, sentence, wait_for_checkpoint

from al_jax.training.checkpoint import Checkpoints
from al_jax.training.command_line import stop_request

no_process_stays = processes.no_process_stays
start = functools.partial(processes.start, 0, {}, engine="sequential", devices=1)


@pytest.mark.slow
def test_killed_at_random_moments_and_continued_on_other_devices_it_ends_in_the_undisturbed_digest(tmp_path):
    assert finish(start(tmp_path / "undisturbed", checkpoint_seconds=1000))[0] == 0

    workdir, moment = tmp_path / "killed", random.Random()
    for fields in ({}, {"engine": "pipelined", "devices": 2}):
        process = start(workdir, **fields)
        wait_for_checkpoint([process], workdir, after=max(Checkpoints(workdir, 3).steps(), default=-1))
        time.sleep(moment.uniform(0, 0.3))
        kill(process)
    newest = Checkpoints(workdir, 3).steps()[0]
    code, output, _ = finish(start(workdir, checkpoint_seconds=1000))
    assert code == 0
    assert f"Continuing after update {newest} of" in output
    assert digest_of(workdir) == digest_of(tmp_path / "undisturbed")


@pytest.mark.slow
def test_a_full_disk_ends_the_run_with_one_sentence(tmp_path):
    code, _, errors = finish(start(tmp_path, checkpoint_seconds=1000, before=("-c", FULL_DISK.format(4096))))
    assert code == 1
    assert "error: a file cannot be read or written" in sentence(errors)
    assert errors.strip().count("\n") == 0


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_says_how_to_continue(tmp_path, number):
    process = start(tmp_path, epochs=4000)
    wait_for_checkpoint([process], tmp_path)
    process.send_signal(number)
    code, output, errors = finish(process)
    assert code == 128 + number, errors
    assert "Traceback" not in errors
    assert "and saved; the same command with --workdir=" in output
    assert f"stopped after update {Checkpoints(tmp_path, 3).steps()[0]} of" in output


def test_a_run_that_is_asked_to_stop_twice_still_saves_but_for_ctrl_c(capfd):
    with stop_request() as stop:
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGHUP):
            signal.raise_signal(number)
        assert stop() == signal.SIGTERM
        assert capfd.readouterr().err.count("stopping: what is in progress is done and saved first") == 1
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)

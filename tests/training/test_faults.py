"""train.py as a process that is killed, interrupted and started again."""

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from al_jax.training.checkpoint import Checkpoints

ROOT = Path(__file__).resolve().parents[2]
FIELDS = {"components": 2, "width": 16, "code": 8, "epochs": 40, "updates_per_call": 4, "checkpoint_seconds": 0}


# Runs the rest of its command line, in which no file may grow beyond 4 KiB, as on a disk that is nearly full.
FULL_DISK = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


def start(workdir, *arguments, before=()):
    fields = [f"--config.{name}={value}" for name, value in FIELDS.items()]
    command = [sys.executable, *before, "train.py", *fields, "--config.exact=true", f"--workdir={workdir}", *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process):
    output, errors = process.communicate(timeout=240)
    assert "Traceback" not in errors
    return process.returncode, output, errors


def wait_for_checkpoint(process, workdir, after=-1):
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        if max(Checkpoints(workdir, 3).steps(), default=-1) > after:
            return
        time.sleep(0.02)
    pytest.fail(f"no checkpoint came: {process.communicate(timeout=10)}")


def digest_of(workdir):
    return json.loads((workdir / "summary.json").read_text())["digest"]


@pytest.mark.slow
def test_killed_at_random_moments_and_continued_on_other_devices_it_ends_in_the_undisturbed_digest(tmp_path):
    undisturbed = start(tmp_path / "undisturbed", "--config.checkpoint_seconds=1000")
    assert finish(undisturbed)[0] == 0

    workdir, moment = tmp_path / "killed", random.Random()
    for arguments in ([], ["--config.engine=pipelined", "--config.devices=2"]):
        process = start(workdir, *arguments)
        wait_for_checkpoint(process, workdir, after=max(Checkpoints(workdir, 3).steps(), default=-1))
        time.sleep(moment.uniform(0, 0.3))
        process.send_signal(signal.SIGKILL)
        process.communicate()
    code, output, _ = finish(start(workdir))
    assert code == 0
    assert "Continuing after update" in output
    assert digest_of(workdir) == digest_of(tmp_path / "undisturbed")


@pytest.mark.slow
def test_a_full_disk_ends_the_run_with_one_sentence(tmp_path):
    process = start(tmp_path, "--config.checkpoint_seconds=1000", before=("-c", FULL_DISK))
    code, _, errors = finish(process)
    assert code == 1
    assert "error: a file cannot be read or written" in errors
    assert errors.strip().count("\n") == 0


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_says_how_to_continue(tmp_path, number):
    process = start(tmp_path, "--config.epochs=4000")
    wait_for_checkpoint(process, tmp_path)
    process.send_signal(number)
    code, output, errors = finish(process)
    assert code == 128 + number, errors
    assert "and saved; the same command with --workdir=" in output
    assert f"stopped after update {Checkpoints(tmp_path, 3).steps()[0]} of" in output

"""train.py as several processes of one run, for tests that let some of them live and others not."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import pytest

from al_jax.ports import free_port
from al_jax.training.checkpoint import Checkpoints

ROOT = Path(__file__).resolve().parents[1]
# Up to JAX 0.9.0 its runtime ends a process that misses others, with status 1 and in its own words.
EXPLAINED = jax.__version_info__ >= (0, 9, 2)
FIELDS = {
    "components": 2,
    "width": 16,
    "code": 8,
    "epochs": 40,
    "updates_per_call": 4,
    "checkpoint_seconds": 0,
    "exact": "true",
    "engine": "pipelined",
    "devices": 2,
}
# Runs the rest of its command line, in which no file may grow beyond so many bytes, as on a disk that is nearly full.
FULL_DISK = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, ({0}, {0}))
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""
# Runs train.py with the rest of its command line, where every checkpoint takes so many seconds longer.
SLOW_SAVES = """
import runpy, sys, time
from al_jax.training.checkpoint import Checkpoints
save = Checkpoints.save
def slowly(*given):
    time.sleep({0})
    save(*given)
Checkpoints.save = slowly
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
# For full disks, which a cache of compiled programs would meet first.
NO_CACHE = {"JAX_ENABLE_COMPILATION_CACHE": "false"}
STARTED = []  # processes of the test under way
BOUND = 120  # seconds in which a process must have left, with room for a slow machine


@pytest.fixture(autouse=True)
def no_process_stays():
    """Whatever becomes of a test, what it has started ends with it; for every module that imports this."""
    yield
    for process in STARTED:
        with process:  # closes its pipes and waits for it
            process.kill()
    STARTED.clear()


def run(command, **environment):
    """Starts a process that does not outlive its test."""
    environment = {**os.environ, **environment}
    piped = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    STARTED.append(subprocess.Popen(command, cwd=ROOT, env=environment, text=True, **piped))
    return STARTED[-1]


def arguments(workdir, **fields):
    """Of train.py."""
    return [
        *(f"--config.{name}={value}" for name, value in {**FIELDS, **fields}.items()),
        f"--workdir={workdir}",
    ]


def start(rank, world, workdir, before=(), **fields):
    """One process of a run; `world` are the environment variables that tell it where the others are, if there are."""
    own = {name: value.format(rank=rank) for name, value in world.items()}
    if before:
        own |= NO_CACHE
    command = [sys.executable, *before, "train.py", *arguments(workdir, **fields)]
    return run(command, **own, TF_CPP_MIN_LOG_LEVEL="2")


def by_jax():
    """Two processes, told by JAX's own variables."""
    address = f"127.0.0.1:{free_port()}"
    return {"JAX_COORDINATOR_ADDRESS": address, "JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "{rank}"}


def by_slurm():
    """Two processes as `srun -n 2` starts them on one node; for `coordinator=auto`."""
    tasks = {"SLURM_NTASKS": "2", "SLURM_PROCID": "{rank}", "SLURM_LOCALID": "{rank}"}
    return {"SLURM_JOB_ID": "1", "SLURM_STEP_NODELIST": "localhost", "JAX_COORDINATOR_PORT": str(free_port()), **tasks}


def pair(workdir, **fields):
    """Both processes of a run."""
    world = by_jax()
    return [start(rank, world, workdir, **fields) for rank in range(2)]


def finish(process):
    """Exit status and what the process said, within a bounded time."""
    try:
        output, errors = process.communicate(timeout=BOUND)
    except subprocess.TimeoutExpired:
        process.kill()
        output, errors = process.communicate()
        raise AssertionError(f"the process did not leave within {BOUND} seconds: {output} {errors}") from None
    return process.returncode, output, errors


def sentence(errors):
    """The one sentence with which a process left."""
    (found,) = [line for line in errors.splitlines() if line.startswith("error: ")]
    return found


def wait_for_checkpoint(processes, workdir, after=-1):
    deadline = time.monotonic() + BOUND
    while time.monotonic() < deadline and all(process.poll() is None for process in processes):
        if max(Checkpoints(workdir, 3).steps(), default=-1) > after:
            return
        time.sleep(0.02)
    for process in processes:
        process.kill()
    raise AssertionError(f"no checkpoint came: {[process.communicate() for process in processes]}")


def kill(*processes):
    for process in processes:
        process.send_signal(signal.SIGKILL)
        process.communicate()


def digest_of(workdir):
    return json.loads((workdir / "summary.json").read_text())["digest"]

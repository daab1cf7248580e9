"""Joining and leaving a run of several processes; with real ones in test_process_faults.py."""

import itertools
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import jax
import pytest
from processes import BOUND

from al_jax.training import company, joining
from al_jax.training.config import default_config
from al_jax.training.errors import ConfigError

VARIABLES = ("JAX_COORDINATOR_ADDRESS", "JAX_COORDINATOR_PORT", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")


class Left(Exception):
    """In place of the end of this process."""


@pytest.fixture
def one_of_two(monkeypatch):
    """Process 1 of two, which raises where it would end."""

    def leave(status):
        raise Left(status)

    monkeypatch.setattr(company, "_exit", leave)
    monkeypatch.setattr(company, "_exit_within", lambda seconds, status: None)
    monkeypatch.setattr(company, "LOOK", 0)
    monkeypatch.setattr(company, "SPEAKING", threading.Lock())
    for name, value in {"size": 2, "rank": 1, "first": False}.items():
        monkeypatch.setattr(company.distributed, name, lambda value=value: value)
    monkeypatch.setattr(company.distributed, "told", lambda name: {})
    monkeypatch.setattr(company.distributed, "tell", lambda name, text: None)


@pytest.fixture
def nothing_said(monkeypatch):
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)


@pytest.mark.parametrize(
    ("around", "fields", "message"),
    [
        ({}, {"coordinator": "localhost:abc"}, "config.coordinator is 'localhost:abc': it must be host:port"),
        ({}, {"start_timeout": float("inf")}, "config.start_timeout is inf: it must be"),
        ({"JAX_NUM_PROCESSES": "two"}, {}, "JAX_NUM_PROCESSES is 'two': it must be a whole number of at least 1"),
        ({"JAX_NUM_PROCESSES": "2"}, {}, "config.coordinator is empty, but num_processes is 2"),
        ({"JAX_COORDINATOR_PORT": "abc"}, {}, "JAX_COORDINATOR_PORT is 'abc': it must be a whole number of at least 1"),
        ({"JAX_COORDINATOR_PORT": "70000"}, {}, "JAX_COORDINATOR_PORT is 70000: ports are below 65536"),
        ({"JAX_PROCESS_ID": "1"}, {"process_id": -3}, "config.process_id is -3: it must be at least 0"),
    ],
)
def test_fields_and_variables_that_cannot_be_are_refused(monkeypatch, nothing_said, around, fields, message):
    for variable, text in around.items():
        monkeypatch.setenv(variable, text)
    monkeypatch.setattr(joining, "on_abort", lambda sentence, status: None)
    with pytest.raises(ConfigError, match=f"^{message}"):
        joining.join(default_config(**fields))


def test_a_process_that_turns_out_to_be_alone_aborts_as_ever(monkeypatch, nothing_said):
    handlers = []
    monkeypatch.setattr(joining.world, "start", lambda *given: None)
    monkeypatch.setattr(joining.jax.config, "update", lambda *given: None)
    monkeypatch.setattr(joining, "on_abort", lambda sentence, status: handlers.append(sentence))
    monkeypatch.setattr(joining.signal, "signal", lambda *given: handlers.append(given))
    joining.join(default_config(coordinator="localhost:1", num_processes=1, process_id=0))
    assert "not all processes came to localhost:1" in handlers[0]
    assert handlers[1:] == [(signal.SIGABRT, signal.SIG_DFL)]


def test_the_second_to_know_why_a_process_leaves_says_nothing(one_of_two, monkeypatch, capsys):
    monkeypatch.setattr(company, "FAREWELL", 0)
    for said in (1, 0):
        with pytest.raises(Left):
            company.fail(jax.errors.JaxRuntimeError("UNAVAILABLE: gone"))
        assert capsys.readouterr().err.count("error: ") == said


@pytest.mark.parametrize("kind", [jax.errors.JaxRuntimeError, ValueError])
def test_a_collective_without_its_other_side_is_told_in_a_sentence(one_of_two, capsys, kind):
    error = kind(
        "INTERNAL: Buffer Definition Event: Gloo all-reduce failed: [external/gloo/gloo/transport/tcp/pair.cc:547] "
        "Connection closed by peer [127.0.0.1]:18447\nand more"
    )
    with pytest.raises(Left):
        company.fail(error)
    assert capsys.readouterr().err == (
        "error: another process is gone (Gloo all-reduce failed: Connection closed by peer [127.0.0.1]:18447), so "
        "process 1 of 2 leaves: it cannot save, the same command continues from the last checkpoint\n"
    )


def test_a_collective_ends_with_what_the_other_side_said_before_it_left(one_of_two, monkeypatch, capsys):
    told = []
    monkeypatch.setattr(company.distributed, "told", {"gone": {0: "a disk is full"}}.get)
    monkeypatch.setattr(company.distributed, "tell", lambda *given: told.append((*given, capsys.readouterr().err)))
    with pytest.raises(Left):
        company.fail(jax.errors.JaxRuntimeError("UNAVAILABLE: gone"))
    ((name, _, said),) = told  # after which process 0 goes, and JAX may end this one before it says anything
    assert name == "heard"
    assert "error: process 0 left (a disk is full), so process 1 of 2 leaves" in said


def test_the_first_process_stays_until_the_others_have_heard_why_it_leaves(one_of_two, monkeypatch):
    left, asked = {"gone": {}, "heard": {}}, itertools.count()

    def told(name):
        if next(asked) == 7:
            left["heard"][1] = ""
        return left[name]

    monkeypatch.setattr(company.distributed, "first", lambda: True)
    monkeypatch.setattr(company.distributed, "told", told)
    monkeypatch.setattr(company.distributed, "tell", lambda name, text: left[name].update({0: text}))
    with pytest.raises(Left):
        company.give_up("error: a disk is full")
    assert left == {"gone": {0: "a disk is full"}, "heard": {1: ""}}


@pytest.mark.parametrize("hangs", [True, False])
def test_a_first_process_that_cannot_say_why_it_left_is_not_waited_for(one_of_two, monkeypatch, capsys, hangs):
    answered = threading.Event()

    def told(name):
        answered.wait(20 if hangs else 0)
        raise jax.errors.JaxRuntimeError("UNAVAILABLE: process 0 does not answer")

    monkeypatch.setattr(company, "FAREWELL", 0.05)
    monkeypatch.setattr(company.distributed, "told", told)
    with pytest.raises(Left):
        company.fail(jax.errors.JaxRuntimeError("UNAVAILABLE: gone"))
    answered.set()
    assert "error: another process is gone (UNAVAILABLE: gone)" in capsys.readouterr().err


@pytest.mark.parametrize(
    "error",
    [ValueError("a file of UNAVAILABLE Gloo data"), jax.errors.JaxRuntimeError("INTERNAL: no UNAVAILABLE memory")],
)
def test_another_error_is_not_taken_for_a_lost_process(error):
    assert not company._peer_is_gone(error)


def test_a_call_that_takes_too_long_names_the_remedy(one_of_two, capsys):
    with pytest.raises(Left):
        company.Watch(first=-1, then=1)._look_at_the_clock()
    said = capsys.readouterr().err
    assert "no call was done in -1 seconds, so process 1 of 2 leaves: it cannot save" in said
    assert said.endswith("; if none hangs, with a longer step_timeout or fewer updates_per_call\n")


def test_a_process_that_gives_up_leaves_although_the_first_does_not_answer(monkeypatch):
    ended, answered = threading.Event(), []
    monkeypatch.setattr(company, "PATIENCE", 0.05)
    monkeypatch.setattr(company, "SPEAKING", threading.Lock())
    monkeypatch.setattr(company, "_exit", lambda status: None)
    monkeypatch.setattr(company.os, "_exit", lambda status: ended.set())
    monkeypatch.setattr(company.distributed, "size", lambda: 2)
    monkeypatch.setattr(company.distributed, "first", lambda: False)
    # It would wait for ever.
    monkeypatch.setattr(company.distributed, "tell", lambda *told: answered.append(not ended.wait(20)))
    company.give_up("error: something")
    assert answered == [False]


# A process whose second never comes to anything, and whom nobody can hear.
UNHEARD = """
import os, sys
from al_jax.training import company, joining
company.distributed.size, company.distributed.rank = lambda: 2, lambda: 1
company.distributed.told = lambda name: {}
os.mkdir(sys.argv[1])
company.SCRATCH.append(sys.argv[1])
with company.Watch(first=0.1, then=0.1):
    company.time.sleep(600)
"""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
@pytest.mark.parametrize("closed", [False, True])
def test_a_process_that_nobody_can_hear_leaves_all_the_same(tmp_path, closed):
    scratch = tmp_path / "scratch"
    command = [sys.executable, "-c", UNHEARD, str(scratch)]
    closing = ["sh", "-c", 'exec "$@" 2>&-', "sh"] if closed else []
    with open("/dev/full", "w") as full:
        ended = subprocess.run([*closing, *command], stderr=full, timeout=BOUND)
    assert ended.returncode == company.LOST
    assert not scratch.exists()


# A call that never lets go of Python's lock.
STUCK = """
import ctypes
from al_jax.training import company, joining
company.PATIENCE, company.LOOK = 0.5, 600
company.distributed.size = lambda: 2
with company.Watch(first=0.5, then=0.5):
    ctypes.PyDLL(None).sleep(600)
"""


def test_a_process_whose_threads_cannot_run_ends_all_the_same():
    ended = subprocess.run([sys.executable, "-c", STUCK], capture_output=True, text=True, timeout=BOUND)
    assert ended.returncode == 1
    assert "Timeout (0:00:01.500000)!" in ended.stderr


# A process that JAX aborts on its way out, since process 0 is gone by then.
ABORTED = """
import os
from al_jax.training import company
company.distributed.size, company.distributed.rank = lambda: 2, lambda: 1
company.distributed.told = lambda name: {0: ""}
company.distributed.tell = lambda name, text: os.abort()
company.leave(3)
"""


def test_a_process_that_is_done_leaves_with_its_own_status_although_the_first_is_gone():
    ended = subprocess.run([sys.executable, "-c", ABORTED], capture_output=True, text=True, timeout=BOUND)
    assert (ended.returncode, ended.stderr) == (3, "")


def test_processes_train_with_one_configuration_and_one_program(one_of_two, monkeypatch):
    theirs = {}
    monkeypatch.setattr(company.distributed, "on_first", lambda run: {**run(), **theirs})
    own = default_config()
    joining.agree(own)
    theirs |= {"step_timeout": 1.0, "process_id": 0, "data_dir": "/elsewhere"}
    joining.agree(own)
    theirs |= {"learning_rate": 0.1, "al_jax": "0123"}
    with pytest.raises(
        ConfigError, match=r"^process 1 of 2 differs .* \(al_jax: '0123' there; learning_rate: 0.1 there"
    ):
        joining.agree(own)


def test_a_port_that_is_taken_is_refused(monkeypatch, nothing_said):
    monkeypatch.setattr(joining, "on_abort", lambda sentence, status: None)
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"coordinator is 'localhost:{port}', but its port cannot be had"):
            joining.join(default_config(coordinator=f"localhost:{port}", num_processes=2, process_id=0))

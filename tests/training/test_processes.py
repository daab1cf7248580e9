"""Several processes train what one trains, bit for bit, and the launcher starts and ends them together."""

import json
import os
import select
import signal
import subprocess
import sys
import threading
import time

import processes as real
import pytest
from processes import (
    BOUND,
    EXPLAINED,
    ROOT,
    arguments,
    by_jax,
    by_slurm,
    digest_of,
    finish,
    pair,
    sentence,
    start,
    wait_for_checkpoint,
)

from al_jax import launch
from al_jax.training.company import LOST

no_process_stays = real.no_process_stays
SHORT = {"epochs": 2, "shards": 2, "codes": "pretrained", "code_updates": 100, "checkpoint_seconds": 100}


def launched(workdir, *words, logs=None):
    command = [sys.executable, "-m", "al_jax.launch", "--processes=2", f"--logs={logs or workdir / 'logs'}", *words]
    return real.run(command, CUDA_VISIBLE_DEVICES="0,1")  # which processes on CPUs must not mind


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """One process, one device, in the slices that the others share."""
    workdir = tmp_path_factory.mktemp("alone")
    fields = {**SHORT, "engine": "sequential", "devices": 1}
    subprocess.run([sys.executable, "train.py", *arguments(workdir, **fields)], cwd=ROOT, check=True, timeout=BOUND)
    return workdir


@pytest.mark.slow
@pytest.mark.parametrize(
    "fields", [{"devices": 2}, {"devices": 4, "data_parallel": 2}], ids=["2-stages", "2-stages-x-2-devices"]
)
def test_two_processes_end_in_the_digest_of_one(undisturbed, tmp_path, fields):
    shared = arguments(tmp_path, **SHORT, **fields)
    status, output, errors = finish(launched(tmp_path, "--", *shared))
    assert status == 0, errors
    assert digest_of(tmp_path) == digest_of(undisturbed)
    # What is recorded and evaluated does not tell how many there were.
    alone, together = (json.loads((workdir / "summary.json").read_text()) for workdir in (undisturbed, tmp_path))
    assert together["accuracy_by_depth"] == alone["accuracy_by_depth"]
    assert together["losses"] == pytest.approx(alone["losses"], rel=1e-5)
    assert digest_of(tmp_path) in output


@pytest.mark.slow
def test_a_late_process_is_waited_for_and_a_second_run_in_its_workdir_refused(tmp_path):
    world, fields = by_slurm(), {"epochs": 4000, "coordinator": "auto"}
    first = start(0, world, tmp_path, **fields)
    time.sleep(2)
    processes = [first, start(1, world, tmp_path, **fields)]
    wait_for_checkpoint(processes, tmp_path)
    for process in pair(tmp_path):
        status, _, errors = finish(process)
        assert status in (1, LOST)  # the second one learns it together with the first, or hears that the first left
        assert "another process is training in" in sentence(errors)
    processes[1].send_signal(signal.SIGTERM)  # of one process, and both stop
    for process in processes:
        assert finish(process)[0] == 128 + signal.SIGTERM


@pytest.mark.slow
def test_processes_of_different_configurations_do_not_train(tmp_path):
    world = by_jax()
    processes = [start(rank, world, tmp_path, learning_rate=rate) for rank, rate in enumerate((1e-3, 1e-2))]
    (lost, _, heard), (status, _, errors) = map(finish, processes)
    assert (lost, status) == (LOST, 1)
    assert "process 1 of 2 differs from process 0 (learning_rate: 0.001 there)" in sentence(errors)
    assert "process 1 left (process 1 of 2 differs from" in sentence(heard)
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.slow
def test_a_process_that_waits_in_vain_says_so(tmp_path):
    status, _, errors = finish(start(0, by_jax(), tmp_path, start_timeout=2))
    assert status == 1
    if EXPLAINED:
        assert "not all processes came to 127.0.0.1" in sentence(errors)


@pytest.mark.slow
def test_the_launcher_passes_signals_on_and_all_processes_save(tmp_path):
    group = launched(tmp_path, "--", *arguments(tmp_path, epochs=4000))
    wait_for_checkpoint([group], tmp_path)
    group.send_signal(signal.SIGTERM)
    status, output, errors = finish(group)
    assert status == 128 + signal.SIGTERM
    assert "and saved; the same command with --workdir=" in output
    assert "error" not in errors


# None of them ends before all have begun, however long one takes for that.
GROUP = f"""
import os, subprocess, sys, time
rank, number, (how, pid) = int(os.environ["JAX_PROCESS_ID"]), int(os.environ["JAX_NUM_PROCESSES"]), sys.argv[1:]
print("rank", rank, "of", number, flush=True)
with open(pid + "_draft" + str(rank), "w") as draft:
    draft.write(str(os.getpid()))
os.rename(draft.name, pid + str(rank))
while not all(os.path.exists(pid + str(other)) for other in range(number)):
    time.sleep(0.01)
if how == "followed" and rank == 0:
    sys.exit({LOST})
if how == "followed" and rank == 1:
    while os.path.exists("/proc/" + open(pid + "0").read()):  # until the launcher has seen its end
        time.sleep(0.01)
if how in ("fails", "followed") and rank == 1:
    print("what went wrong")
    sys.exit(3)
if how == "killed" and rank == 1:
    os.kill(os.getpid(), 9)
if how == "leaves" and rank == 1:
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
elif how not in ("ends", "leaves"):
    time.sleep(600)
"""


@pytest.mark.parametrize(
    ("how", "status", "said"),
    [
        ("ends", 0, ""),
        ("fails", 3, "process 1 left with status 3"),
        ("killed", 137, "process 1 was ended by SIGKILL"),
    ],
)
def test_the_launcher_ends_the_others_when_one_fails(tmp_path, monkeypatch, capfd, how, status, said):
    monkeypatch.setattr(launch, "ALONE", 0.2)
    program = tmp_path / "program.py"
    program.write_text(GROUP)
    words = [f"--program={program}", f"--logs={tmp_path / 'logs'}", "--processes=3", "--", how, str(tmp_path / "pid")]
    assert launch.main(words) == status
    output, errors = capfd.readouterr()
    assert output == "rank 0 of 3\n"
    assert said in errors
    assert ("what went wrong" in errors) == (how == "fails")
    for rank in range(3):
        pid = int((tmp_path / f"pid{rank}").read_text())
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
        assert (tmp_path / "logs" / f"process_{rank}.log").read_text().startswith(f"rank {rank} of 3")


def test_a_process_that_another_one_followed_is_the_one_that_failed(group, monkeypatch, capfd):
    monkeypatch.setattr(launch, "ALONE", BOUND)
    assert launch.main(group("followed")) == 3
    assert "error: process 1 left with status 3" in capfd.readouterr().err


def test_what_a_process_leaves_behind_does_not_hold_the_launcher(tmp_path, monkeypatch):
    monkeypatch.setattr(launch, "LAST", BOUND)
    before, program = set(threading.enumerate()), tmp_path / "program.py"
    program.write_text(GROUP)
    words = [f"--program={program}", f"--logs={tmp_path / 'logs'}", "--processes=2"]
    assert launch.main([*words, "--", "leaves", str(tmp_path / "pid")]) == 0
    assert set(threading.enumerate()) <= before  # nobody holds an output open any more: what was left is gone


@pytest.fixture
def group(tmp_path):
    """What `launch.main` starts, two processes that each leave `pidN` behind and then do as they are told."""
    (tmp_path / "program.py").write_text(GROUP)
    (tmp_path / "logs").mkdir()
    words = [f"--program={tmp_path / 'program.py'}", f"--logs={tmp_path / 'logs'}", "--processes=2", "--"]
    return lambda how: [*words, how, str(tmp_path / "pid")]


def wait_for_pids(folder):
    deadline = time.monotonic() + BOUND
    while time.monotonic() < deadline and not all((folder / f"pid{rank}").exists() for rank in range(2)):
        time.sleep(0.01)


@pytest.fixture
def in_a_terminal():
    """Tests that run under nohup ignore its signal, and what they start would, too."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("in_a_terminal")
def test_when_the_terminal_hangs_up_all_processes_are_asked_to_stop(tmp_path, group):
    def hang_up():
        wait_for_pids(tmp_path)
        os.kill(os.getpid(), signal.SIGHUP)

    threading.Thread(target=hang_up, daemon=True).start()
    assert launch.main(group("wait")) == 128 + signal.SIGTERM


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nobody tells a process that its parent has died")
def test_a_killed_launcher_takes_its_processes_along(tmp_path, group):
    alone = "import runpy, sys; sys.argv[1:2] = []; runpy.run_path('al_jax/launch.py', run_name='__main__')"
    launcher = real.run([sys.executable, "-c", alone, "launch", *group("wait")])
    wait_for_pids(tmp_path)
    launcher.send_signal(signal.SIGKILL)
    readers = select.poll()  # of the input that the launcher shares with its processes
    readers.register(launcher.stdin, 0)
    assert readers.poll(1000 * BOUND) == [(launcher.stdin.fileno(), select.POLLERR)]


@pytest.fixture
def second(monkeypatch):
    """What happens when the second process is to be started, and what was started."""
    begin, happens, started = subprocess.Popen, [], []

    def popen(*given, **named):
        if started:
            happens[0]()
        started.append(begin(*given, **named))
        return started[-1]

    monkeypatch.setattr(launch.subprocess, "Popen", popen)
    return happens, started


def test_a_group_that_cannot_be_whole_is_ended(group, second, capfd):
    def fail():
        raise OSError("no more processes")

    happens, started = second
    happens.append(fail)
    assert launch.main(group("wait")) == 1
    assert [process.returncode for process in started] == [-signal.SIGKILL]
    assert "error: not all processes can be started (no more processes): mend" in capfd.readouterr().err


def test_a_signal_while_processes_are_started_reaches_all(group, second):
    happens, started = second
    happens.append(lambda: signal.raise_signal(signal.SIGTERM))
    assert launch.main(group("wait")) == 128 + signal.SIGTERM
    assert [process.returncode for process in started] == [-signal.SIGTERM] * 2


def test_a_log_or_terminal_that_cannot_be_written_ends_nobody(tmp_path, monkeypatch, group, capfd):
    full = os.open("/dev/full", os.O_WRONLY)
    monkeypatch.setattr(launch, "TERMINAL", full)
    monkeypatch.setattr(launch, "ALONE", 0.2)
    (log := tmp_path / "logs" / "process_1.log").symlink_to("/dev/full")
    assert launch.main(group("fails")) == 3
    os.close(full)
    lines = capfd.readouterr().err.splitlines()
    why = "cannot be written (No space left on device): the processes go on without it"
    assert sorted(lines[:2]) == [f"error: {log} {why}", f"error: the terminal {why}"]
    assert lines[2:] == [f"error: process 1 left with status 3; its log is {log}", "process 1: what went wrong"]


def test_gpus_are_dealt_out_unless_the_user_has_done_it(tmp_path, monkeypatch):
    def dealt(processes):
        return [launch.local_devices(rank, processes).get("JAX_LOCAL_DEVICE_IDS") for rank in range(processes)]

    for name in ("CUDA_VISIBLE_DEVICES", "JAX_LOCAL_DEVICE_IDS", "JAX_CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(launch, "DEVICES", tmp_path)
    assert dealt(2) == [None, None]
    for name in ("nvidia0", "nvidia1", "nvidia2", "nvidia3", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    assert dealt(2) == ["0,1", "2,3"]
    assert dealt(3) == ["0", "1", "2"]
    assert dealt(5) == [None] * 5
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "6,7")  # JAX numbers those that it sees
    assert dealt(2) == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert dealt(1) == [None]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.setenv("JAX_LOCAL_DEVICE_IDS", "1")
    assert dealt(2) == [None, None]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--processes=0", "--"], "--processes is 0: it must be at least 1"),
        (
            ["--processes=2", "--config.devices=2"],
            "--config.devices=2: those of train.py go behind --",
        ),
        (["--processes=2", "--program=nowhere.py", "--"], "there is no nowhere.py: give --program=PATH/TO/train.py"),
    ],
)
def test_the_launcher_refuses_what_cannot_run(capsys, words, said):
    with pytest.raises(SystemExit):
        launch.main(words)
    assert said in capsys.readouterr().err

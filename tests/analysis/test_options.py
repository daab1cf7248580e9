"""What commands refuse in their own options, and how they end."""

import json
import os
import sys

import pytest

from al_jax.analysis import cells, compare, depth, figures, inspect, representation, results, search
from al_jax.data import DataError
from al_jax.training.command_line import command
from al_jax.training.errors import RunError

ENDS = {
    "run": (RunError("no run"), "error: no run"),
    "data": (DataError("no data"), "error: no data"),
    "file": (NotADirectoryError(20, "Not a directory", "a/b"), "error: a file cannot be read or written (.*'a/b'.*)"),
}


@pytest.mark.parametrize(("error", "said"), ENDS.values(), ids=ENDS)
def test_what_ends_a_command_is_one_sentence(error, said):
    def main():
        raise error

    with pytest.raises(SystemExit, match=f"^{said}"):
        command(main)


def test_a_command_that_is_stopped_says_what_the_same_one_does(capsys):
    def main():
        raise KeyboardInterrupt

    command(main, again="continues")
    assert capsys.readouterr().out == "stopped; the same command continues\n"


def test_a_command_whose_output_nobody_reads_ends_without_a_word(monkeypatch, capsys):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as pipe, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", pipe)
        with pytest.raises(SystemExit):
            command(lambda: print("a line of a table"))
    assert capsys.readouterr() == ("", "")


MODULES = (cells, compare, depth, figures, inspect, representation, results, search)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__.rpartition(".")[2])
def test_help_says_what_a_command_does_and_what_each_option_means(module, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["command", "--help"])
    with pytest.raises(SystemExit):
        module.main()
    said = capsys.readouterr().out
    assert module.__doc__.splitlines()[0] in said
    lines = said.partition("options:")[2].splitlines()
    for line, after in zip(lines, [*lines[1:], ""], strict=True):
        assert not line.startswith("  -") or "  " in line.strip() or after.startswith(" " * 10), line


REFUSED = {
    "picture for record": (depth, ["--out", "depth.png"], "--out is depth.png: give a name that ends in .json"),
    "depth of a power": (depth, ["--depths", "²"], "--depths is ²: give whole numbers"),
    "no time": (cells, ["--minutes", "nan"], "--minutes: it is nan and must be 0 or more"),
    "no margin": (compare, ["a.json", "b.json", "--margin", "nan"], "--margin is nan: give 0 or more"),
    "no seed": (search, ["configs/digits.py", "--seed", "-1"], "--seed is -1: give 0 or more"),
}


@pytest.mark.parametrize(("module", "arguments", "said"), REFUSED.values(), ids=REFUSED)
def test_options_that_cannot_be_are_refused(module, arguments, said, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["command", *arguments])
    with pytest.raises(SystemExit):
        module.main()
    assert said in capsys.readouterr().err


NOWHERE = "/dev/null/file.json"
UNWRITABLE = {
    "compare": (compare, ["configs/digits.py", "configs/digits.py:smoke", "--out", NOWHERE]),
    "depth": (depth, ["--out", NOWHERE]),
    "search": (search, ["configs/digits.py", "--out", NOWHERE]),
}


@pytest.mark.parametrize(("module", "arguments"), UNWRITABLE.values(), ids=UNWRITABLE)
def test_what_cannot_be_written_is_said_before_anything_is_trained(module, arguments, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["command", *arguments])
    with pytest.raises(RunError, match=r"cannot write /dev/null/file\.json \(.*\): choose another place"):
        module.main()


@pytest.mark.parametrize("content", ["[]", "5"])
def test_json_of_another_kind_is_no_result(content, tmp_path):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(RunError, match=r"a.json is another kind of file: it holds no names with values"):
        results.table([tmp_path / "a.json"])


def test_blocks_of_a_learning_machine_are_not_compared(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"rule": "gradient", "units": "8"}))
    with pytest.raises(RunError, match="is of a learning machine, which has no blocks to compare: leave it out"):
        representation.represent([tmp_path], tmp_path / "out")

"""The examples of README and docs do what they show."""

import re
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
def test_the_examples_train():
    first, machines = map(example, ("README.md", "docs/machines.md"))
    names = {}
    exec(first, names)
    assert accuracy(names) > 0.9
    exec(machines, names)
    exec(first[first.index("state ") :], names)
    assert accuracy(names) > 0.8


def example(path):
    (found,) = re.findall(r"```python\n(.*?)```", (ROOT / path).read_text(), re.DOTALL)
    return found


def accuracy(names):
    test = names["digits"].test
    return np.mean(np.argmax(names["scores"], axis=1) == test.label)

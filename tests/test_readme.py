"""The README's examples do what they show."""

import re
from pathlib import Path

import numpy as np
import pytest

README = Path(__file__).resolve().parents[1] / "README.md"


@pytest.mark.slow
def test_the_examples_train():
    first, machines = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    names = {}
    exec(first, names)
    assert accuracy(names) > 0.9
    exec(machines, names)
    exec(first[first.index("state ") :], names)
    assert accuracy(names) > 0.8


def accuracy(names):
    test = names["digits"].test
    return np.mean(np.argmax(names["scores"], axis=1) == test.label)

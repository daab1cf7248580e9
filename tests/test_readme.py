"""The README's example does what it shows."""

import re
from pathlib import Path

import numpy as np
import pytest

README = Path(__file__).resolve().parents[1] / "README.md"


@pytest.mark.slow
def test_the_example_trains():
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    names = {}
    exec(example, names)
    test = names["digits"].test
    assert np.mean(np.argmax(names["scores"], axis=1) == test.label) > 0.9

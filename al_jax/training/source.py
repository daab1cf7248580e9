"""Which commit of the code made a result."""

import functools
import subprocess
from pathlib import Path

SECONDS = 10.0  # for each question to git


def commit() -> str:
    """The commit of this code, with `-dirty` if it was changed since; "" where it lies in no repository of its own."""
    git = ["git", "--no-optional-locks", "-C", str(Path(__file__).parent)]
    run = functools.partial(subprocess.run, capture_output=True, text=True, check=True, timeout=SECONDS)
    try:
        run([*git, "ls-files", "--error-unmatch", Path(__file__).name])  # else it is the repository of something else
        return run([*git, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""

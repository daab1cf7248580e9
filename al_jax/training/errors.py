"""Errors whose message is all a user needs; train.py prints it without a traceback."""


class RunError(Exception):
    """A run cannot go on; the message says what was wrong, what is allowed and what to do."""


class ConfigError(RunError):
    """A configuration that cannot run, found before anything is compiled."""


class Diverged(RunError):
    """A loss or a parameter became NaN or infinite."""


# What to do about what diverged.
REMEDY = "start anew with a smaller learning_rate; the last good checkpoint, if there is one, is kept"

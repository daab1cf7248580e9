"""Refusals of arguments that are not the kind of number that is needed."""

import operator
from typing import Any


def whole(name: str, value: Any, least: int = 1) -> int:
    """The value as an int.

    Raises:
      ValueError: it is not a whole number, or below `least`.
    """
    try:
        number = operator.index(value)
    except TypeError:
        raise ValueError(f"{name} is {value!r}: it must be a whole number") from None
    if number < least:
        raise ValueError(f"{name} is {number}: it must be {least} or more")
    return number


def not_negative(name: str, value: float) -> float:
    """The value.

    Raises:
      ValueError: it is below 0, or no number.
    """
    if not value >= 0:
        raise ValueError(f"{name} is {value}: it must be 0 or more")
    return value

"""Checks of arguments, and what the messages of all checks have in common."""

import math
import operator
from collections.abc import Iterable
from typing import Any


def whole(name: str, value: Any, least: int = 1) -> int:
    """The value as an int.

    Raises:
      ValueError: it is not a whole number, or below `least`.
    """
    try:
        number = operator.index(value)
    except TypeError:
        shown = repr(value) if "\n" not in repr(value) else f"a {type(value).__name__}"  # Flax modules take many lines
        raise ValueError(f"{name} is {shown}: it must be a whole number") from None
    if number < least:
        raise ValueError(f"{name} is {number}: it must be {least} or more")
    return number


def not_negative(name: str, value: float) -> float:
    """The value.

    Raises:
      ValueError: it is below 0, infinite, or no number.
    """
    if not _between(0, value, math.inf):
        raise ValueError(f"{name} is {value!r}: it must be 0 or more, and finite")
    return value


def share(name: str, value: float, at_0: str, at_1: str) -> float:
    """The value; `at_0` and `at_1` say what 0 and 1 mean.

    Raises:
      ValueError: it is not from 0 to 1, or no number.
    """
    if not _between(0, value, 1):
        raise ValueError(f"{name} is {value!r}: it must be from 0, {at_0}, to 1, {at_1}")
    return value


def several(name: str, values: Any) -> tuple[Any, ...]:
    """The values as a tuple.

    Raises:
      ValueError: it is a single one.
    """
    try:
        return tuple(values)
    except TypeError:
        raise ValueError(f"{name} is {values!r}: it must be a sequence, as in ({values!r},)") from None


def listed(names: Iterable[object]) -> str:
    """The names as in "1, 2 or 3"."""
    *others, last = map(str, names)
    return f"{', '.join(others)} or {last}" if others else last


def reason(error: BaseException, *, named: bool = False) -> str:
    """The first line of what an error says, its type where it says nothing, or before it if `named`."""
    kind, said = type(error).__name__, str(error).strip().split("\n")[0]
    if isinstance(error, KeyError) and not named:
        return f"there is no {said}"
    return f"{kind}: {said}" if named and said else said or kind


def _between(low: float, value: Any, high: float) -> bool:
    """Whether it is a finite number from low to high."""
    try:
        return bool(low <= value <= high) and math.isfinite(value)
    except TypeError:
        return False

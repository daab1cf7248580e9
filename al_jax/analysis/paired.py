"""Two trainings compared seed by seed: the difference is what one seed gives under both, not between two means."""

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

from scipy.stats import t as student


class Difference(NamedTuple):
    """Mean paired difference, with the interval that Student's t with n - 1 degrees of freedom gives for n pairs.

    Attributes:
      mean: of the differences, value minus reference.
      low: lower end of the two-sided confidence interval.
      high: upper end of it.
      bound: lower end of the one-sided interval of the same level; what non-inferiority is judged by.
    """

    mean: float
    low: float
    high: float
    bound: float

    def non_inferior(self, margin: float) -> bool:
        """Whether everything in the one-sided interval is less than `margin` below the reference."""
        return self.bound > -margin


def paired_difference(values: Sequence[float], reference: Sequence[float], level: float = 0.95) -> Difference:
    """Compares values with those of the reference for the same seeds, in the same order.

    Raises:
      ValueError: there are fewer than two pairs, or a value has no partner, or the level is not within 0 and 1.

    Example:
      >>> found = paired_difference([3.0, 4.0, 5.0], [2.0, 2.0, 2.0])
      >>> print(f"{found.mean:.2f} [{found.low:.2f}, {found.high:.2f}], at least {found.bound:.2f}")
      2.00 [-0.48, 4.48], at least 0.31
    """
    if not 0 < level < 1:
        raise ValueError(f"the level of confidence is {level}: it must lie between 0 and 1")
    differences = [value - other for value, other in zip(values, reference, strict=True)]
    if len(differences) < 2:
        raise ValueError(f"an interval needs at least 2 seeds, and there is {len(differences)}")
    mean = statistics.fmean(differences)
    error = statistics.stdev(differences) / math.sqrt(len(differences))
    one, two = (float(student.ppf(place, len(differences) - 1)) * error for place in (level, (1 + level) / 2))
    return Difference(mean, mean - two, mean + two, mean - one)

# SPDX-License-Identifier: MIT
"""Medians, and how well they are known."""

from math import comb
from statistics import median


def interval_of_median(values, confidence=0.95):
    """The interval between two order statistics that holds the median with at least CONFIDENCE, whatever the
    distribution (the sign test turned round). Below six values there is none: then it is the whole range, and less
    sure. Returns (low, high, coverage)."""
    values = sorted(values)
    count = len(values)
    rank, outside = 0, 0.0
    for candidate in range(count // 2):
        more = outside + comb(count, candidate) / 2 ** count
        if 2 * more > 1 - confidence:
            break
        rank, outside = candidate, more
    if rank == 0:
        outside = 1 / 2 ** count
    return values[rank], values[count - 1 - rank], 1 - 2 * outside


def summary(values):
    """A median with its interval, as it stands in the report; None without values."""
    values = [value for value in values if value is not None]
    if not values:
        return None
    low, high, coverage = interval_of_median(values)
    return {"median": median(values), "low": low, "high": high, "coverage": coverage, "count": len(values)}


def ratios(above, below):
    """The ratios of two lists of samples, round by round; a round that lacks one of the two counts for neither."""
    return [a / b for a, b in zip(above, below) if a is not None and b]


def differences(above, below):
    """The same of differences."""
    return [a - b for a, b in zip(above, below) if a is not None and b is not None]

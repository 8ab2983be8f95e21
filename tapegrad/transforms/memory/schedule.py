"""Where to take snapshots of a chain of steps that is to be gone through backwards with few of them.

With k snapshots (the first state is one), and no step evaluated more than r times to get on, a chain of
C(k + r, k) steps can be reversed. The choice of the first split keeps both parts within their bounds, so that
the sum of all evaluations is the least possible: r n - C(k + r, r - 1) of them, beside the n that are recorded.

Griewank & Walther 2000, Algorithm 799: Revolve.
"""

import math


def repetitions(n: int, k: int) -> int:
    """The least r with n <= C(k + r, k): how often a step is evaluated at most, to get on to later ones."""
    r = 0
    while math.comb(k + r, k) < n:
        r += 1
    return r


def evaluations(n: int, k: int) -> int:
    """The least number of steps evaluated only to get on, in reversing n of them with k snapshots.

    >>> [evaluations(10, k) for k in (1, 2, 3, 9)]
    [45, 20, 15, 9]
    """
    r = repetitions(n, k)
    return r * n - math.comb(k + r, r - 1) if r else 0


def split(n: int, k: int) -> int:
    """How far to go from a snapshot, over n > 1 steps and with k > 1 snapshots (this is one), to take the next.

    >>> split(10, 9), split(10, 2)
    (1, 6)
    """
    r = repetitions(n, k)
    # The part before is to do with r - 1 repetitions, the part after with one snapshot fewer.
    return max(1, min(math.comb(k + r - 1, k), n - math.comb(k + r - 2, k - 1)))

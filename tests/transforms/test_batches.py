"""Batches of cotangents: over the whole table, a batch gives what its rows give one by one."""

import numpy as np
import pytest

import tapegrad as tg
from tapegrad.entries import Leaf, leaf_of
from tapegrad.tape import replay
from tapegrad.testing import rules
from tapegrad.testing.check import parts_of
from tapegrad.testing.draw import Trial, checked, trials_of
from tapegrad.transforms.batches import Unbatched, replay_batch
from tapegrad.transforms.ways import OWN, WAYS, behind

TRIALS = [trial for known in checked() for trial in trials_of(known)]
ROWS = 3


def batch(shape, dtype, rng):
    """Cotangents for ROWS rows; one of them 0, and another one in part."""
    g = rng.standard_normal((ROWS, *shape))
    g = g + 1j * rng.standard_normal(g.shape) if np.dtype(dtype).kind == "c" else g
    g[1] *= rng.integers(0, 2, shape)
    g[2] = 0
    return g.astype(dtype)


def compare(roots, leaves, name):
    """The batches that arrive at the leaves against those of row after row."""
    targets = {leaf._entry[0]: leaf_of(leaf._entry) for leaf in leaves}
    try:
        arrived = dict(replay_batch(roots, targets))
    except Unbatched:
        return False
    for k in range(ROWS):
        row = dict(replay([(entry, g[k]) for entry, g in roots], True))
        assert set(row) <= set(arrived)
        for leaf, c in arrived.items():
            right = row.get(leaf, np.zeros(leaf.spec.shape, leaf.spec.dtype))
            assert c.shape == (ROWS, *leaf.spec.shape)
            assert c.dtype == leaf.spec.dtype
            assert rules.near(c[k], np.asarray(right), 64), (name, k, c[k], right)
    return True


def leaves_of(trial, rng, dtype):
    return [tg.tensor(a) for a in trial.draw(rng, dtype)]


@pytest.mark.parametrize("trial", TRIALS, ids=str)
def test_a_batch_gives_what_its_rows_give(trial: Trial) -> None:
    rng = rules.rng_of(trial)
    for dtype in (np.float64, np.complex128) if trial.cases.complex else (np.float64,):
        leaves = [t for t in leaves_of(trial, rng, dtype) if t.requires_grad]
        with np.errstate(all="ignore"):
            outputs = [y for y in parts_of(trial.run(*leaves)) if isinstance(y, tg.Tensor) and y.requires_grad]
        roots = [(y._entry, batch(y.shape, y.dtype, rng)) for y in outputs]
        if roots and not compare(roots, leaves, str(trial)):
            continue
        # The graph of the gradient, as hessian sweeps it.
        if not roots or trial.cases.order < 2 or dtype is not np.float64:
            continue
        seeds = [tg.tensor(rng.standard_normal(y.shape).astype(y.dtype)) for y in outputs]
        for y, seed in zip(outputs, seeds, strict=True):
            y.backward(seed, create_graph=True)
        gradients = [t.grad for t in leaves if t.grad is not None and t.grad.requires_grad]
        # Two operands, or two outputs, may end in one entry.
        roots = list({g._entry[0]: (g._entry, batch(g.shape, g.dtype, rng)) for g in gradients}.values())
        if roots:
            compare(roots, [*leaves, *seeds], str(trial))


def test_what_has_a_way_of_its_own_is_in_the_table():
    for function in (*WAYS, *OWN):
        assert function in tg.primitive.__globals__["TABLE"]


@pytest.mark.parametrize(
    "index",
    [
        0,
        (0, slice(1, 3)),
        (..., 1),
        np.array([0, 2, 2]),
        (slice(None), np.array([0, 1])),
        (np.array([0, 1]), 1),
        (None, np.array([[0], [1]])),
        np.array([[True, False, True, False]] * 3),
        (slice(1), None, [0, 1]),
    ],
)
def test_an_index_with_an_axis_in_front_reads_each_row(index):
    x = np.arange(2 * 3 * 4).reshape(2, 3, 4)
    np.testing.assert_array_equal(x[behind(index)], np.stack([row[index] for row in x]))


@pytest.mark.parametrize("index", [(np.array([0, 1]), slice(None), np.array([0, 1])), (0, slice(None), [1, 2]), True])
def test_an_index_whose_axes_would_move_is_left_to_the_rows(index):
    assert behind(index) is None


def test_hooks_and_writes_leave_it_to_the_rows():
    x = tg.tensor([1.0, 2.0])
    y = x * 2
    y.register_hook(lambda g: g * 3)
    with pytest.raises(Unbatched):
        replay_batch([((y * y)._entry, np.eye(2))], {x._entry[0]: Leaf(x._spec)})
    z = x * 2
    z[0] = x[1]
    with pytest.raises(Unbatched):
        replay_batch([((z * z)._entry, np.eye(2))], {x._entry[0]: Leaf(x._spec)})

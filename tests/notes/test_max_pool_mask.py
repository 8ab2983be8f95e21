"""Appendix B: max-pooling as a 0/1 matrix, by the index i_pq of the largest entry of each block.

I of shape (3, 4) is pooled by blocks of (3, 2), padding (1, 1), stride (1, 2): 1 + (3 + 2 - 3)/1 = 3 rows
and 1 + floor((4 + 2 - 2)/2) = 3 columns of blocks B_pq. Everything is counted from 1:

    i_pq             the place of the largest entry in vec(B_pq), which stacks columns: 1 to 6
    (r, s)           its position in the block: r = 1 + (i - 1) mod 3, s = 1 + floor((i - 1)/3)
    (p + r - 2, 2q + s - 3)   its place in I: p - 1 rows of stride 1 and q - 1 of stride 2 down and
                     across the padded I, less the padding of 1
    u = row + 3 (column - 1)  its number in vec(I): the column of the Jacobian where row (p, q) has its 1

The note pads with zeros, and tapegrad (as PyTorch) with minus infinity, so that padding never wins. For
positive input the two agree, since there the largest entry of a block is never a padded zero; so the input
here is positive, but for the last test, which shows the difference.
"""

import numpy as np
from formulas import close, jacobian, max_pool_jacobian, padded, places_columnwise, unit, vec

import tapegrad as tg
from tapegrad import nn

KERNEL, PADDING, STRIDE = (3, 2), (1, 1), (1, 2)

EXAMPLE = np.array([[5.0, 9.0, 1.0, 12.0], [2.0, 7.0, 11.0, 3.0], [8.0, 13.0, 6.0, 4.0]])

# (p, q): i_pq, its block position (r, s), its place in I, its number u in vec(I); found by eye in
#
#     0  0 |  0  0 |  0  0
#     0  5 |  9  1 | 12  0
#     0  2 |  7 11 |  3  0
#     0  8 | 13  6 |  4  0
#     0  0 |  0  0 |  0  0
BY_EYE = {
    (1, 1): (5, (2, 2), (1, 1), 1),
    (2, 1): (6, (3, 2), (3, 1), 3),
    (3, 1): (5, (2, 2), (3, 1), 3),
    (1, 2): (6, (3, 2), (2, 3), 8),
    (2, 2): (3, (3, 1), (3, 2), 6),
    (3, 2): (2, (2, 1), (3, 2), 6),
    (1, 3): (2, (2, 1), (1, 4), 10),
    (2, 3): (1, (1, 1), (1, 4), 10),
    (3, 3): (2, (2, 1), (3, 4), 12),
}


def by_formula(image):
    """The same table by the note's formulas: for each block i_pq, (r, s), the place in I, and u."""
    table = {}
    zero_padded = padded(image, PADDING)
    for p, q in ((p + 1, q + 1) for p, q in places_columnwise((3, 3))):
        block = zero_padded[p - 1 : p + 2, 2 * q - 2 : 2 * q]
        i = int(np.argmax(vec(block))) + 1
        r, s = 1 + (i - 1) % 3, 1 + (i - 1) // 3
        row, column = p + r - 2, 2 * q + s - 3
        table[p, q] = i, (r, s), (row, column), row + 3 * (column - 1)
    return table


def positive(seed):
    """A positive I without ties."""
    return np.random.default_rng(seed).uniform(0.1, 1, (3, 4))


def pooled(image):
    """The leaf I and the recorded O, both (1, 1, rows, columns)."""
    leaf = tg.tensor(image.reshape(1, 1, 3, 4))
    return leaf, nn.max_pool2d(leaf, KERNEL, STRIDE, PADDING)


def test_the_indices_block_positions_and_places_of_an_example_are_those_found_by_eye():
    """i_pq, (r, s) = (1 + (i - 1) mod 3, 1 + floor((i - 1)/3)), (p + r - 2, 2q + s - 3), u = row + 3 (column - 1)."""
    assert by_formula(EXAMPLE) == BY_EYE


def test_an_output_is_the_entry_of_I_at_its_place():
    """o_pq = I at (p + r - 2, 2q + s - 3) = entry i_pq of vec(B_pq)."""
    _leaf, output = pooled(EXAMPLE)
    expected = np.array(
        [[EXAMPLE[place[0] - 1, place[1] - 1] for place in (BY_EYE[p, q][2] for q in (1, 2, 3))] for p in (1, 2, 3)]
    )
    close(output.data[0, 0], expected)
    blocks = {(p, q): padded(EXAMPLE, PADDING)[p - 1 : p + 2, 2 * q - 2 : 2 * q] for p, q in BY_EYE}
    for (p, q), (i, (r, s), _place, _u) in BY_EYE.items():
        assert vec(blocks[p, q])[i - 1] == blocks[p, q][r - 1, s - 1] == expected[p - 1, q - 1]


def test_each_block_gives_its_cotangent_to_the_place_of_its_index_alone():
    """do_pq/dI = E at the place of i_pq: unit seeds, block by block."""
    leaf, output = pooled(EXAMPLE)
    for (p, q), (_i, _position, (row, column), _u) in BY_EYE.items():
        leaf.zero_grad()
        output.backward(unit((1, 1, 3, 3), (0, 0, p - 1, q - 1)), retain_graph=True)
        close(leaf.grad[0, 0], unit((3, 4), (row - 1, column - 1)))


def test_the_jacobian_is_zeros_and_ones_with_one_1_a_row():
    """d vec O / d vec I, 9 x 12: row (p, q), in the order of vec, has its single 1 in column u."""
    for image in (EXAMPLE, *(positive(seed) for seed in range(5))):
        leaf, output = pooled(image)
        found = jacobian(output, leaf, vec)
        expected = np.zeros((9, 12))
        for row, (_i, _position, _place, u) in enumerate(by_formula(image).values()):
            expected[row, u - 1] = 1
        close(found, expected)
        close(found, max_pool_jacobian(image, KERNEL, PADDING, STRIDE))
        assert set(np.unique(found)) == {0.0, 1.0}
        assert np.all(np.count_nonzero(found, axis=1) == 1)


def test_the_gradient_of_the_input_is_the_transposed_mask_times_vec_dO():
    """vec dI = (d vec O / d vec I)^T vec dO: an entry that is the largest of several blocks gets their sum."""
    for seed in range(5):
        image, dO = positive(seed), np.random.default_rng(100 + seed).standard_normal((1, 1, 3, 3))
        leaf, output = pooled(image)
        output.backward(dO)
        close(vec(leaf.grad), max_pool_jacobian(image, KERNEL, PADDING, STRIDE).T @ vec(dO))


def test_the_forward_is_the_mask_times_vec_I_for_positive_input():
    """vec O = (d vec O / d vec I) vec I: max-pooling is linear as long as the indices stay."""
    for seed in range(5):
        image = positive(seed)
        _leaf, output = pooled(image)
        close(vec(output.data), max_pool_jacobian(image, KERNEL, PADDING, STRIDE) @ vec(image))


def test_of_negative_input_the_zeros_of_the_note_would_win_and_minus_infinity_never_does():
    """Why the input above is positive: of I < 0 the note's rows at the border hold no 1, ours always one."""
    image = -positive(0)
    leaf, output = pooled(image)
    assert np.all(output.data < 0)
    assert np.all(np.count_nonzero(jacobian(output, leaf, vec), axis=1) == 1)
    # Block (2, 2) alone meets no padding.
    assert np.count_nonzero(max_pool_jacobian(image, KERNEL, PADDING, STRIDE)) == 1

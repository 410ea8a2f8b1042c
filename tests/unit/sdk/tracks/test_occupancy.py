"""Counts of tracks: the rule of pooling without changes, every path of the Markov chain with them."""

import itertools

import numpy as np
import pytest

from segdepth.tracks.occupancy import STEPS_D, SUMS_CORRELATION, Counts, response_at, step_probability
from segdepth_protos.contract import CLASSES
from segdepth_protos.pooling import pooled

PRIOR = np.random.default_rng(1).dirichlet(np.full(CLASSES, 10.0), 2)
CORRELATION = 0.3
NONE = np.zeros(0, np.int64)


def posteriors(rng, rows):
    return rng.dirichlet(np.full(CLASSES, 2.0), rows)


def counted(said_FNK, species=(0, 1, 1)):
    counts = Counts(PRIOR, CORRELATION)
    counts.grow(np.array(species))
    for said in said_FNK:
        counts.add(np.arange(len(species)), said, np.array(species), NONE)
    return counts


def through_of(pieces, prior, steps):
    """Posterior in each piece by enumeration. pieces: log evidence [piece, K], tempered; steps: [change, D]."""
    of = np.zeros((len(pieces), CLASSES))
    for path in itertools.product(range(CLASSES), repeat=len(pieces)):
        weight = np.log(prior[path[0]]) + sum(piece[n] for piece, n in zip(pieces, path, strict=True))
        moves = [steps[i][b - a + CLASSES - 1] for i, (a, b) in enumerate(itertools.pairwise(path))]
        for piece, n in enumerate(path):
            of[piece, n] += np.exp(weight) * np.prod(moves)
    return of / of.sum(axis=1, keepdims=True)


def test_without_changes_it_is_the_rule_of_pooling():
    said = np.stack([posteriors(np.random.default_rng(i), 3) for i in range(20)])
    rule = pooled(said, PRIOR[[0, 1, 1]], CORRELATION).posterior
    np.testing.assert_allclose(counted(said).posterior(), rule, rtol=1e-6)


def test_a_column_that_a_frame_takes_for_another_species_has_its_own_prior():
    """What a frame says is told against what it takes the column for; the track's prior is that of its species."""
    rng = np.random.default_rng(0)
    said = np.stack([posteriors(rng, 1) for _ in range(6)])
    counts = Counts(PRIOR, CORRELATION)
    counts.grow(np.array([1]))
    for number, one in enumerate(said):
        counts.add(np.arange(1), one, np.array([1 if number == 0 else 0]), NONE)
        counts.believe(np.array([0 if number >= 2 else 1]))
    beta = 1 / (1 + 5 * CORRELATION)
    told = np.log(said[:, 0]) - np.log(PRIOR[[1, 0, 0, 0, 0, 0]])
    expected = np.exp(np.log(PRIOR[0]) + beta * told.sum(axis=0))
    np.testing.assert_allclose(counts.posterior()[0], expected / expected.sum(), rtol=1e-5)


@pytest.mark.parametrize("changes", [(7,), (4, 11)])
def test_with_changes_it_is_every_path_by_its_weight(changes):
    frames, rng = 16, np.random.default_rng(3)
    said = np.stack([posteriors(rng, 3) for _ in range(frames)])
    steps = [step_probability(height, 0.5) for height in (-0.8, 0.5)[: len(changes)]]
    counts = Counts(PRIOR, CORRELATION)
    counts.grow(np.array([0, 1, 1]))
    for number in range(frames):
        counts.add(np.arange(3), said[number], np.array([0, 1, 1]), NONE)
        for moment, step in zip(changes, steps, strict=True):
            if number == moment + 2:
                counts.change(1, 3, step)
    beta = 1 / (1 + (frames - 1) * CORRELATION)
    told = beta * (np.log(said[:, 1]) - np.log(PRIOR[1]))
    pieces = [piece.sum(axis=0) for piece in np.split(told, changes)]
    expected = through_of(pieces, PRIOR[1], steps)
    np.testing.assert_allclose(counts.through(1), expected, rtol=1e-3, atol=2e-6)
    np.testing.assert_allclose(counts.posterior()[1], expected[-1], rtol=1e-3, atol=2e-6)
    rest = pooled(said, PRIOR[[0, 1, 1]], CORRELATION).posterior
    np.testing.assert_allclose(counts.posterior()[[0, 2]], rest[[0, 2]], rtol=1e-6)


def test_many_changes_forget_only_what_is_long_past():
    rng, counts = np.random.default_rng(5), Counts(PRIOR, CORRELATION)
    counts.grow(np.zeros(1, np.int64))
    for number in range(400):
        low = 3 if number // 20 % 2 else 7
        said = np.exp(-0.5 * (np.arange(CLASSES) - low - rng.normal(0, 0.3)) ** 2)[None]
        counts.add(np.arange(1), said / said.sum(), np.zeros(1, np.int64), NONE)
        if number % 20 == 4 and number > 20:
            counts.change(0, 5, step_probability(2.0 if low == 7 else -2.0, 0.5))
    assert len(counts.pieces[0]) == 12
    means = counts.through(0) @ np.arange(CLASSES)
    assert (np.sign(np.diff(means)) == [1, -1] * 6).all()


def test_missed_columns_lose_their_atoms():
    counts = counted(np.tile(np.eye(CLASSES)[None, [5, 5, 5]] * 0.9 + 0.01, (3, 1, 1)))
    for _ in range(30):
        counts.add(np.array([0, 2]), np.eye(CLASSES)[[5, 5]] * 0.9 + 0.01, np.array([0, 1]), np.array([1]))
    assert counts.posterior().argmax(axis=1).tolist() == [5, 0, 5]


class TestSums:
    """Registered sums take the frames' place, each on its side of a change."""

    FRAMES = 40

    def counted(self, sums, change=None, announced=None):
        """A track of FRAMES frames; sums: (first, last, posterior), each told when it is complete."""
        rng, counts = np.random.default_rng(2), Counts(PRIOR, CORRELATION)
        counts.grow(np.array([0, 1]))
        for number in range(self.FRAMES):
            counts.add(np.arange(2), posteriors(rng, 2), np.array([0, 1]), NONE)
            for first, last, said in sums:
                if last == number:
                    counts.add_sum(np.array([1]), said[None], np.array([1]), first, last)
            if announced == number:
                counts.change(1, number + 1 - change, np.eye(len(STEPS_D))[CLASSES - 1 - 2])
        return counts

    def evidence(self, *said):
        worth = 1 / (1 + (len(said) - 1) * SUMS_CORRELATION)
        return sum((np.log(one) - np.log(PRIOR[1]) for one in said), np.zeros(CLASSES)) * worth

    SAID = np.random.default_rng(8).dirichlet(np.full(CLASSES, 3.0), 4)

    def test_without_a_change(self):
        counts = self.counted([(0, 9, self.SAID[0]), (10, 19, self.SAID[1])])
        expected = np.exp(np.log(PRIOR[1]) + self.evidence(*self.SAID[:2]))
        np.testing.assert_allclose(counts.posterior()[1], expected / expected.sum(), rtol=1e-6)

    @pytest.mark.parametrize(
        "change, before, after",
        [
            (20, [0, 1], [2, 3]),  # the first frame of a sum
            (19, [0], [2, 3]),  # its last one
            (25, [0, 1], [3]),
        ],
    )
    def test_a_sum_over_the_change_says_nothing(self, change, before, after):
        sums = [(10 * i, 10 * i + 9, self.SAID[i]) for i in range(4)]
        counts = self.counted(sums, change, 39)
        (piece,) = counts.pieces[1]
        told = np.log(self.SAID) - np.log(PRIOR[1])
        np.testing.assert_allclose(piece.sums, told[before].sum(axis=0), atol=1e-9)
        assert piece.sums_number == len(before)
        np.testing.assert_allclose(counts._sums[1], told[after].sum(axis=0), atol=1e-9)
        assert counts._sums_number[1] == len(after)

    def test_a_sum_that_comes_after_the_change_was_found_says_nothing_either(self):
        counts = self.counted([(20, 29, self.SAID[2]), (30, 39, self.SAID[3])], 24, 27)
        np.testing.assert_allclose(counts._sums[1], np.log(self.SAID[3]) - np.log(PRIOR[1]), atol=1e-9)

    def test_a_sum_over_two_changes_is_taken_out_once(self):
        rng, counts = np.random.default_rng(2), Counts(PRIOR, CORRELATION)
        counts.grow(np.array([0, 1]))
        for _ in range(30):
            counts.add(np.arange(2), posteriors(rng, 2), np.array([0, 1]), NONE)
        counts.add_sum(np.array([0, 1]), self.SAID[:2], np.array([0, 1]), 0, 29)
        step_D = np.eye(len(STEPS_D))[CLASSES - 1 - 2]
        counts.change(1, 20, step_D)
        counts.change(1, 10, step_D)
        assert [piece.sums_number for piece in counts.pieces[1]] == [0, 0]
        np.testing.assert_allclose(counts.pieces[1][1].sums, 0, atol=1e-12)
        assert counts._sums_number.tolist() == [1, 0]


def test_rows_that_go_take_nothing_with_them():
    rng = np.random.default_rng(4)
    said = np.stack([posteriors(rng, 3) for _ in range(12)])
    counts, rows = counted(said), np.array([False, True, True])
    counts.add_sum(np.arange(3), said[0], np.array([0, 1, 1]), 8, 11)
    counts.change(2, 3, step_probability(1.0, 0.5))
    whole = counts.posterior()
    counts.keep(rows)
    np.testing.assert_allclose(counts.posterior(), whole[rows])
    counts.change(0, 4, step_probability(-1.0, 0.5))
    assert counts.pieces[0][0].sums_number == 0
    assert len(counts) == 2


def test_steps_follow_the_height():
    for height in (-1.2, -0.5, 0.5, 1.2):
        step_D = step_probability(height, response_at(500, 0))
        assert step_D.sum() == pytest.approx(1)
        assert step_D[STEPS_D == 0] == 0
        assert np.sign(STEPS_D @ step_D) == np.sign(height)
    assert response_at(500, 0) > response_at(500, 1) > response_at(200, 5)

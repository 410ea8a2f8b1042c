"""Which frames a benchmark's report shows: those with most stated probability on wrong counts."""

import numpy as np

from segdepth_core.scoring import ROW
from segdepth_training.benchmark.worst import DOSE, worst


def frame(specimen: int, family: str, right: float, sure: float, dose: float = DOSE) -> np.ndarray:
    """Rows of 100 columns, the wrong ones stated at `sure`."""
    rows = np.zeros(100, ROW)
    rows["specimen"], rows["family"], rows["dose"], rows["found"] = specimen, family, dose, True
    rows["true"] = 5
    wrong = np.arange(100) >= 100 * right
    rows["count"] = np.where(wrong, 6, 5)
    rows["p_count"] = np.where(wrong, sure, 0.9)
    return rows


def test_the_surest_errors_come_first():
    rows = np.concatenate(
        [
            frame(0, "paper", 0.2, 0.4),
            frame(3, "paper", 0.5, 0.95),
            frame(6, "paper", 1.0, 0.0),
            frame(9, "paper", 0.6, 0.5),
            frame(12, "paper", 0.0, 1.0, dose=100.0),
            frame(1, "perturbed", 0.9, 0.5),
        ]
    )
    found = worst(rows)
    assert [(one.family, one.specimen) for one in found] == [("paper", 3), ("paper", 0), ("perturbed", 1)]
    assert found[0].right == 0.5
    np.testing.assert_allclose(found[0].sure, 0.95, atol=1e-6)


def test_columns_that_were_not_found_state_nothing():
    rows = frame(0, "paper", 0.5, 0.8)
    rows["found"][50:] = False
    assert worst(rows)[0].sure == 0

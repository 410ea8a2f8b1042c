"""Columns as tables of pandas and arrow, of one frame and of a movie."""

import builtins

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import segdepth
from segdepth import Gap, GapReason, errors
from tests.answers import result

NAMES = ["x_px", "y_px", "x_A", "y_A", "species", "count", "p_count", "lo90", "hi90", "abstained"]
"""As in columns.csv."""


def answers():
    return [result(0), result(1, suspect=True), Gap(2, 4, GapReason.DROPPED), result(5, refused=True), result(6)]


class TestColumns:
    def test_as_pandas(self):
        columns = result().columns
        frame = columns.to_pandas()
        assert list(frame) == NAMES
        # In the order of the columns, and no digit of a position lost.
        np.testing.assert_array_equal(frame["x_px"], columns.x_px)
        np.testing.assert_array_equal(frame["x_A"], columns.x_A)
        assert list(frame["species"]) == ["Ce", "O", "Ce"]
        assert frame["p_count"].tolist() == pytest.approx([0.62361] * 3)
        assert frame["abstained"].tolist() == [False, True, False]

    def test_counts_may_be_subtracted(self):
        frame = result().columns.to_pandas()
        assert (frame["lo90"] - frame["count"]).tolist() == [-1] * 3

    def test_as_arrow(self):
        table = result().columns.to_arrow()
        assert table.column_names == NAMES
        units = {field.name: (field.metadata or {}).get(b"unit", b"").decode() for field in table.schema}
        assert units == {
            **dict.fromkeys(NAMES, ""),
            **dict.fromkeys(["x_px", "y_px"], "px"),
            **dict.fromkeys(["x_A", "y_A"], "Å"),
            **dict.fromkeys(["count", "lo90", "hi90"], "atoms"),
        }
        assert table["species"].to_pylist() == ["Ce", "O", "Ce"]
        assert table["count"].type == pa.uint8()

    def test_of_a_refused_frame(self):
        columns = result(refused=True).columns
        assert list(columns.to_pandas()) == NAMES
        assert len(columns.to_pandas()) == columns.to_arrow().num_rows == 0
        assert columns.to_arrow().schema == result().columns.to_arrow().schema

    @pytest.mark.parametrize("library, method", [("pandas", "to_pandas"), ("pyarrow", "to_arrow")])
    def test_what_is_not_installed_is_said(self, monkeypatch, library, method):
        real = builtins.__import__

        def without(name, *rest):
            if name.partition(".")[0] == library:
                raise ImportError(name)
            return real(name, *rest)

        monkeypatch.setattr(builtins, "__import__", without)
        with pytest.raises(errors.NotInstalled, match=r"pip install 'segdepth\[pandas\]'"):
            getattr(result().columns, method)()
        if library == "pandas":
            assert result().columns._repr_html_() is None


class TestMovie:
    def test_one_table(self):
        table = segdepth.table(answers())
        frame = table.to_pandas()
        assert list(frame) == ["frame", *NAMES, "status"]
        assert frame["frame"].tolist() == [0] * 3 + [1] * 3 + [6] * 3
        assert frame["status"].tolist() == ["ok"] * 3 + ["suspect"] * 3 + ["ok"] * 3
        assert len(table) == 9
        np.testing.assert_array_equal(table["count"], [5] * 9)

    def test_frames_without_columns_are_not_forgotten(self):
        table = segdepth.table(answers())
        assert (table.frames, table.refused, table.gaps) == (4, (5,), (Gap(2, 4, GapReason.DROPPED),))
        assert repr(table) == "Table(rows=9, frames=4, refused=1, gaps=3)"

    def test_of_nothing(self):
        table = segdepth.table([])
        assert len(table) == 0
        assert table.to_arrow().schema == segdepth.table(answers()).to_arrow().schema

    def test_of_one_answer(self):
        assert segdepth.table(result(4))["frame"].tolist() == [4] * 3
        assert segdepth.table(Gap(0, 1, GapReason.FAILED)).gaps[0].last == 1

    def test_units_survive_parquet(self, tmp_path):
        pq.write_table(segdepth.table(answers()).to_arrow(), tmp_path / "movie.parquet")
        again = pq.read_table(tmp_path / "movie.parquet")
        assert again.schema.field("x_A").metadata[b"unit"].decode() == "Å"
        pd.testing.assert_series_equal(
            again.to_pandas()["x_A"], segdepth.table(answers()).to_pandas()["x_A"], check_names=True
        )

    def test_what_is_no_answer(self):
        async def stream():
            yield result()

        for wrong, says in (
            (None, "answers"),
            (np.array(1), "answers"),
            ("a", "answers"),
            ([1], "a FrameResult or a Gap"),
            (stream(), "async for answer"),
        ):
            with pytest.raises(errors.InvalidType, match=says):
                segdepth.table(wrong)

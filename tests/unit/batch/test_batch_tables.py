"""The tables of a job's chunks: what `segdepth estimate` writes, and what earlier chunks have stays readable."""

from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from segdepth.export import CSV_HEADER
from segdepth_batch.plan import Chunk, Input
from segdepth_batch.tables import COLUMNS, CONDITIONS, write_columns, write_frames
from tests.answers import SHAPE, result

MOVIE = Input(
    name="0000-m",
    source="m.mrc",
    size_bytes=1,
    tag="",
    frames=4,
    dtype="u1",
    height=SHAPE[0],
    width=SHAPE[1],
    sampling_A=0.123,
    chunk_frames=2,
)


def chunk(number: int) -> Chunk:
    return Chunk(movie=MOVIE, number=number, first=2 * number, frames=2)


def test_every_row_says_the_verdict_of_its_frame(tmp_path: Path) -> None:
    answers = [result(0), result(1, refused=True), result(2, suspect=True)]
    assert write_columns(tmp_path / "c.parquet", chunk(0), answers) == 6
    table = pd.read_parquet(tmp_path / "c.parquet")
    assert list(table.columns) == ["source", "chunk", *CSV_HEADER.strip().split(",")]
    assert list(zip(table["frame"], table["status"], strict=True)) == [(0, "ok")] * 3 + [(2, "suspect")] * 3


def test_a_frame_says_how_it_was_taken_where_it_tells(tmp_path: Path) -> None:
    one = {"frame": 0, "status": "ok", "columns": 3, "dose_per_A2": 500.0, "why": ""}
    taken = dict(zip(CONDITIONS, (0.5, 0.1, 0.3, 0.04, 46.0, 6.0), strict=True))
    write_frames(tmp_path / "f.parquet", chunk(0), [one | taken, one | {"frame": 1, "status": "refused"}])
    table = pd.read_parquet(tmp_path / "f.parquet")
    assert table["vibration_A"][0] == 0.3
    assert table["defocus_A_error"].isna().tolist() == [False, True]


def test_a_chunk_without_columns_has_the_same_schema(tmp_path: Path) -> None:
    assert write_columns(tmp_path / "c.parquet", chunk(0), [result(0, refused=True)]) == 0
    assert pq.read_schema(tmp_path / "c.parquet").equals(COLUMNS)


@pytest.mark.parametrize("earlier", [0, 1], ids=["first", "last"])
def test_a_job_begun_by_an_earlier_version_stays_readable(tmp_path: Path, earlier: int) -> None:
    for number in (0, 1):
        path = tmp_path / f"0000-m.{number:06d}.parquet"
        write_columns(path, chunk(number), [result(2 * number)])
        if number == earlier:
            pq.write_table(pq.read_table(path).drop_columns("status"), path)
    table = pd.read_parquet(tmp_path)
    assert table["frame"].tolist() == [0] * 3 + [2] * 3
    assert table["count"].tolist() == [5] * 6

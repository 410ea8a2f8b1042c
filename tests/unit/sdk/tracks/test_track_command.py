"""`segdepth track`: its report, and what of its options is said before anything is asked."""

import pickle
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from segdepth.cli.app import app
from segdepth.cli.track_report import SHOWN_CHANGES, report
from segdepth.tracks.regions import Region, Regions
from segdepth.tracks.results import TrackState
from segdepth.tracks.tally import TrackTally
from tests.tracked import change, movie, tracked, without


def tally(frames, regions=None):
    """What became of the frames."""
    counted = TrackTally(regions)
    for frame in frames:
        counted.add(frame)
    return counted


def said(counted, **given):
    return "\n".join(report("m.mrc", counted, 2.0, **given))


class TestReport:
    def test_of_a_movie(self):
        text = said(tally(movie(40), Regions([Region("corner", 0, 0, 4, 4)])), where="out/m.*", notes=["a note"])
        lines = [line.strip() for line in text.splitlines()]
        assert lines[0] == (
            "m.mrc: 36 of 40 frames tracked, 2 refused, 1 missing, 1 lost in 2.0 s, f 7 (torch-fp32) → out/m.*"
        )
        assert '2 refused: dose 9 e/Å², "too low", permitted from 10' in lines
        assert "tracks: 30 Ce, 30 O" in lines
        assert "drift: 0.4 Å along x, 0.8 Å along y, up to 0.9 Å from where it began, turned by up to 0.1°" in lines
        assert "2 changes:" in lines
        assert "track 3     O   5 → 3   frame 10 (9-12)          p 0.97" in lines
        assert "atoms of the columns seen in both, frame 0 → 29:" in lines
        assert "atoms of the columns seen in both, frame 31 → 39:" in lines
        assert any(line.startswith("corner Ce: 2.") and line.endswith("in 1 column") for line in lines)
        assert "not told: 4 frames tell nothing of the columns; what hopped there and back is not seen" in lines
        assert lines[-1] == "a note"

    def test_nothing_hopped(self):
        text = said(tally(tracked(number) for number in range(3)))
        assert "changes: none beyond the stated rate of false alarms" in text
        assert "not told" not in text

    def test_nothing_was_tracked(self):
        text = said(tally([without(0, TrackState.REFUSED, "noise")]))
        assert text.splitlines() == [
            "m.mrc: 0 of 1 frames tracked, 1 refused in 2.0 s, no model answered",
            "  1 refused: noise",
        ]

    def test_an_empty_movie(self):
        assert said(tally([])) == "m.mrc: 0 of 0 frames tracked in 2.0 s, no model answered"

    def test_memory_does_not_grow_with_the_segments(self):
        counted, sizes = TrackTally(), []
        for segment in range(300):
            frame = tracked(segment)
            columns = replace(frame.columns, track=frame.columns.track + 30 * segment)
            counted.add(replace(frame, segment=segment, columns=columns))
            sizes.append(len(pickle.dumps(counted)))
        assert counted.tracks == {"Ce": 300 * 15, "O": 300 * 15}
        assert sizes[299] < 1.01 * sizes[149]

    def test_of_many_changes_the_surest(self):
        changes = tuple(change(track, 10, 5, 3, 0.5 + track / 100) for track in range(30))
        text = said(tally([tracked(12, changes=changes)]))
        assert "30 changes; the surest:" in text
        assert text.count("\n    track ") == SHOWN_CHANGES
        assert "track 29 " in text
        assert "track 0 " not in text

    def test_a_region_without_a_column_is_said(self):
        regions = Regions([Region("corner", 0, 0, 4, 4), Region("beyond", 900, 900, 950, 950)])
        text = said(tally([tracked(0), tracked(1)], regions))
        assert "beyond: no column; a region is in Å of the segment's first frame" in text
        assert "corner: no column" not in text

    def test_without_a_column_seen_twice_there_is_no_heading_of_atoms(self):
        assert "atoms of the columns" not in said(tally([tracked(0, 0), tracked(1, 0)]))

    def test_columns_of_which_no_count_is_likely_are_said(self):
        assert "no count has a probability of 0.5" in said(tally([tracked(0, spread=1.5)]))


class TestTally:
    def test_reasons_that_are_all_different_do_not_pile_up(self, monkeypatch):
        monkeypatch.setattr("segdepth.tracks.tally.KEPT_REASONS", 3)
        counted = tally(without(n, TrackState.REFUSED, f"dose {n}") for n in range(10))
        assert sum(counted.reasons.values()) == 10
        assert counted.reasons[TrackState.REFUSED, "other reasons"] == 7

    def test_of_very_many_changes_the_surest_are_kept(self, monkeypatch):
        monkeypatch.setattr("segdepth.tracks.tally.KEPT_CHANGES", 3)
        frames = [tracked(n, changes=(change(n, n, 2, 1, p),)) for n, p in enumerate((0.9, 0.6, 0.7, 0.8, 0.95))]
        counted = tally(frames)
        assert [one.p_changed for one in counted.changes] == [0.9, 0.8, 0.95]
        assert counted.changed.total() == 5

    def test_what_drifts_in_is_no_change_of_the_specimen(self):
        (span,) = tally([tracked(0, 20), tracked(1, 25), tracked(2, 30)]).spans()
        assert (span.first, span.last) == (0, 2)
        assert [one.columns for one in span.before] == [one.columns for one in span.after] == [10, 10]
        assert span.after[0].atoms == pytest.approx(span.before[0].atoms, abs=0.6)

    def test_a_beginning_without_columns_is_none(self):
        (span,) = tally([tracked(0, 0), tracked(1, 1), tracked(2, 20), tracked(3, 30), tracked(4, 30)]).spans()
        assert (span.first, span.last, span.before[0].columns) == (2, 4, 10)

    def test_two_models(self):
        first = tracked(0)
        other = replace(tracked(1), model=replace(first.model, version="8"))
        assert [model["version"] for model in tally([first, other, first]).as_dict()["models"]] == ["7", "8"]


@pytest.mark.parametrize(
    "options, word",
    [
        (("--live", "--lag", "5"), "--lag 5"),
        (("--hop-rate", "1.5"), "--hop-rate: 1.5 is no probability from 0 to 0.1"),
        (("--false-alarms", "0"), "--false-alarms: 0 "),
        (("--lag", "-1"), "--lag: -1 "),
        (("--summed", "1"), "--summed: 1 "),
        (("--region", "surface"), "NAME=x0,y0,x1,y1"),
        (("--region", "a=0,0,1,1", "--region", "a=0,0,2,2"), "more than once"),
        (("--plot", "twelve"), "twelve"),
        (("--format", "csv,xyz"), "parquet"),
    ],
)
def test_unusable_options_end_the_command(options, word):
    done = CliRunner().invoke(app, ["track", "no.mrc", *options])
    assert done.exit_code == 2
    assert word in done.stderr


def test_help_has_examples():
    done = CliRunner().invoke(app, ["track", "--help"])
    assert done.exit_code == 0
    assert "[camera]" in done.stdout
    assert "segdepth track movie.mrc --out results" in done.stdout

"""Pictures of tracks: the right ones, of the right frames, with what they say where it is."""

import io
import json

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from segdepth.errors import CannotWrite, InvalidFrame
from segdepth.export.atomic import AtomicFile
from segdepth.export.track_history import History
from segdepth.export.track_movie import MOST_PICTURES, Thinned, draw_movie
from segdepth.export.track_panels import GAINED, GAP_PX, HEAD_PX, LOST, Brightness, Panels, count_colours
from segdepth.export.track_plot import MOST_PLOTS, chosen_tracks, series_of, track_numbers, track_png
from segdepth.export.tracks import TracksExport
from segdepth.files import open_movie
from segdepth.tracks.results import TrackState
from tests.tracked import FRAMES, SAMPLING_A, SHAPE, at_most, change, movie, picture, tracked, without, write_movie

CHANGES = [change(3, 10, 5, 3), change(8, 20, 3, 4, 0.6)]


@pytest.fixture
def history(tmp_path):
    kept = History(tmp_path)
    for frame in movie(FRAMES):
        kept.add(frame)
    yield kept
    kept.close()


def records(*frames):
    """Frames as they are kept."""
    return list(iter_history(frames))


def iter_history(frames):
    kept = History(None)
    for frame in frames:
        kept.add(frame)
    yield from kept
    kept.close()


def near(image, x, y, colour, radius=14, within=60):
    """Whether a colour is somewhere near a place in a picture."""
    pixels = np.asarray(image.convert("RGB"), int)
    around = pixels[max(0, round(y) - radius) : round(y) + radius, max(0, round(x) - radius) : round(x) + radius]
    return bool((np.abs(around - colour).sum(axis=-1) < within).any())


class TestHistory:
    def test_frames_come_back(self, history):
        kept = list(history)
        assert [record.sequence for record in kept] == list(range(FRAMES))
        assert [record.state for record in kept].count(TrackState.TRACKED) == 36
        assert kept[5].why == 'dose 9 e/Å², "too low", permitted from 10'
        frame = tracked(1)
        assert kept[1].columns["track"].tolist() == frame.columns.track.tolist()
        np.testing.assert_allclose(kept[1].columns["x_px"], frame.columns.x_px, atol=1e-3)
        assert [record.sequence for record in history] == list(range(FRAMES)), "as often as wanted"

    def test_nothing_of_it_is_in_the_folder(self, tmp_path, history):
        assert not list(tmp_path.iterdir())

    def test_of_an_endless_movie_the_last_frames_are_kept(self, tmp_path, monkeypatch):
        monkeypatch.setattr("segdepth.export.track_history.KEPT_FRAMES", 10)
        kept = History(tmp_path)
        for number in range(35):
            kept.add(without(number, TrackState.MISSING, "dropped"))
        assert [record.sequence for record in kept] == list(range(20, 35))
        assert kept.dropped == 20
        kept.close()


class TestChoice:
    def test_the_surest_changes_are_drawn(self):
        changes = [change(track, 10, 5, 3, 0.5 + track / 100) for track in range(25)]
        tracks, more = chosen_tracks("changed", [*changes, *changes])
        assert (tracks, more) == (list(range(24, 4, -1)), 5)
        assert len(tracks) == MOST_PLOTS

    def test_numbers(self):
        assert chosen_tracks("12, 57,12", CHANGES) == ([12, 57], 0)
        assert chosen_tracks("none", CHANGES) == ([], 0)

    @pytest.mark.parametrize("plot", ["", "twelve", "1;2", ",".join(map(str, range(21)))])
    def test_what_is_no_choice(self, plot):
        with pytest.raises(InvalidFrame, match="plot"):
            track_numbers(plot)


class TestPlot:
    def test_a_series_knows_where_it_is_not_shown(self, history):
        series = series_of(history, [3, 8, 99])
        assert set(series) == {3, 8}
        assert np.flatnonzero(~series[3].shown).tolist() == [5, 6, 13, 30]
        assert (series[3].count[:5].tolist(), series[3].count[10:13].tolist()) == ([5] * 5, [3] * 3)
        assert series[3].posterior[series[3].shown].sum(axis=1) == pytest.approx(1.0, abs=0.03)
        assert (series[3].species, series[8].species) == ("O", "Ce")

    @pytest.mark.parametrize("image", [None, picture(10)])
    def test_a_picture(self, history, image):
        series = series_of(history, [3])[3]
        drawn = Image.open(io.BytesIO(track_png(series, CHANGES[:1], "m", 0.025, image)))
        assert drawn.width > 800
        pixels = np.asarray(drawn.convert("RGB"), int)
        # The line of the change, and the shade of refused frames.
        for colour in ((217, 95, 2), (234, 199, 201)):
            assert (np.abs(pixels - colour).sum(axis=-1) < 40).any(), colour

    def test_numbers_that_jump_far(self, tmp_path):
        kept = History(tmp_path)
        for number in (0, 1, 2, 10**9, 10**9 + 1):
            kept.add(tracked(number, 4))
        assert track_png(series_of(kept, [1])[1], []).startswith(b"\x89PNG")
        kept.close()


class TestPanels:
    def panels(self, changes=CHANGES):
        return Panels(SHAPE, SAMPLING_A, ("Ce", "O"), changes, FRAMES, 0.025)

    def at(self, panels, panel, x_px, y_px):
        """Where a position of a frame is in a picture, whose panels are side by side."""
        side = (panels.size[0] - 4 * GAP_PX) / 3
        scale = side / SHAPE[1]
        return GAP_PX + panel * (side + GAP_PX) + (x_px + 0.5) * scale, HEAD_PX + (y_px + 0.5) * scale

    def test_columns_have_the_colour_of_their_count(self):
        panels = self.panels()
        frame = tracked(0)
        (record,) = records(frame)
        drawn = panels.picture(None, record)
        colours = count_colours()
        for track in (0, 6, 17):
            x, y = self.at(panels, 1, frame.columns.x_px[track], frame.columns.y_px[track])
            assert near(drawn, x, y, colours[2 + track % 7], radius=3)

    def test_changes_show_from_when_they_happened(self):
        panels = self.panels()
        before, lost, both = (panels.picture(None, record) for record in records(tracked(9), tracked(10), tracked(20)))
        x, y = self.at(panels, 2, CHANGES[0].x_px, CHANGES[0].y_px)
        assert (near(before, x, y, LOST), near(lost, x, y, LOST)) == (False, True)
        x, y = self.at(panels, 2, CHANGES[1].x_px, CHANGES[1].y_px)
        assert (near(lost, x, y, GAINED), near(both, x, y, GAINED)) == (False, True)

    def test_a_refused_frame_says_so(self):
        panels = self.panels()
        refused, good = records(without(3, TrackState.REFUSED, "noise"), tracked(4))
        x, y = self.at(panels, 1, SHAPE[1] / 2, SHAPE[0] / 2)
        assert near(panels.picture(None, refused), x, y, LOST, 30)
        assert not near(panels.picture(None, good), x, y, LOST, 30)

    def test_nothing_flickers_with_the_beam(self):
        panels = self.panels()
        image = panels.prepared(picture(0))
        brightness = Brightness.of([image])
        np.testing.assert_array_equal(brightness.grey(image), brightness.grey(2 * image))

    def test_a_large_frame_is_made_small_first(self):
        panels = Panels((2048, 2048), 0.03, ("Ce", "O"), [], 10)
        assert max(panels.prepared(np.ones((2048, 2048), "u2")).shape) <= 1024
        assert max(panels.size) < 2700


class TestFilms:
    def test_every_frame_is_in_them(self, tmp_path):
        told = []
        with (
            write_movie(tmp_path) as file,
            TracksExport(tmp_path / "out", file, ("gif", "mp4", "png"), interval_s=0.025) as export,
        ):
            for frame in movie(FRAMES):
                export.add(frame)
            export.draw(lambda done, total: told.append((done, total)))
        assert {path.name for path in (tmp_path / "out").iterdir()} == {
            *("m.tracks.gif", "m.tracks.mp4", "m.track-3.png", "m.track-8.png")
        }
        with Image.open(tmp_path / "out" / "m.tracks.gif") as gif:
            assert gif.n_frames == FRAMES
            size = gif.size
        assert imageio_ffmpeg.count_frames_and_secs(str(tmp_path / "out" / "m.tracks.mp4"))[0] == FRAMES
        assert (size[0] % 2, size[1] % 2) == (0, 0)
        assert (told[0], told[-1]) == ((1, FRAMES), (FRAMES, FRAMES))

    def test_a_long_movie_is_thinned_and_that_is_said(self, tmp_path, monkeypatch):
        monkeypatch.setattr("segdepth.export.track_movie.MOST_PICTURES", 15)
        with write_movie(tmp_path) as file, TracksExport(tmp_path, file, ("gif",)) as export:
            for frame in movie(FRAMES):
                export.add(frame)
        with Image.open(tmp_path / "m.tracks.gif") as gif:
            assert gif.n_frames == 14
        assert export.notes == ["films show 14 of 40 frames, every third"]

    @pytest.mark.parametrize("frames, drawn, step", [(1, 1, 1), (300, 300, 1), (301, 151, 2), (100_000, 300, 334)])
    def test_at_most_so_many_pictures(self, frames, drawn, step):
        thinned = Thinned.to(frames, MOST_PICTURES)
        chosen = [index for index in range(frames) if index in thinned]
        assert (len(thinned), len(chosen), thinned.step) == (drawn, drawn, step)
        assert (chosen[-1], drawn <= MOST_PICTURES) == (frames - 1, True)

    def test_a_frame_that_cannot_be_read_is_left_dark(self, tmp_path):
        frames = np.stack([picture(number) for number in range(4)]).astype("i4")
        frames[2] = 2**25
        np.save(tmp_path / "m.npy", frames)
        with open_movie(tmp_path / "m.npy", SAMPLING_A) as file, TracksExport(tmp_path, file, ("gif",)) as export:
            for number in range(4):
                export.add(without(2, TrackState.MISSING, "damaged") if number == 2 else tracked(number))
        bright = []
        with Image.open(tmp_path / "m.tracks.gif") as gif:
            for number in range(4):
                gif.seek(number)
                bright.append(np.asarray(gif.convert("L"))[HEAD_PX + 20 : HEAD_PX + 200, 20:200].mean())
        assert bright[2] < 0.5 * min(bright[0], bright[1], bright[3])

    def test_a_full_disk_is_said(self, tmp_path, history):
        with write_movie(tmp_path) as file:
            list(history)
            for name in ("gif", "mp4"):
                made = AtomicFile(tmp_path / f"m.{name}")
                with at_most(20_000), pytest.raises(CannotWrite, match=f"m.{name}"):
                    draw_movie(file, history, CHANGES, **{"gif": None, "mp4": None, name: made})
                made.discard()
        assert [path.name for path in tmp_path.iterdir()] == ["m.npy"]

    def test_tracks_that_there_are_not_are_said(self, tmp_path):
        with write_movie(tmp_path, 4) as file, TracksExport(tmp_path, file, ("png", "json"), plot="3,99") as export:
            for number in range(4):
                export.add(tracked(number))
        assert export.notes == ["there is no track 99 to draw"]
        assert (tmp_path / "m.track-3.png").exists()
        assert json.loads((tmp_path / "m.tracks.json").read_text())["interval_s"] is None

"""What `segdepth track` says at its end."""

from collections.abc import Iterator, Sequence

from segdepth.tracks.regions import RegionSum
from segdepth.tracks.results import LIKELY, Change, TrackState
from segdepth.tracks.tally import TrackTally

SHOWN_CHANGES = 20
SHOWN_SEGMENTS = 4
SHOWN_REASONS = 6


def report(name: str, tally: TrackTally, seconds: float, where: str = "", notes: Sequence[str] = ()) -> Iterator[str]:
    """All of it, a line each. where: the files; notes: on the pictures."""
    models = " and ".join(str(model) for model in tally.models) or "no model answered"
    arrow = f" → {where}" if where else ""
    yield f"{name}: {_frames(tally)} in {seconds:.1f} s, {models}{arrow}"
    for line in (*_reasons(tally), *_tracks(tally), *_changes(tally), *_occupancy(tally), *not_told(tally), *notes):
        yield f"  {line}"


def _frames(tally: TrackTally) -> str:
    parts = [f"{tally.states[TrackState.TRACKED]} of {tally.frames} frames tracked"]
    parts += [
        f"{tally.states[state]} {state.value}"
        for state in TrackState
        if state is not TrackState.TRACKED and tally.states[state]
    ]
    return ", ".join(parts)


def _reasons(tally: TrackTally) -> Iterator[str]:
    for (state, why), frames in tally.reasons.most_common(SHOWN_REASONS):
        yield f"{frames} {state.value}: {why or 'no reason is known'}"
    if len(tally.reasons) > SHOWN_REASONS:
        yield f"and {len(tally.reasons) - SHOWN_REASONS} other reasons"


def _tracks(tally: TrackTally) -> Iterator[str]:
    if not tally.tracks:
        return
    yield f"tracks: {', '.join(f'{number} {species}' for species, number in sorted(tally.tracks.items()))}"
    if tally.drift_A is not None:
        x_A, y_A, furthest_A = tally.drift_A
        turned = f", turned by up to {tally.rotation_deg:.1f}°" if tally.rotation_deg >= 0.1 else ""
        yield f"drift: {x_A:.1f} Å along x, {y_A:.1f} Å along y, up to {furthest_A:.1f} Å from where it began{turned}"


def _changes(tally: TrackTally) -> Iterator[str]:
    number = tally.changed.total()
    if not tally.tracks:
        return
    if not number:
        yield "changes: none beyond the stated rate of false alarms"
        return
    shown = sorted(tally.changes, key=lambda change: -change.p_changed)[:SHOWN_CHANGES]
    sure = sum(change.p_changed >= LIKELY for change in tally.changes)
    likely = f", {sure} of them more likely than not" if sure < number else ""
    yield f"{number} {'change' if number == 1 else 'changes'}{likely}{'; the surest:' if number > len(shown) else ':'}"
    for change in sorted(shown, key=lambda change: (change.frame, change.track)):
        yield f"  {change_line(change)}"


def change_line(change: Change) -> str:
    """What changed, when, and how sure that is."""
    atoms = f"{change.before:>2} → {change.after:<2}"
    frame = f"frame {change.frame} ({change.first_frame}-{change.last_frame})"
    return f"track {change.track:<5} {change.species:<2} {atoms}  {frame:<24} p {change.p_changed:.2f}"


def _occupancy(tally: TrackTally) -> Iterator[str]:
    spans = tally.spans()
    for span in spans[:SHOWN_SEGMENTS]:
        sums = [pair for pair in zip(span.before, span.after, strict=False) if pair[0].columns or pair[1].columns]
        if sums:
            yield f"atoms of the columns seen in both, frame {span.first} → {span.last}:"
        for before, after in sums:
            columns = f"{before.columns} {'column' if before.columns == 1 else 'columns'}"
            yield f"  {before.region} {before.species}: {_atoms(before)} → {_atoms(after)} in {columns}"
        filled = {before.region for before, _ in sums}
        # Without a column anywhere it is not the region that is wrong.
        for region in dict.fromkeys(one.region for one in span.before if filled and one.region not in filled):
            yield f"  {region}: no column; a region is in Å of the segment's first frame, from its top-left pixel"
    if tally.segments > SHOWN_SEGMENTS:
        yield f"and {tally.segments - SHOWN_SEGMENTS} more segments, in which tracking began anew"


def _atoms(one: RegionSum) -> str:
    return f"{one.atoms:.1f} ± {one.atoms_error:.1f}"


def not_told(tally: TrackTally) -> Iterator[str]:
    """What a user must not read into the results: what this movie cannot tell."""
    untold = tally.frames - tally.states[TrackState.TRACKED]
    if untold and tally.tracks:
        frames = "1 frame tells" if untold == 1 else f"{untold} frames tell"
        yield f"not told: {frames} nothing of the columns; what hopped there and back is not seen"
    if tally.unsure:
        share = tally.unsure / tally.column_frames
        yield f"not told: in {100 * share:.1f} % of all columns and frames no count has a probability of 0.5"

"""Lines of a report: what was looked at, what was found, what to do about it."""

from collections.abc import Iterable
from dataclasses import dataclass

from rich.markup import escape
from rich.table import Table

MARKS = {True: "[green]✓[/]", False: "[red]✗[/]", None: "[yellow]-[/]"}


@dataclass(frozen=True)
class Finding:
    """One line of a report. `good` is None for what may be so, but is worth a look."""

    what: str
    good: bool | None
    found: str
    remedy: str = ""


def table_of(findings: Iterable[Finding]) -> Table:
    """All of them."""
    table = Table("", "what", "found", "what to do")
    for finding in findings:
        table.add_row(MARKS[finding.good], *map(escape, (finding.what, finding.found, finding.remedy)))
    return table

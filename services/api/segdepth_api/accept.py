"""Which of the formats on offer a request's Accept header prefers."""

from collections.abc import Sequence

from fastapi import Request
from werkzeug.datastructures import MIMEAccept
from werkzeug.http import parse_accept_header

from segdepth_api.problems import Problem


def preferred(request: Request, offered: Sequence[str]) -> str:
    """The offered media type that the caller likes best, by default the first. Problem 406 if none will do."""
    header = request.headers.get("accept", "*/*")
    best = parse_accept_header(header, MIMEAccept).best_match(offered)
    if best is None:
        raise Problem(406, "not-acceptable", f"Accept: {header}: there is {', '.join(offered)}", field="Accept")
    return best

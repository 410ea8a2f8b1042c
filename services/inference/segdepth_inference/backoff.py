"""When what failed is tried again."""


class PollBackoff:
    """When a model that failed to load is tried again: after 1, 2, 4 ... 32 polls, at once if the channel moves."""

    def __init__(self) -> None:
        self._etag = ""
        self._tries = 0
        self._polls = 0

    def try_again(self, etag: str) -> bool:
        """Whether to try what the channel with this etag points at, at this poll."""
        if etag != self._etag:
            self._etag, self._tries, self._polls = etag, 0, 0
        self._polls += 1
        if self._polls < 2 ** min(self._tries, 5):
            return False
        self._tries, self._polls = self._tries + 1, 0
        return True

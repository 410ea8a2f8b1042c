"""What can be wrong with a job."""


class JobRefused(ValueError):
    """A request that cannot be carried out however often it is tried. The message says why, and the way out."""


class Superseded(RuntimeError):
    """Another driver has taken the job over."""


class RayNotStarted(RuntimeError):
    """A private Ray did not come up. The job goes on where it is when it is started again."""

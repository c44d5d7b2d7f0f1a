"""What ends a run early."""


class TrainingError(RuntimeError):
    """A run that had to stop; what it had done is kept in its directory."""


class Preempted(RuntimeError):
    """The run was told to stop; its checkpoint is written, and --resume continues it."""

    exit_code = 75
    """The command's exit status, sysexits' "try again later"."""

"""Measured figures, and the commands that measure them again. Nothing that ships knows these."""

import rehearsal  # noqa: F401  sets the Hub client's switches before a benchmark imports the client

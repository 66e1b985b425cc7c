"""Measurements of speed, memory and quality. Nothing that ships imports them."""

import rehearsal  # noqa: F401  sets the Hub client's switches before a benchmark imports it

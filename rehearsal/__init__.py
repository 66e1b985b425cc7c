"""The whole world on one machine: a Hub, a host of Spaces, sample data and a tiny checkpoint.

The client reads its switches when it is imported, so they are set before that: this Hub has no Xet storage.
"""

import os

os.environ |= {
    "HF_HUB_DISABLE_XET": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}

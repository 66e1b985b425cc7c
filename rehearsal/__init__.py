"""A Hub, a host for Spaces, sample data and a tiny checkpoint: the job's whole world on one machine.

The Hub's client reads its switches at import, so they are set here, before: the local Hub has no Xet storage.
"""

import os

os.environ |= {
    "HF_HUB_DISABLE_XET": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}

"""Reference data that is too large for this repository: what needs it is skipped, and says so, where it is not.

It lies in ``reference/`` of the checkout, or where ``SKYLOOM_REFERENCE`` says: ``spot-traces/`` (recorded
availability and preemptions, https://github.com/skypilot-org/spot-traces), ``catalog/`` (price lists in the columns
of the dissertation's Table 4.1, which the embedded snapshot was made from) and ``optimizer/`` (DAGs with their
candidates).
"""

from __future__ import annotations

import os
from pathlib import Path

REFERENCE = Path(os.environ.get("SKYLOOM_REFERENCE") or Path(__file__).resolve().parents[1] / "reference")

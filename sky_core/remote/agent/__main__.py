"""The agent's commands: ``start``, ``poll``, ``cancel``, and the processes it starts of itself."""

from __future__ import annotations

import sys

if __name__ == "__main__":
    from skyloom_agent.commands import main  # type: ignore[import-not-found]

    sys.exit(main(sys.argv))

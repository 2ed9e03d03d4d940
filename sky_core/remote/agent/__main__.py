"""The agent's commands: ``start``, ``poll``, ``cancel``, and the processes it starts of itself.

The image's Python may be too old for the agent: it must be able to read this file all the same.
"""

import os
import sys

if __name__ == "__main__":
    if sys.version_info < (3, 9):  # noqa: UP036 - the image's may be older
        sys.stdin.read()  # somebody must
        print("unfit " + os.uname()[4] + " Python 3.9 or later")
        sys.exit()
    from skyloom_agent.commands import main  # type: ignore[import-not-found]

    sys.exit(main(sys.argv))

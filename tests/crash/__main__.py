"""``python -m tests.crash``: the crash matrix."""

from tests.crash.matrix import main

main()

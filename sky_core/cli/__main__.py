"""``python -m sky_core.cli``: the command line of this interpreter, wherever its script lies."""

from sky_core.cli import main

main()

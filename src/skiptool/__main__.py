"""Entry point of ``python -m skiptool`` and of the command ``skiptool``."""

from __future__ import annotations

import signal
import sys


def run() -> int:
    """Run the command line; Ctrl-C prints one line even while libraries are loading."""
    try:
        from skiptool.cli import main

        code = main()
        # Nothing is left to clean up: Ctrl-C during interpreter shutdown prints no traceback.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        return code
    except KeyboardInterrupt:
        print("skiptool: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(run())

"""``python -m skiptool``, and the command ``skiptool``."""

from __future__ import annotations

import signal
import sys

__all__ = ["run"]


def run() -> int:
    """Run the command line; Ctrl-C while its libraries are loaded is one line too."""
    try:
        from skiptool.cli import main

        code = main()
        # Nothing is left to clean up: Ctrl-C while the interpreter shuts down is no traceback.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        return code
    except KeyboardInterrupt:
        print("skiptool: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(run())

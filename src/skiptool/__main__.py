"""``python -m skiptool``."""

import sys

from skiptool.cli import main

sys.exit(main())

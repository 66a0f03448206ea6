"""Everything that needs torch: networks, training, inference, activations of layers."""

import sys

from skiptool.errors import SkiptoolError

if sys.flags.optimize > 1:
    raise SkiptoolError(
        "PYTHONOPTIMIZE is 2 (or python runs with -OO): segmentation-models-pytorch cannot be "
        "loaded without docstrings; unset it"
    )

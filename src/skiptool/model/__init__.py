"""Networks, training, inference and activations of layers: all that needs torch.

- ``unet``: building, pruning and restoring the networks.
- ``weights``: pretrained weights of encoders, from files or the model hub.
- ``augmentation``: random affine transformations of image and mask.
- ``batches``: loaders, seeded by epoch and sample.
- ``loss``: cross-entropy and Dice losses.
- ``lightning``: training loop, checkpoints, history, experiment trackers.
- ``fit``: training of one network, and its checks.
- ``distributed``: processes that train one network together.
- ``inference``: segmentation, pixel counts, substitution of skip connections.
- ``layers``: pooled activations of named layers.
- ``device``: device, precision, threads, and errors of the machine.

May import `skiptool.metrics` and `skiptool.parallel`, and the modules below them; not `stores`.
"""

import sys

from skiptool.errors import SkiptoolError

if sys.flags.optimize > 1:
    raise SkiptoolError(
        "PYTHONOPTIMIZE is 2 (or python runs with -OO): segmentation-models-pytorch cannot be "
        "loaded without docstrings; unset it"
    )

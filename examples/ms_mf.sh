#!/usr/bin/env bash
# Section III.B of the paper: object-centric patches of one scanner to train on, the same objects
# on all scanners to test on; which layers the scanner reaches, and IoU with skips removed.
#
#   examples/ms_mf.sh MANIFEST REFERENCE [FOLDER]      default folder: skiptool-ms-mf
#
# MANIFEST has the columns path, domain (scanner), subject, split, and annotations (points) for the
# slides of the domain REFERENCE; see 'skiptool extract wsi --help'.
#
#   MASK=model:runs/...     masks by a trained model instead of the stain; export, correct by hand:
#                           'skiptool extract wsi ... --export pairs', then 'extract images'
#   RESIDUAL=2              misalignment, pixels, above which an object is left out everywhere
#   FOLDS=5  CLASSES=...    and what across_domains.sh takes
#
# Run it again to go on after an interruption.
set -euo pipefail

usage="usage: ms_mf.sh MANIFEST REFERENCE [FOLDER]"
here=$(realpath "$(dirname "$0")")
manifest=$(realpath "${1:?$usage}")
reference=${2:?$usage}
folder=${3:-skiptool-ms-mf}
mkdir -p "$folder"
cd "$folder"

# Exit code 3: some slides or objects were left out, and listed; the rest is whole.
skiptool extract wsi "$manifest" --mode centred --register "$reference" --mask "${MASK:-stain}" \
    --max-residual "${RESIDUAL:-2}" --classes "${CLASSES:-}" --folds "${FOLDS:-5}" \
    -o patches.zarr --resume || [ $? -eq 3 ]
"$here/across_domains.sh" patches.zarr patches.zarr "$reference" "Objects on all scanners"

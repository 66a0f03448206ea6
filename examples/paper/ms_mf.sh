#!/usr/bin/env bash
# Section III.B of the paper: object-centric patches of one scanner to train on, the same objects
# on all scanners to test on; which layers the scanner reaches, and IoU with skips removed.
#
#   examples/paper/ms_mf.sh MANIFEST REFERENCE [FOLDER]      default folder: skiptool-ms-mf
#
# Data: canine mammary carcinoma, 21 slides: github.com/DeepMicroscopy/MITOS_WSI_CMC (37 GB), Aperio
# only; the scans of the other five scanners were nowhere to be found. Stand-in: MIDOG++,
# github.com/DeepMicroscopy/MIDOGpp (65 GB), whose human breast cancers are on three scanners, other
# cases on each (REGISTER=no). 2.6 GB of patches, and 1.5 GB at a time beside them.
#
# MANIFEST has the columns path, domain (scanner), subject, split (train or test, in every row) and
# annotations (points; for the slides of REFERENCE, or of all where nothing is registered); see
# 'skiptool extract wsi --help'. examples/paper/README.md says where the
# data are, how folders are laid out, and what they take; examples/paper/manifests.py writes
# MANIFEST from them.
#
#   MASK=model:runs/...     masks by a trained model instead of the stain; export, correct by hand:
#                           'skiptool extract wsi ... --export pairs', then 'extract images'
#   CLASSES="CLASS=NAME;ignore=NAME"      annotated names by class; unless given, each its own
#   REGISTER=yes|no         no: scanners have other cases (MIDOG), so there is nothing to align, and
#                           no skip connection of the same object to put in another's place
#   RESIDUAL=2              misalignment, pixels, above which a test object is left out everywhere
#   SIZE=128                pixels of a patch
#   MPP=coarsest|own|NUMBER micrometres per pixel: where slides are registered, feature maps of
#                           scanners are put in each other's place, so all are brought to the
#                           coarsest of the slides; own: each scanner's own, no such substitution
#   FOLDS=5                 validation folds to deal out, and what across_domains.sh takes
#
# Run it again to go on after an interruption.
set -euo pipefail

usage="usage: ms_mf.sh MANIFEST REFERENCE [FOLDER]"
here=$(realpath "$(dirname "$0")")
manifest=$(realpath "${1:?$usage}")
reference=${2:?$usage}
folder=${3:-skiptool-ms-mf}
mask=${MASK:-stain}
if [[ $mask == model:* ]]; then mask=model:$(realpath "${mask#model:}"); fi
python3 "$here/manifests.py" check "$manifest"
if [ -e "${WEIGHTS:-}" ]; then WEIGHTS=$(realpath "$WEIGHTS"); fi
export WEIGHTS=${WEIGHTS:-imagenet}
mkdir -p "$folder"
cd "$folder"
common=(--mode centred --patch-size "${SIZE:-128}" --mask "$mask"
    --classes "${CLASSES:-}" --folds "${FOLDS:-5}" --resume)
paired=${REGISTER:-yes}
aligned=()
if [ "$paired" = yes ]; then
    aligned=(--register "$reference" --max-residual "${RESIDUAL:-2}")
fi
mpp=${MPP:-own}
if [ "$paired" = yes ]; then mpp=${MPP:-coarsest}; fi
if [ "$mpp" = own ]; then paired=no; fi
if [ "$mpp" = coarsest ]; then # listed once: a run that goes on has the same
    if [ ! -s slides.tsv ]; then
        skiptool extract wsi "$manifest" --split test "${common[@]}" \
            -o test.zarr --dry-run >listed.tsv || [ $? -eq 3 ]
        mv listed.tsv slides.tsv
    fi
    mpp=$(python3 "$here/manifests.py" coarsest slides.tsv)
fi
if [ "$mpp" != own ]; then common+=(--mpp "$mpp"); fi

# Exit code 3: some slides or objects were left out, and listed; the rest is whole.
skiptool extract wsi "$manifest" --domain "$reference" --split train "${common[@]}" \
    -o train.zarr || [ $? -eq 3 ]
skiptool extract wsi "$manifest" --split test "${aligned[@]}" "${common[@]}" -o test.zarr ||
    [ $? -eq 3 ]
PAIRED=$paired "$here/across_domains.sh" train.zarr test.zarr "$reference" \
    "Objects on all scanners"

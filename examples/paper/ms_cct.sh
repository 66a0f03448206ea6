#!/usr/bin/env bash
# Section III.C of the paper: patches drawn by class weights, fresh ones in every epoch, to train
# on one scanner; a grid of all tissue, the same places on all scanners, to test on.
#
#   examples/paper/ms_cct.sh MANIFEST REFERENCE [FOLDER]     default folder: skiptool-ms-cct
#
# Data: Multi-Scanner Canine Cutaneous Squamous Cell Carcinoma Histopathology Dataset, 44 slides on
# five scanners in low resolution: doi.org/10.5281/zenodo.7418555; split (scc_dataset.csv):
# github.com/DeepMicroscopy/MultiScanner_SCC. 84 GB of patches, and 19 GB at a time beside them.
#
# MANIFEST has the columns path, domain (scanner), subject, split (train or test, in every row) and
# annotations (areas) for the slides of REFERENCE. examples/paper/README.md says
# where the data are, how folders are laid out, and what they take; examples/paper/manifests.py
# writes MANIFEST.
#
#   CLASSES="CLASS=NAME,...;..."   annotated names by class; unless given, the 13 of CATCH sorted
#                           into tumor and non-tumor
#   DRAWS=50 PATCHES=32     draws of 32 patches a slide; an epoch takes one (the paper: 50 epochs)
#   SIZE=512 TISSUE=0.5     pixels of a patch; least share of tissue of a test patch
#   MPP=coarsest|own|NUMBER micrometres per pixel: feature maps of scanners are put in each other's
#                           place, so all are brought to the coarsest of the slides; own: each
#                           scanner's own, and no such substitution
#   RESIDUAL=2              misalignment, pixels, above which a place is left out everywhere
#   FOLDS=5                 validation folds to deal out, and what across_domains.sh takes
#
# Run it again to go on after an interruption.
set -euo pipefail

usage="usage: ms_cct.sh MANIFEST REFERENCE [FOLDER]"
here=$(realpath "$(dirname "$0")")
manifest=$(realpath "${1:?$usage}")
reference=${2:?$usage}
folder=${3:-skiptool-ms-cct}
normal="Bone,Cartilage,Dermis,Epidermis,Subcutis,Inflamm/Necrosis"
tumor="Melanoma,Plasmacytoma,Mast Cell Tumor,PNST,SCC,Trichoblastoma,Histiocytoma"
python3 "$here/manifests.py" check "$manifest"
if [ -e "${WEIGHTS:-}" ]; then WEIGHTS=$(realpath "$WEIGHTS"); fi
export WEIGHTS=${WEIGHTS:-imagenet}
mkdir -p "$folder"
cd "$folder"
common=(--classes "${CLASSES:-non-tumor=$normal;tumor=$tumor}" --patch-size "${SIZE:-512}"
    --folds "${FOLDS:-5}" --resume)
mpp=${MPP:-coarsest} paired=yes
if [ "$mpp" = own ]; then paired=no; fi
if [ "$mpp" = coarsest ]; then # listed once: a run that goes on has the same
    if [ ! -s slides.tsv ]; then
        skiptool extract wsi "$manifest" --mode grid --split test "${common[@]}" \
            -o test.zarr --dry-run >listed.tsv || [ $? -eq 3 ]
        mv listed.tsv slides.tsv
    fi
    mpp=$(python3 "$here/manifests.py" coarsest slides.tsv)
fi
if [ "$mpp" != own ]; then common+=(--mpp "$mpp"); fi

# Exit code 3: some slides or patches were left out, and listed; the rest is whole.
skiptool extract wsi "$manifest" --mode sampled --domain "$reference" --split train \
    --draws "${DRAWS:-50}" --patches "${PATCHES:-32}" "${common[@]}" -o train.zarr || [ $? -eq 3 ]
skiptool extract wsi "$manifest" --mode grid --register "$reference" --split test \
    --min-tissue "${TISSUE:-0.5}" --max-residual "${RESIDUAL:-2}" "${common[@]}" \
    -o test.zarr || [ $? -eq 3 ]
PAIRED=$paired "$here/across_domains.sh" train.zarr test.zarr "$reference" "Tissue on all scanners"

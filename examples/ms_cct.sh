#!/usr/bin/env bash
# Section III.C of the paper: patches drawn by class weights, fresh ones in every epoch, to train
# on one scanner; a grid of all tissue, the same places on all scanners, to test on.
#
#   examples/ms_cct.sh MANIFEST REFERENCE CLASSES [FOLDER]      default folder: skiptool-ms-cct
#
# MANIFEST has the columns path, domain (scanner), subject, split, and annotations (areas) for the
# slides of the domain REFERENCE. CLASSES sorts the annotated names, as in the paper:
#   "non-tumor=Dermis,Epidermis,Subcutis;tumor=SCC"
#
#   DRAWS=50 PATCHES=32     draws of 32 patches a slide; an epoch takes one (the paper: 50 epochs)
#   SIZE=512 TISSUE=0.5     pixels of a patch; least share of tissue of a test patch
#   RESIDUAL=2  FOLDS=5     and what across_domains.sh takes
#
# Run it again to go on after an interruption.
set -euo pipefail

usage="usage: ms_cct.sh MANIFEST REFERENCE CLASSES [FOLDER]"
here=$(realpath "$(dirname "$0")")
manifest=$(realpath "${1:?$usage}")
reference=${2:?$usage}
classes=${3:?$usage}
folder=${4:-skiptool-ms-cct}
mkdir -p "$folder"
cd "$folder"
common=(--classes "$classes" --patch-size "${SIZE:-512}" --resume)

# Exit code 3: some slides or patches were left out, and listed; the rest is whole.
skiptool extract wsi "$manifest" --mode sampled --domain "$reference" --split train \
    --draws "${DRAWS:-50}" --patches "${PATCHES:-32}" --folds "${FOLDS:-5}" "${common[@]}" \
    -o train.zarr || [ $? -eq 3 ]
skiptool extract wsi "$manifest" --mode grid --register "$reference" --split test \
    --min-tissue "${TISSUE:-0.5}" --max-residual "${RESIDUAL:-2}" "${common[@]}" \
    -o test.zarr || [ $? -eq 3 ]
"$here/across_domains.sh" train.zarr test.zarr "$reference" "Tissue on all scanners"

#!/usr/bin/env bash
# Section III.D of the paper: short-axis slices of one vendor's scanners to train on, those of all
# vendors to test on; IoU of the left ventricle, the myocardium and the right ventricle.
#
#   examples/mv_mr.sh SOURCE REFERENCE [FOLDER]      default folder: skiptool-mv-mr
#
# SOURCE is the folder of the M&Ms challenge as it is unpacked, or a manifest with the columns image,
# mask, domain (vendor), subject and, if wanted, split; see 'skiptool extract mri --help'. As in the
# paper, one hospital a vendor, 75 subjects of vendor A to train on, 16 of each to test on:
#
#   SELECT="--centre A=1 --centre B=2 --centre C=4 --centre D=5 --train-subjects A=75
#           --test-subjects 16 --size A=192 --size B=320 --size C=256 --size D=416"
#   FOLDS=5                 and what across_domains.sh takes
#
# Run it again to go on after an interruption.
set -euo pipefail

usage="usage: mv_mr.sh SOURCE REFERENCE [FOLDER]"
here=$(realpath "$(dirname "$0")")
source=$(realpath "${1:?$usage}")
reference=${2:?$usage}
folder=${3:-skiptool-mv-mr}
read -r -d '' -a select <<<"${SELECT:-}" || true
if [ -e "${WEIGHTS:-}" ]; then WEIGHTS=$(realpath "$WEIGHTS"); fi
export WEIGHTS=${WEIGHTS:-imagenet}
mkdir -p "$folder"
cd "$folder"

# Exit code 3: some volumes were left out, and listed; the rest is whole.
skiptool extract mri "$source" "${select[@]}" --folds "${FOLDS:-5}" -o slices.zarr --resume ||
    [ $? -eq 3 ]
"$here/across_domains.sh" slices.zarr slices.zarr "$reference" "Hearts on all scanners"

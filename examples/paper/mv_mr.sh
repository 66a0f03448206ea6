#!/usr/bin/env bash
# Section III.D of the paper: short-axis slices of one vendor's scanners to train on, those of all
# vendors to test on; IoU of the left ventricle, the myocardium and the right ventricle.
#
#   examples/paper/mv_mr.sh SOURCE REFERENCE [FOLDER]      default folder: skiptool-mv-mr
#
# Data: the M&Ms challenge, ub.edu/mnms. 1 GB of slices, and 0.4 GB at a time beside them.
#
# SOURCE is the folder of the challenge as it is unpacked (REFERENCE is a vendor: A, B, C, D), or a
# manifest with the columns image, mask, domain, subject and, if wanted, frames, split and centre,
# such as examples/paper/manifests.py writes from that folder (REFERENCE is a scanner: "MAGNETOM Avanto").
# examples/paper/README.md says where the data are and what they take.
#
#   SELECT=paper            one hospital a vendor, 75 subjects of vendor A to train on, 16 of each
#                           to test on, slices of 192, 320, 256 and 416 px; or options of 'skiptool
#                           extract mri', quoted as in a shell; unless given, everything there is
#   FOLDS=5                 validation folds to deal out, and what across_domains.sh takes
#
# Run it again to go on after an interruption.
set -euo pipefail

usage="usage: mv_mr.sh SOURCE REFERENCE [FOLDER]"
here=$(realpath "$(dirname "$0")")
source=$(realpath "${1:?$usage}")
reference=${2:?$usage}
folder=${3:-skiptool-mv-mr}
if [ -e "${WEIGHTS:-}" ]; then WEIGHTS=$(realpath "$WEIGHTS"); fi
export WEIGHTS=${WEIGHTS:-imagenet}
if [ "${SELECT:-}" = paper ]; then
    names=("MAGNETOM Avanto" Achieva "Signa Excite" "Vantage Orian") # one hospital each already
    select=()
    if [ -d "$source" ]; then
        names=(A B C D)
        select=(--centre A=1 --centre B=2 --centre C=4 --centre D=5)
    fi
    select+=(--train-subjects "${names[0]}=75" --test-subjects 16 --size "${names[0]}=192"
        --size "${names[1]}=320" --size "${names[2]}=256" --size "${names[3]}=416")
else
    mapfile -t select < <(xargs -rn1 printf '%s\n' <<<"${SELECT:-}")
fi
mkdir -p "$folder"
cd "$folder"

# Exit code 3: some volumes were left out, and listed; the rest is whole.
skiptool extract mri "$source" "${select[@]}" --folds "${FOLDS:-5}" -o slices.zarr --resume ||
    [ $? -eq 3 ]
"$here/across_domains.sh" slices.zarr slices.zarr "$reference" "Hearts on all scanners"

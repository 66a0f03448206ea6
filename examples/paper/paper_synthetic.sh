#!/usr/bin/env bash
# The synthetic experiment of the paper in full: 1,000 images of 512 px, both encoders, baseline and
# L1 to L4, five folds trained three times each, 50 epochs; weeks on a CPU, to be run on a GPU. Then
# skip substitution in both directions, what reaches the decoder, the forecast, and claims.md: what
# the paper says, claim by claim, beside what was measured.
#
#   examples/paper/paper_synthetic.sh [FOLDER]           default: skiptool-paper
#   SMALL=1 examples/paper/paper_synthetic.sh            200 images of 256 px, three folds, two repeats, ten
#                                                  epochs at a learning rate of 1e-3, random weights;
#                                                  36 minutes a repeat for ResNet18 on two cores, and
#                                                  16 for a fold of ResNet34, beside other work
#   QUICK=1 examples/paper/paper_synthetic.sh            120 images of 128 px, ResNet18 alone, else as SMALL;
#                                                  distances at brightness 0.75 only, no forecast
#   IMAGES=1000 SIZE=512 EPOCHS=50 LR=1e-4 LR_STEP=15       any of these
#   ENCODERS="resnet18 resnet34"  FOLDS="0 1 2 3 4"  REPEATS=3  PRUNE="0 1 2 3 4"
#   SUBSTITUTE="0 1 2 3 4"                         networks whose skips are substituted (claims.md
#                                                  needs the baseline, 0)
#   DISTANCES="brightness=0.75 contrast=0.5"       shifts that distances are measured under
#   FORECAST=no                                    leave the forecast out
#   WEIGHTS=none | WEIGHTS=/path/to/encoder.pth    instead of ImageNet's, which are downloaded once
#
# The canvas and the number of cells follow SIZE: cells are as large and as dense as in the paper.
# One training says nothing about the next: with FOLDS=0 and REPEATS=1 claims.md decides nothing.
# Run it again to go on after an interruption. Every command prints the paths it made.
set -euo pipefail

here=$(realpath "$(dirname "$0")")
folder=${1:-skiptool-paper}
if [ -n "${QUICK:-}" ]; then
    : "${IMAGES:=120}" "${SIZE:=128}" "${ENCODERS:=resnet18}" "${SUBSTITUTE:=0}"
    : "${DISTANCES:=brightness=0.75}" "${FORECAST:=no}"
fi
if [ -n "${SMALL:-}${QUICK:-}" ]; then
    : "${IMAGES:=200}" "${SIZE:=256}" "${EPOCHS:=10}" "${LR:=1e-3}" "${LR_STEP:=7}"
    : "${FOLDS:=0 1 2}" "${WEIGHTS:=none}" "${REPEATS:=2}"
fi
shifts=(brightness={0.5,0.75,1.25,1.5,1.75} contrast={0.5,1.5} saturation={0,0.5})
images=${IMAGES:-1000} size=${SIZE:-512} epochs=${EPOCHS:-50} weights=${WEIGHTS:-imagenet}
repeats=${REPEATS:-3}
read -r -a encoders <<<"${ENCODERS:-resnet18 resnet34}"
read -r -a folds <<<"${FOLDS:-0 1 2 3 4}"
read -r -a prunings <<<"${PRUNE:-0 1 2 3 4}"
read -r -a substituted <<<"${SUBSTITUTE:-${prunings[*]}}"
read -r -a measured <<<"${DISTANCES:-${shifts[*]}}"
if [ "$weights" != imagenet ] && [ "$weights" != none ]; then weights=$(realpath "$weights"); fi
canvas=$((size * 1500 / 512))
cells=$((100 * size * size / (512 * 512)))
mkdir -p "$folder"
cd "$folder"

repeated() { # repeated --option value...: --option value --option value ...
    local option=$1 value
    shift
    for value in "$@"; do printf '%s\n%s\n' "$option" "$value"; done
}
mapfile -t encoder_options < <(repeated --encoder "${encoders[@]}")
mapfile -t fold_options < <(repeated --fold "${folds[@]}")
mapfile -t prune_options < <(repeated --prune "${prunings[@]}")
mapfile -t shift_options < <(repeated --shift "${shifts[@]}")
mapfile -t measured_options < <(repeated --shift "${measured[@]}")

scale="$images images of $size px, ${encoders[*]}, folds ${folds[*]}, repeats $repeats, $epochs epochs, weights $weights"
printf 'scale: %s\n' "$scale" >&2
skiptool synth --n "$images" --size "$size" --canvas "$canvas" --cells "1:$((cells > 0 ? cells : 1))" \
    -o synth.zarr --resume
skiptool train synth.zarr "${encoder_options[@]}" "${fold_options[@]}" "${prune_options[@]}" \
    --repeats "$repeats" --epochs "$epochs" --lr "${LR:-1e-4}" --lr-step "${LR_STEP:-15}" \
    --encoder-weights "$weights" -o runs --resume | tee models.txt
skiptool predict - --data synth.zarr --sweep paper -o predictions.parquet --resume <models.txt

# Which skip connection carries a shift: each part alone from the unshifted image (is it enough?),
# then each part alone from the shifted one (what does it cost?).
printf -- '-L%s/\n' "${substituted[@]}" >substituted.txt
grep -F -f substituted.txt models.txt >substitute.txt
skiptool predict - --data synth.zarr --clean-skips each "${shift_options[@]}" -o clean.parquet \
    --resume <substitute.txt
skiptool predict - --data synth.zarr --shifted-skips each "${shift_options[@]}" -o shifted.parquet \
    --resume <substitute.txt

compared() { # compared FOLDER PREFIX: distances of each network's stores in FOLDER, a table PREFIX-*
    local store
    for store in "$1"/*_original.zarr; do
        skiptool hellinger "$store" "${store%_original.zarr}"_[bcs]*-*.zarr \
            -o "$2-$(basename "${store%_synthetic_original.zarr}").parquet" --overwrite
    done
}
skiptool features - --data synth.zarr --transmission --shift original "${measured_options[@]}" \
    -o features --resume <models.txt
compared features shift
skiptool report predictions.parquet clean.parquet shifted.parquet shift-*.parquet -o report.html \
    --figures figures --title "Synthetic experiment of Wilm et al.: $scale" --overwrite

# What distances foretell where nothing is labelled: fitted to the validation folds, distances and
# losses of the same images.
validation=()
if [ "${FORECAST:-yes}" != no ]; then
    skiptool predict - --data synth.zarr --split fold --sweep paper -o validation.parquet \
        --resume <models.txt
    skiptool features - --data synth.zarr --split fold --shift original "${measured_options[@]}" \
        -o validation-features --resume <models.txt
    compared validation-features validation-shift
    skiptool report validation.parquet validation-shift-*.parquet --forecast -o forecast.html --overwrite
    mapfile -t validation < <(repeated --validation validation.parquet validation-shift-*.parquet)
fi

{
    printf '%s.\n\n' "$scale"
    python "$here/claims.py" predictions.parquet clean.parquet shifted.parquet shift-*.parquet \
        "${validation[@]}"
} >claims.md
printf '%s\n' "$PWD/claims.md"

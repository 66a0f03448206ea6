#!/usr/bin/env bash
# The synthetic experiment of the paper in full: 1,000 images of 512 px, both encoders, baseline and
# L1 to L4, five folds, 50 epochs; weeks on a CPU, to be run on a GPU. Then skip substitution, what
# reaches the decoder, the forecast, and claims.md: what the paper says, claim by claim, beside what
# was measured.
#
#   examples/paper_synthetic.sh [FOLDER]           default: skiptool-paper
#   SMALL=1 examples/paper_synthetic.sh            200 images of 256 px, three folds, ten epochs at a
#                                                  learning rate of 1e-3, random weights; training took
#                                                  36 minutes for ResNet18 on two cores, and 16 for a fold
#                                                  of ResNet34, beside other work
#   IMAGES=1000 SIZE=512 EPOCHS=50 LR=1e-4 LR_STEP=15       any of these
#   ENCODERS="resnet18 resnet34"  FOLDS="0 1 2 3 4"
#   REPEATS=1                                      trainings of each fold, which differ in their seed
#   WEIGHTS=none | WEIGHTS=/path/to/encoder.pth    instead of ImageNet's, which are downloaded once
#
# The canvas and the number of cells follow SIZE: cells are as large and as dense as in the paper.
# Run it again to go on after an interruption. Every command prints the paths it made.
set -euo pipefail

here=$(realpath "$(dirname "$0")")
folder=${1:-skiptool-paper}
if [ -n "${SMALL:-}" ]; then
    : "${IMAGES:=200}" "${SIZE:=256}" "${EPOCHS:=10}" "${LR:=1e-3}" "${LR_STEP:=7}"
    : "${FOLDS:=0 1 2}" "${WEIGHTS:=none}"
fi
images=${IMAGES:-1000} size=${SIZE:-512} epochs=${EPOCHS:-50} weights=${WEIGHTS:-imagenet}
read -r -a encoders <<<"${ENCODERS:-resnet18 resnet34}"
read -r -a folds <<<"${FOLDS:-0 1 2 3 4}"
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
mapfile -t shifts < <(repeated --shift brightness={0.5,0.75,1.25,1.5,1.75} contrast={0.5,1.5} \
    saturation={0,0.5})

scale="$images images of $size px, ${encoders[*]}, folds ${folds[*]}, $epochs epochs, weights $weights"
if [ "${REPEATS:-1}" -gt 1 ]; then scale+=", $REPEATS repeats of each fold"; fi
printf 'scale: %s\n' "$scale" >&2
skiptool synth --n "$images" --size "$size" --canvas "$canvas" --cells "1:$((cells > 0 ? cells : 1))" \
    -o synth.zarr --resume
skiptool train synth.zarr "${encoder_options[@]}" "${fold_options[@]}" \
    --prune 0 --prune 1 --prune 2 --prune 3 --prune 4 --epochs "$epochs" --lr "${LR:-1e-4}" \
    --lr-step "${LR_STEP:-15}" --encoder-weights "$weights" --repeats "${REPEATS:-1}" -o runs --resume | tee models.txt
skiptool predict - --data synth.zarr --sweep paper -o predictions.parquet --resume <models.txt
skiptool predict - --data synth.zarr --clean-skips each "${shifts[@]}" -o substituted.parquet \
    --resume <models.txt
skiptool features - --data synth.zarr --transmission --shift original "${shifts[@]}" -o features \
    --resume <models.txt
for store in features/*_original.zarr; do
    skiptool hellinger "$store" "${store%_original.zarr}"_{brightness,contrast,saturation}-*.zarr \
        -o "shift-$(basename "${store%_synthetic_original.zarr}").parquet" --overwrite --quiet
done
skiptool report predictions.parquet substituted.parquet shift-*.parquet -o report.html \
    --figures figures --title "Synthetic experiment of Wilm et al.: $scale" --overwrite

# What distances foretell where nothing is labelled: fitted to the validation folds.
skiptool predict - --data synth.zarr --split fold --sweep paper -o validation.parquet \
    --resume <models.txt
skiptool report validation.parquet shift-*.parquet --forecast -o forecast.html --overwrite

{
    printf '%s.\n\n' "$scale"
    python "$here/claims.py" predictions.parquet substituted.parquet shift-*.parquet \
        --validation validation.parquet
} >claims.md
printf '%s\n' "$PWD/claims.md"

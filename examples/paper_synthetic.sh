#!/usr/bin/env bash
# The synthetic experiment of the paper in full: 1,000 images of 512 px, both encoders, baseline and
# L1 to L4, five folds, 50 epochs; days on a CPU, hours on a GPU.
#
#   examples/paper_synthetic.sh [FOLDER]           default: skiptool-paper
#   SCALE=10 examples/paper_synthetic.sh           a tenth of the images and of the epochs
#   WEIGHTS=none | WEIGHTS=/path/to/encoder.pth    instead of ImageNet's, which are downloaded once
#   ENCODERS="resnet18"  FOLDS="0 1"               fewer of them
#
# Run it again to go on after an interruption. Every command prints the paths it made.
set -euo pipefail

folder=${1:-skiptool-paper}
scale=${SCALE:-1}
weights=${WEIGHTS:-imagenet}
read -r -a encoders <<<"${ENCODERS:-resnet18 resnet34}"
read -r -a folds <<<"${FOLDS:-0 1 2 3 4}"
if [ "$weights" != imagenet ] && [ "$weights" != none ]; then weights=$(realpath "$weights"); fi
images=$((1000 / scale))
epochs=$((50 / scale))
epochs=$((epochs > 0 ? epochs : 1))
mkdir -p "$folder"
cd "$folder"

repeated() { # repeated --option value...: --option value --option value ...
    local option=$1 value
    shift
    for value in "$@"; do printf '%s\n%s\n' "$option" "$value"; done
}
mapfile -t encoder_options < <(repeated --encoder "${encoders[@]}")
mapfile -t fold_options < <(repeated --fold "${folds[@]}")

printf 'scale 1/%s: %s images, %s epochs\n' "$scale" "$images" "$epochs" >&2
skiptool synth --n "$images" -o synth.zarr --resume
skiptool train synth.zarr "${encoder_options[@]}" "${fold_options[@]}" \
    --prune 0 --prune 1 --prune 2 --prune 3 --prune 4 \
    --epochs "$epochs" --encoder-weights "$weights" -o runs --resume | tee models.txt
skiptool predict - --data synth.zarr --sweep paper -o predictions.parquet --resume <models.txt
skiptool features - --data synth.zarr --shift original --shift brightness=0.75 -o features \
    --resume <models.txt
for store in features/*_original.zarr; do
    skiptool hellinger "$store" "${store%_original.zarr}_brightness-0.75.zarr" \
        -o "shift-$(basename "${store%_synthetic_original.zarr}").parquet" --overwrite --quiet
done
skiptool report predictions.parquet shift-*.parquet -o report.html --figures figures \
    --title "Synthetic experiment of Wilm et al., scale 1/$scale" --overwrite

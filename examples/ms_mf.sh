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
#   PRUNE="0 1 2 3 4"  EPOCHS=50  LR=1e-4  FOLDS=5  FOLD=0  WEIGHTS=imagenet|none|FILE  CLASSES=...
#
# Run it again to go on after an interruption.
set -euo pipefail

manifest=$(realpath "${1:?usage: ms_mf.sh MANIFEST REFERENCE [FOLDER]}")
reference=${2:?usage: ms_mf.sh MANIFEST REFERENCE [FOLDER]}
folder=${3:-skiptool-ms-mf}
read -r -a prune <<<"${PRUNE:-0 1 2 3 4}"
mkdir -p "$folder"
cd "$folder"
prune_options=()
for k in "${prune[@]}"; do prune_options+=(--prune "$k"); done

# Exit code 3: some slides or objects were left out, and listed; the rest is whole.
skiptool extract wsi "$manifest" --mode centred --register "$reference" --mask "${MASK:-stain}" \
    --max-residual "${RESIDUAL:-2}" --classes "${CLASSES:-}" --folds "${FOLDS:-5}" \
    -o patches.zarr --resume || [ $? -eq 3 ]
skiptool train patches.zarr --domain "$reference" "${prune_options[@]}" --fold "${FOLD:-0}" \
    --epochs "${EPOCHS:-50}" --lr "${LR:-1e-4}" --encoder-weights "${WEIGHTS:-imagenet}" \
    -o runs --resume | tee models.txt
skiptool predict - --data patches.zarr -o predictions.parquet --resume <models.txt
skiptool features - --data patches.zarr -o features --resume <models.txt | tee stores.txt
while read -r model; do
    name=$(basename "$(dirname "$model")")
    mapfile -t others < <(grep "/$name-" stores.txt | grep -v "_${reference}_original.zarr")
    skiptool hellinger "features/$name-$(basename "$model")_${reference}_original.zarr" \
        "${others[@]}" -o "shift-$name.parquet" --overwrite --quiet
done <models.txt
skiptool report predictions.parquet shift-*.parquet -o report.html --figures figures \
    --title "Objects on all scanners" --overwrite

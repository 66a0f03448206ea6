#!/usr/bin/env bash
# Train on one domain and test on all of them: IoU with skips removed, the distance of every other
# domain from that one layer by layer, and a report, in the current folder.
#
#   examples/across_domains.sh TRAIN TEST REFERENCE [TITLE]
#
# TRAIN and TEST are dataset stores, or one store twice; REFERENCE is the domain to train on.
#
#   PRUNE="0 1 2 3 4"  EPOCHS=50  LR=1e-4  FOLD=0  WEIGHTS=imagenet|none|FILE
#   SPLIT=test|all          samples to test on; all where REFERENCE has none to spare
#
# Run it again to go on after an interruption.
set -euo pipefail

usage="usage: across_domains.sh TRAIN TEST REFERENCE [TITLE]"
train=${1:?$usage}
test=${2:?$usage}
reference=${3:?$usage}
title=${4:-Trained on $reference}
read -r -a prune <<<"${PRUNE:-0 1 2 3 4}"
prune_options=()
for k in "${prune[@]}"; do prune_options+=(--prune "$k"); done

skiptool train "$train" --domain "$reference" "${prune_options[@]}" --fold "${FOLD:-0}" \
    --epochs "${EPOCHS:-50}" --lr "${LR:-1e-4}" --encoder-weights "${WEIGHTS:-imagenet}" \
    -o runs --resume | tee models.txt
common=(--data "$test" --split "${SPLIT:-test}" --resume)
skiptool predict - "${common[@]}" -o predictions.parquet <models.txt
skiptool features - "${common[@]}" -o features <models.txt | tee stores.txt
while read -r model; do
    name=$(basename "$(dirname "$model")")
    mapfile -t others < <(grep "/$name-" stores.txt | grep -v "_${reference}_original.zarr")
    skiptool hellinger "features/$name-$(basename "$model")_${reference}_original.zarr" \
        "${others[@]}" -o "shift-$name.parquet" --overwrite --quiet
done <models.txt
skiptool report predictions.parquet shift-*.parquet -o report.html --figures figures \
    --title "$title" --overwrite

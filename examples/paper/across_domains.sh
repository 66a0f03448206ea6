#!/usr/bin/env bash
# Train on one domain and test on all of them: IoU with skips removed, the distance of every other
# domain from that one layer by layer, which skip connection brings the shift in where the domains
# show the same samples, and a report, in the current folder.
#
#   examples/paper/across_domains.sh TRAIN TEST REFERENCE [TITLE]
#
# TRAIN and TEST are dataset stores, or one store twice; REFERENCE is the domain to train on. The
# defaults are the paper's: 2 encoders x 5 choices of skip connections x 5 folds = 50 networks.
#
#   ENCODERS="resnet18 resnet34"  PRUNE="0 1 2 3 4"  FOLD="0 1 2 3 4"  EPOCHS=50  LR=1e-4
#   REPEATS=1                     trainings of each fold, which differ in their random seed
#   WEIGHTS=imagenet|none|FILE    encoder to start from
#   SPLIT=test|all                samples to test on; all where REFERENCE has none to spare
#   PAIRED=no|yes                 yes: domains show the same samples (registered slides), so that the
#                                 decoder is also fed each skip connection of REFERENCE
#   GROUP=subject|image           unit of the distances' intervals and lots
#   MASKS=no|yes                  yes: keep predicted masks; the report shows worst and median
#   FEATURES=no|keep              keep: leave the activations on disk, for other bins or metrics
#
# Run it again to go on after an interruption.
set -euo pipefail

usage="usage: across_domains.sh TRAIN TEST REFERENCE [TITLE]"
train=${1:?$usage}
test=${2:?$usage}
reference=${3:?$usage}
title=${4:-Trained on $reference}

options=() # --encoder E... --prune K... --fold F...
repeated() { # repeated --option "value value ..."
    local values value
    read -r -a values <<<"$2"
    for value in "${values[@]}"; do options+=("$1" "$value"); done
}
repeated --encoder "${ENCODERS:-resnet18 resnet34}"
repeated --prune "${PRUNE:-0 1 2 3 4}"
repeated --fold "${FOLD:-0 1 2 3 4}"
repeated --repeats "${REPEATS:-1}"
unit=()
if [ "${GROUP:-subject}" != image ]; then unit=(--group "${GROUP:-subject}"); fi
common=(--data "$test" --split "${SPLIT:-test}" --resume)
tables=(predictions.parquet)
measures=(--metric hellinger --metric covariance --metric classifier)
if [ "${PAIRED:-no}" = yes ]; then measures+=(--metric paired-difference); fi

skiptool train "$train" --domain "$reference" "${options[@]}" --epochs "${EPOCHS:-50}" \
    --lr "${LR:-1e-4}" --encoder-weights "${WEIGHTS:-imagenet}" -o runs --resume | tee models.txt

masks=()
if [ "${MASKS:-no}" = yes ]; then masks=(--masks masks.zarr); fi
skiptool predict - "${common[@]}" "${masks[@]}" -o predictions.parquet <models.txt

if [ "${PAIRED:-no}" = yes ]; then
    others=()
    for folder in "$test"/*/; do # a store's groups are its domains
        domain=$(basename "$folder")
        if [ "$domain" != "$reference" ]; then others+=(--domain "$domain"); fi
    done
    skiptool predict - "${common[@]}" "${others[@]}" --clean-skips each \
        --clean-domain "$reference" -o substituted.parquet <models.txt
    tables+=(substituted.parquet)
fi

# One network at a time: the activations of all together can be a terabyte.
mkdir -p features
while read -r -u 3 model; do
    name=$(basename "$(dirname "$model")")-$(basename "$model")
    table=shift-$name.parquet
    if [ ! -e "$table" ]; then
        skiptool features "$model" "${common[@]}" -o "features/$name" | tee stores.txt
        own=features/$name/${name}_${reference}_original.zarr
        mapfile -t others < <(grep -vxF "$own" stores.txt)
        skiptool hellinger "$own" "${others[@]}" "${unit[@]}" "${measures[@]}" -o "$table" --quiet
        if [ "${FEATURES:-no}" != keep ]; then rm -r "features/$name"; fi
    fi
    tables+=("$table" "$model/history.parquet")
done 3<models.txt
rmdir --ignore-fail-on-non-empty features

registered=${test%.zarr}-qc/registration.parquet
if [ -e "$registered" ]; then tables+=("$registered"); fi
if [ "${MASKS:-no}" = yes ]; then tables+=(masks.zarr); fi
skiptool report "${tables[@]}" "$test" -o report.html --figures figures --title "$title" --overwrite

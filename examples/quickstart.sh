#!/usr/bin/env bash
# The paper's synthetic experiment, small but whole: about ten minutes on two idle cores, no downloads.
#
#   examples/quickstart.sh [FOLDER]     results go to FOLDER (default: skiptool-quickstart)
#
# Half the side of the images and of the canvas, a quarter of the cells: the same density; ResNet18
# from random weights, one fold, three architectures, each trained once: enough to see what skiptool
# does, not to say which architecture is better. Run it again to go on after an interruption.
set -euo pipefail

folder=${1:-skiptool-quickstart}
mkdir -p "$folder"
cd "$folder"
say() { printf '\n== %s\n' "$*" >&2; }

say "1/6 synth: 120 blood smears of 256 px with their masks"
skiptool synth --n 120 --size 256 --canvas 750 --cells 1:25 -o synth.zarr --resume

say "2/6 train: all skip connections, the uppermost removed, none (fold 0, 12 epochs)"
skiptool train synth.zarr --prune 0 --prune 1 --prune 4 --fold 0 --encoder-weights none \
    --epochs 12 --lr 1e-3 --lr-step 8 -o runs --resume | tee models.txt

shifts=(--shift brightness=0.5 --shift brightness=0.75 --shift brightness=1.5 --shift contrast=0.5
    --shift saturation=0)
say "3/6 predict: the test images under every shift of the paper's Fig. 7, then with clean skips"
skiptool predict - --data synth.zarr --sweep paper -o predictions.parquet --masks masks.zarr \
    --resume <models.txt
skiptool predict - --data synth.zarr --clean-skips each "${shifts[@]}" -o substituted.parquet \
    --resume <models.txt

say "4/6 features: activations of twelve layers and what reaches the decoder, original and shifted"
skiptool features - --data synth.zarr --transmission --shift original "${shifts[@]}" -o features \
    --resume <models.txt

say "5/6 hellinger: how far each shift reaches, layer by layer (no network, no images needed)"
measures=(--metric hellinger --metric covariance --metric classifier --metric paired-difference)
for k in 0 1 4; do
    store=features/resnet18-L$k-fold0_synthetic
    skiptool hellinger "${store}_original.zarr" "${store}_brightness-0.75.zarr"
    skiptool hellinger "${store}_original.zarr" "${store}"_{brightness,contrast,saturation}-*.zarr \
        "${measures[@]}" -o "shift-L$k.parquet" --overwrite
done

say "6/6 report"
skiptool report predictions.parquet substituted.parquet shift-L?.parquet runs/*/fold0/history.parquet synth.zarr \
    masks.zarr -o report.html --figures figures --format png,pdf --title "skiptool quickstart" \
    --overwrite
printf '\nOpen %s/report.html\nEach network was trained once: the intervals are over images and say nothing about the next training.\n' \
    "$PWD" >&2

#!/usr/bin/env bash
# Train on a SLURM cluster: one fold an array task, all into one folder of runs, then one job that
# predicts and reports. Tasks of one array do not disturb each other.
#
#   examples/slurm_array.sh DATA [FOLDER]      default folder: skiptool-slurm
#
#   FOLDS=0-4                     folds, as 'sbatch --array' takes them (0-4%2: two at a time)
#   TRAIN="--prune 0 --prune 1"   options of 'skiptool train': encoders, pruning, epochs, weights
#   PREDICT="--sweep paper"       options of 'skiptool predict'
#   ASK="--cpus-per-task=4 --mem=16G --time=12:00:00 --gres=gpu:1"   resources of a fold
#   ASK_AFTER=$ASK                those of the last job
#
# Call it in the environment that has skiptool. A task that was killed, requeued or out of time goes
# on where it stopped when this is called again; finished folds are not trained again. Each job says
# in its log what it asked for and what it used. Nodes without network: --encoder-weights FILE.
set -euo pipefail

measured() { # run a command; then its wall time, CPU time and peak memory on stderr
    python3 - "$@" <<'PYTHON'
import os
import resource
import subprocess
import sys
import time

began = time.monotonic()
code = subprocess.call(sys.argv[1:])
wall, used = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
ask = {name: os.environ.get(f"SLURM_{name}", "?") for name in ("CPUS_PER_TASK", "MEM_PER_NODE")}
print(
    f"asked: {ask['CPUS_PER_TASK']} cores, {ask['MEM_PER_NODE']} MB; "
    f"used: {wall:.0f} s, {(used.ru_utime + used.ru_stime) / wall:.1f} cores on average, "
    f"{used.ru_maxrss / 1024:.0f} MB in the largest process",
    file=sys.stderr,
)
sys.exit(code)
PYTHON
}

case ${SKIPTOOL_JOB:-submit} in
submit)
    data=$(realpath "${1:?usage: slurm_array.sh DATA [FOLDER]}")
    ask=${ASK:---cpus-per-task=4 --mem=16G --time=12:00:00 --gres=gpu:1}
    script=$(realpath "$0")
    mkdir -p "${2:-skiptool-slurm}"
    cd "${2:-skiptool-slurm}"
    export DATA=$data TRAIN=${TRAIN:---prune 0 --prune 1} PREDICT=${PREDICT:---sweep paper}
    # shellcheck disable=SC2086 # options are words
    array=$(SKIPTOOL_JOB=train sbatch --parsable --requeue --array="${FOLDS:-0-4}" \
        --job-name=skiptool-train --output=train-%a.log --open-mode=append $ask "$script")
    # shellcheck disable=SC2086
    after=$(SKIPTOOL_JOB=report sbatch --parsable --dependency="afterok:$array" \
        --job-name=skiptool-report --output=report.log ${ASK_AFTER:-$ask} "$script")
    echo "submitted $array (folds ${FOLDS:-0-4}) and, behind it, $after; logs and results: $PWD" >&2
    ;;
train)
    # shellcheck disable=SC2086
    measured skiptool train "$DATA" --fold "$SLURM_ARRAY_TASK_ID" $TRAIN -o runs --resume
    ;;
report)
    # shellcheck disable=SC2086
    # exit code 3: some models failed, and are listed; the rest is whole
    measured skiptool predict runs --data "$DATA" $PREDICT -o predictions.parquet --resume ||
        [ $? -eq 3 ]
    measured skiptool report predictions.parquet -o report.html --figures figures --overwrite
    ;;
esac

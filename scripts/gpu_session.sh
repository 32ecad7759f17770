#!/usr/bin/env bash
# Measure on a machine with one GPU and no network, from the repository root, within 8 minutes.
#
#   make gpu-kit                                           first, where there is a network: wheels in build/gpu-kit
#   scripts/gpu_session.sh [--out FOLDER] [--kit FOLDER]   there: results.jsonl, summary.txt and log.txt in FOLDER
#   scripts/gpu_session.sh --tiny                          every section in small, on the CPU: a rehearsal
#
# Writes to FOLDER (default: build/gpu-session-PLAN) and to a temporary folder, and installs nothing anywhere else.
# PYTHON names the interpreter that has torch (default: python3), --plan a plan of benchmarks/gpu_session.
set -euo pipefail
python=$(command -v "${PYTHON:-python3}")
plan=measurements out='' kit=build/gpu-kit rest=()
while [ $# -gt 0 ]; do
    case $1 in
        --plan) plan=${2:?--plan needs a name}; shift 2 ;;
        --out) out=${2:?--out needs a folder}; shift 2 ;;
        --kit) kit=${2:?--kit needs a folder}; shift 2 ;;
        *) rest+=("$1"); shift ;;
    esac
done
if ! ls "$kit"/wheels/*.whl > /dev/null 2>&1; then
    echo "gpu_session.sh: $kit/wheels holds no wheels; \`make gpu-kit\` writes them where there is a network." >&2
    exit 2
fi
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT
"$python" -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --disable-pip-version-check \
    --target "$temporary/site" "$kit"/wheels/*.whl
export PYTHONPATH=$PWD/src:$PWD/benchmarks:$temporary/site TMPDIR=$temporary XDG_CACHE_HOME=$temporary/cache
export PYTHONUNBUFFERED=1 HF_HUB_OFFLINE=1 HF_HOME=$temporary/hf TOKENIZERS_PARALLELISM=false
export TRITON_CACHE_DIR=$temporary/triton TORCHINDUCTOR_CACHE_DIR=$temporary/inductor
"$python" -m gpu_session "$plan" --out "${out:-build/gpu-session-$plan}" --kit "$kit" "${rest[@]}" &
session=$!
trap 'kill "$session"; wait "$session"' INT TERM
wait "$session"

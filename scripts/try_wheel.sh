#!/usr/bin/env bash
# Whether a wheel works for a user: it holds the package as it is in this repository, and in an empty environment
# outside of it a recipe is written, two steps are trained, and there is a report.
#
#   scripts/try_wheel.sh WHEEL [PYTHON]                 everything; the starter model comes from the package index
#   scripts/try_wheel.sh WHEEL PYTHON --without-torch   what needs no torch: version, help, data check
set -euo pipefail
wheel=$(realpath "$1") python=${2:-python3} mode=${3:-}
repository=$(dirname "$(realpath "$0")")/..
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" -m venv "$folder/env"  # before the folder changes: the path may be relative

"$folder/env/bin/python" -m zipfile -l "$wheel" | awk '$1 ~ /^boresight\// {print $1}' | sort > "$folder/packed"
git -C "$repository" ls-files --cached --others --exclude-standard src/boresight | cut -d/ -f2- | sort > "$folder/files"
if ! diff "$folder/files" "$folder/packed"; then
    echo "$wheel: does not hold the files of src/boresight (< missing, > not in the repository); build it anew." >&2
    exit 1
fi
cd "$folder"
export XDG_CACHE_HOME=$folder/cache
unset PYTHONPATH
boresight=$folder/env/bin/boresight

cat > pairs.py <<'PAIRS'
import json

for n in range(40):
    answers = {"chosen": f"{n} and {n} are {2 * n}.", "rejected": f"Who knows what {n} and {n} are?"}
    print(json.dumps({"prompt": f"What are {n} and {n}?", **answers}))
PAIRS
env/bin/python pairs.py > pairs.jsonl

if [ "$mode" = --without-torch ]; then
    env/bin/pip install -q pydantic PyYAML rich typer numpy
    env/bin/pip install -q --no-deps "$wheel"
    "$boresight" --version
    "$boresight" --help > /dev/null
    "$boresight" data check pairs.jsonl
    exit
fi
env/bin/pip install -q "$wheel"
"$boresight" --version
"$boresight" doctor
"$boresight" init pairs.jsonl
"$boresight" train pairs-dpo.yaml train.epochs=null train.steps=2 evaluate.samples=2 --run runs/own
"$boresight" train dpo data.train=pairs.jsonl train.steps=2 evaluate.samples=2 --run runs/named
for run in own named; do
    grep -q "Before and after" "runs/$run/report.html"
    echo "runs/$run/report.html: $(wc -c < "runs/$run/report.html") bytes"
done

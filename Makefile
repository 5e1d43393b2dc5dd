# chatfed: every target sets itself up. `make` alone lists them.

PYTHON ?= python3
VENV ?= .venv
FLOWER := .venv-flower
EXTRAS ?= dev
PY := $(VENV)/bin/python
CHATFED := $(PY) -m chatfed
ARGS ?=
JOBS ?= 2
TORCH_ARGS ?=
NAMED = $(filter smollm2,$(BASE))

.DEFAULT_GOAL := help
.PHONY: help setup train-federated federation flower-setup resume chat probe audit test test-long test-big test-soak test-kills test-power-cuts test-mutants test-peers fuzz lint docs bench pfl vectors base-table clean test-base

help: ## list the targets
	@echo "usage: make TARGET [ARGS=\"options for the program\"]"
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  \1#\2/p' Makefile | awk -F'#' '{printf "%-18s %s\n", $$1, $$2}'

setup: $(VENV)/.ready ## make .venv and install everything into it

train-federated: $(VENV)/.ready ## train the default federation into runs/default (BASE=smollm2: a pretrained base)
	@$(if $(NAMED),$(CHATFED) base get $(NAMED))
	@$(CHATFED) train --replace $(if $(BASE),--base $(BASE)) $(ARGS)

federation: flower-setup ## run a federation of five organisations on this machine, carried by Flower, into runs/federation
	@$(FLOWER)/bin/python -m training.loopback $(ARGS)

flower-setup: ## make .venv-flower, with Flower and the older web packages that it wants
	@$(MAKE) --no-print-directory setup VENV=$(FLOWER) EXTRAS=flower

resume: $(VENV)/.ready ## go on with an interrupted run in runs/default (BASE=smollm2: in runs/smollm2)
	@$(CHATFED) resume runs/$(or $(NAMED),default) $(ARGS)

chat: $(VENV)/.ready ## talk to the trained model in a browser
	@$(CHATFED) serve $(if $(NAMED),--model runs/$(NAMED)) $(ARGS)

probe: $(VENV)/.ready ## the same page, opened at the leakage probe
	@$(CHATFED) probe $(if $(NAMED),--model runs/$(NAMED)) $(ARGS)

audit: $(VENV)/.ready ## attack the run in runs/default, and set what that gives beside what is proven (BASE=smollm2: of runs/smollm2)
	@$(CHATFED) audit runs/$(or $(NAMED),default) $(ARGS)

test: $(VENV)/.ready flower-setup ## run the tests: browsers, federations and all else side by side, this last with JOBS processes (with ARGS: pytest's own way)
	@export OMP_NUM_THREADS=1; \
	if [ -n '$(ARGS)' ]; then exec $(PY) -m pytest $(ARGS); fi; \
	exec $(PY) -m tests.side_by_side --jobs $(JOBS)

test-long: $(VENV)/.ready flower-setup ## run the tests that take long: the whole tutorial, a federation's benchmark, a coordinator killed at random, two processes with one key
	@OMP_NUM_THREADS=1 CHATFED_COORDINATOR_KILLS=10 $(PY) -m pytest -m long $(ARGS)

test-big: $(VENV)/.ready ## train adapters on bases of 100 M parameters, in 4 GB of memory and some minutes
	@OMP_NUM_THREADS=1 $(PY) -m pytest -m big -s tests/training/test_adapters.py $(ARGS)

test-base: $(VENV)/.ready ## get the base smollm2 and hold 10,000 texts and its logits against slow readings of its file
	@OMP_NUM_THREADS=1 $(PY) -m pytest -m big -s tests/model/test_smollm2.py $(ARGS)

test-peers: $(VENV)/.ready .venv-peers/.ready ## run lm-evaluation-harness against the API, and llama.cpp on our GGUF files (made on the spot: some minutes)
	@OMP_NUM_THREADS=1 PYTHONPATH=$$(echo .venv-peers/llama) $(PY) -m pytest -m peers tests/serving/api tests/model/test_llama_cpp.py $(ARGS)

test-kills: $(VENV)/.ready ## kill a small federation at 200 random moments, and look at its ledgers and answers
	@OMP_NUM_THREADS=1 CHATFED_KILLS=200 $(PY) -m pytest tests/training/parties/test_random_kills.py $(ARGS)

test-soak: $(VENV)/.ready flower-setup ## run 200 rounds of a federation of processes that are killed at random; look at ledgers and memory
	@OMP_NUM_THREADS=1 CHATFED_SOAK_ROUNDS=200 $(PY) -m pytest -s tests/training/test_soak.py $(ARGS)

test-power-cuts: $(VENV)/.ready ## take a small federation's power at 800 random moments, what its disk had not synced with it
	@OMP_NUM_THREADS=1 CHATFED_POWER_CUTS=200 $(PY) -m pytest tests/training/parties/test_power_cuts.py $(ARGS)

test-mutants: $(VENV)/.ready ## put known faults into copies of our modules and see each found by the audit; ARGS="--clean 1000": none in sound code
	@OMP_NUM_THREADS=1 $(PY) -m tests.mutants $(ARGS)

fuzz: $(VENV)/.ready ## feed spoiled bytes to whatever reads bytes from outside (ARGS="--seconds 600 --seed 1")
	@OMP_NUM_THREADS=1 $(PY) -m tests.secagg.fuzz $(ARGS)

lint: $(VENV)/.ready ## ruff and mypy
	@$(PY) -m ruff check .
	@$(PY) -m mypy

docs: $(VENV)/.ready ## write docs/api.md and docs/house.svg anew from the code
	@$(PY) -m tests.api_page
	@$(PY) -m tests.house --drawing docs/house.svg

bench: $(VENV)/.ready ## print every table of benchmarks/; beside Flower too with VENV=.venv-bench EXTRAS=bench
	@for name in secagg dp_step simulation; do \
	  echo "== $$name"; $(PY) -m "benchmarks.$$name" $(ARGS) || exit 1; \
	done

pfl: ## make .venv-pfl, where benchmarks.simulation finds pfl-research (Python before 3.13; its accountant is not ours)
	@$(PYTHON) -m venv .venv-pfl
	@.venv-pfl/bin/python -m pip install --quiet $(TORCH_ARGS) "torch>=2.13,<2.14"
	@.venv-pfl/bin/python -m pip install --quiet "pfl>=0.6,<0.7" "transformers>=5.0,<6" "numpy>=2.0,<3" "cryptography>=44"

.venv-peers/.ready:
	@$(PYTHON) -m venv .venv-peers
	@.venv-peers/bin/python -m pip install --quiet $(TORCH_ARGS) "torch>=2.13,<2.14"
	@.venv-peers/bin/python -m pip install --quiet "lm-eval[api]==0.4.13" "transformers>=5.0,<6"
	@CMAKE_ARGS="-DLLAVA_BUILD=OFF -DMTMD_BUILD=OFF -DLLAMA_BUILD_TOOLS=OFF -DLLAMA_BUILD_SERVER=OFF" \
	  .venv-peers/bin/python -m pip install --quiet --no-deps --target .venv-peers/llama "llama-cpp-python==0.3.36" "diskcache>=5"
	@touch $@

vectors: $(VENV)/.ready ## write the secure-aggregation test vectors anew
	@$(PY) -m tests.secagg.make_vectors $(ARGS)

base-table: $(VENV)/.ready ## examine sixty architectures and write the table of docs/bases.md anew
	@OMP_NUM_THREADS=1 $(PY) -m tests.model.base_table

clean: ## remove .venv and all that tools left behind; runs/ and cache/ stay
	rm -rf .venv .venv-flower .venv-bench .venv-pfl .venv-peers .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist *.egg-info
	find chatfed training serving benchmarks tests -name __pycache__ -type d -prune -exec rm -rf {} +

# Torch first and by itself: its wheel is by far the largest, and the rest must not choose another. uv does not read
# pip's settings, so the folder in PIP_FIND_LINKS, where a machine may hold a torch of its own, is named to it.
# It compiles no bytecode by itself as pip does: where PYTHONDONTWRITEBYTECODE is set every start would compile anew.
# Another accelerator: make setup TORCH_ARGS="--index-url https://download.pytorch.org/whl/cpu"
$(VENV)/.ready: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "chatfed needs Python 3.11 or newer: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@rm -f $@
	@$(PYTHON) -m venv $(VENV) || \
	  { echo "python3 -m venv failed: install Debian's python3-venv, or name another PYTHON" >&2; exit 1; }
	@set -e; \
	export UV_FIND_LINKS="$${UV_FIND_LINKS:-$$(echo $${PIP_FIND_LINKS:-} | tr ' ' ',')}"; \
	export PIP_DISABLE_PIP_VERSION_CHECK=1 UV_COMPILE_BYTECODE=1; \
	pip="$(PY) -m pip install --quiet"; \
	install="$$pip"; \
	if [ -z "$(NO_UV)" ]; then \
	  if uv --version >/dev/null 2>&1; then install="uv pip install --quiet --python $(PY)"; \
	  elif $$pip uv >/dev/null 2>&1; then install="$(PY) -m uv pip install --quiet --python $(PY)"; fi; \
	fi; \
	echo "installing into $(VENV): $${install%% --*}"; \
	all() { $$1 $(TORCH_ARGS) "torch>=2.13,<2.14" && $$1 -e ".[$(EXTRAS)]"; }; \
	all "$$install" || { [ "$$install" != "$$pip" ] && echo "uv could not; trying pip" && all "$$pip"; }
	@touch $@

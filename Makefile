# Everything a newcomer needs: `make demo` and `make test` on a machine with Python 3.11+ and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready

.PHONY: help demo test test-slurm test-skypilot check kills segments bench bench-console locale screenshots clean
help: ## what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

# torch first and alone: an index that offers a CPU build of just this version is then used for it.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo 'sdtui needs Python 3.11 or newer: set PYTHON=/path/to/python3.11' >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null \
		|| { echo 'Python has no venv: apt-get install python3-venv' >&2; exit 2; }
	@echo "setting up $(VENV): a minute or two, the first time"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(STAMP) ## set up and train the shipped demo on the CPU, a minute or two
	$(BIN)/sdtui --run demo

# Four at a time wait more than they compute. What fails so is tried once more, alone: on two shared
# cores a test of time can lose to its neighbours, and a fault fails again.
test: $(STAMP) ## set up and run the test suite, 20 to 25 minutes on 2 slow cores
	$(BIN)/python -m pytest -n 4 --dist worksteal || { [ $$? = 1 ] \
		&& $(BIN)/python -m pytest --last-failed --last-failed-no-failures none; }

test-slurm: $(STAMP) ## runs on a two-node Slurm of this machine's own; as root installs Debian's
	.ci/packages slurmctld:slurmctld slurmd:slurmd sbatch:slurm-client gcc:gcc
	SLURM_IS_A_MUST=1 $(BIN)/python -m pytest -n 2 tests/process/slurm

# SkyPilot needs an older click than ours: an environment of its own, about 460 MB.
SKY := .venv-skypilot
$(SKY)/.ready:
	@echo "setting up $(SKY): a minute or two, the first time"
	@$(PYTHON) -m venv $(SKY)
	@$(SKY)/bin/python -m pip install --quiet --disable-pip-version-check skypilot==0.14.1
	@touch $@

test-skypilot: $(STAMP) $(SKY)/.ready ## exported task files, read by SkyPilot's own parser
	SKYPILOT_PYTHON=$(CURDIR)/$(SKY)/bin/python $(BIN)/python -m pytest -k skypilot \
		tests/core/launch/test_exported_files.py

check: $(STAMP) ## the quick half: format, lint, types, layers
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

kills: $(STAMP) ## 50 random SIGKILLs over one training, 2 minutes
	KILLS=50 $(BIN)/python -m pytest -s tests/core/train/test_segments.py -k random_kills

segments: $(STAMP) ## one training cut into pieces in 60 random ways, compared bit for bit, 10 minutes
	SEGMENTS=60 $(BIN)/python -m pytest -s tests/core/train/test_segments.py -k any_cut

bench: $(STAMP) ## start-up and training as ratios, 25 minutes; QUICK=1: 12; REFERENCE=…/train_text_to_image.py
	$(BIN)/python benchmarks/cli.py
	$(BIN)/python benchmarks/mounts.py
	$(BIN)/python benchmarks/train.py $(if $(REFERENCE),--reference $(REFERENCE)) \
		$(if $(PACKAGES),--packages $(PACKAGES)) $(if $(QUICK),--quick)
	$(BIN)/python benchmarks/attached.py $(if $(QUICK),--quick)
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/saving.py $(if $(QUICK),--quick)
	$(BIN)/python benchmarks/caching.py $(if $(QUICK),--quick)
	$(BIN)/python benchmarks/caching.py --buckets $(if $(QUICK),--quick)

bench-console: $(STAMP) ## what the console costs: bytes, keys, CPU, memory; 20 minutes
	$(BIN)/python benchmarks/console.py

locale: $(STAMP) ## collect the console's texts and compile the translations
	$(BIN)/python tools/translate.py

screenshots: $(STAMP) ## take the README's pictures anew
	$(BIN)/python tools/screenshots.py

clean: ## remove the environment and caches
	rm -rf $(VENV) $(SKY) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

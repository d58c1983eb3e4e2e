# `make` alone lists the targets. Needs Python 3.11, 3.12 or 3.13, make and a C compiler.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
RUN := $(BIN)/python -m advvid.train
CODE := src tests scripts examples docs/notebooks
JOBS ?= 2
# One thread per test process: two processes with all threads each are slower than one.
PYTEST := OMP_NUM_THREADS=1 WANDB_MODE=offline $(BIN)/python -m pytest -n $(JOBS) --dist loadfile
SWEEP ?= defense=at attack.eps=2/255,4/255,8/255 attack.step_size=1/255,2/255 schedule.epochs=20 dataset.limit_test=100
SWEEP_DIR ?= outputs/sweep
# Tables of the papers: SCALE=demo on embedded data; at full scale say where data and lists are, as in
# UCF101=/data/UCF-101,/data/ucfTrainTestlist, what each network starts from, as in WEIGHTS="i3d=/w/i3d.pt resnext3d_101=/w/x.pth",
# and what else every run is told, as in OVERRIDES="seed=1".
SCALE ?= full
ifdef WORDS
$(info notice: WORDS is called OVERRIDES now)
OVERRIDES ?= $(WORDS)
endif
# Where all tables and verdicts made so far are gathered: papers.json, claims.json, claims.md and, by make papers, the report.
PUBLISH ?= outputs/papers
PAPERS = $(BIN)/python -m advvid.papers run --scale $(SCALE) $(if $(UCF101),--ucf101 $(UCF101)) $(if $(HMDB51),--hmdb51 $(HMDB51)) \
  $(if $(YOUTUBE8M),--youtube8m $(YOUTUBE8M)) $(if $(CIFAR10),--cifar10 $(CIFAR10)) $(if $(MOVING_MNIST),--moving-mnist $(MOVING_MNIST)) \
  $(foreach override,$(OVERRIDES),--override $(override)) $(foreach weights,$(WEIGHTS),--weights $(weights)) $(if $(filter demo,$(SCALE)),--jobs $(JOBS) --threads 1) --publish $(PUBLISH)

.DEFAULT_GOAL := help
.PHONY: help install demo demo-none demo-cat test test-fast test-slow lint format list sweep strength papers list-papers check-papers report docs check-docs build clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP) ## Make .venv and install everything into it (again only when pyproject.toml changed)

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if v in ((3, 11), (3, 12), (3, 13)) else "advvid needs Python 3.11, 3.12 or 3.13, $(PYTHON) is %d.%d: make install PYTHON=python3.12" % v)'
	@echo "Installing into .venv: about 6 GB with torch, a few minutes."
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev]"
	@touch $@

# Two trainings at once, of one thread each: two cores do them sooner than one after the other with two threads.
DEMO := dataset.limit_val=50 schedule.validate_every=10 runtime.threads=1 resume=true
demo: install ## Train without and with a defense on embedded data, attack both, print one table; goes on where it stopped
	@$(MAKE) --no-print-directory -j 2 demo-none demo-cat
	$(BIN)/python -m advvid.gather outputs/demo/none outputs/demo/cat --out outputs/demo --where --title "Demo: no defense, then curriculum adversarial training"

demo-none: install ## One half of the demo: no defense
	$(RUN) defense=none $(DEMO) hydra.run.dir=outputs/demo/none

demo-cat: install ## One half of the demo: curriculum adversarial training
	$(RUN) defense=cat attack=pgd $(DEMO) hydra.run.dir=outputs/demo/cat

test: install ## Run the test suite
	$(PYTEST)

test-fast: install ## Run the quickest test files, in under 90 seconds
	$(PYTEST) --quick

test-slow: install ## Run the tests that take longer
	$(PYTEST) -m slow

lint: install ## Check style, formatting and types
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/mypy

format: install ## Bring the code into shape
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

list: install ## Show every model, data set, attack, defense, schedule and suite
	@$(BIN)/python -m advvid list

sweep: install ## Run every combination of SWEEP="..." and gather the table and a heat map; a failed job does not stop it
	-$(RUN) -m $(SWEEP) tracker=none hydra.sweep.dir=$(SWEEP_DIR) resume=true
	$(BIN)/python -m advvid.gather $(SWEEP_DIR)

strength: install ## Compare every attack with torchattacks, foolbox and ART; needs ADVVID_REALDATA=<folder of weizmann/>; a killed run goes on
	$(BIN)/python -m pip install --quiet --editable ".[peers]"
	$(BIN)/python scripts/compare_attacks.py

papers: install ## Make every table and figure of the papers and a report; SCALE=demo on embedded data; finished cells are kept
	$(PAPERS) all; made=$$?; \
	$(BIN)/python -m advvid.report --tables $(PUBLISH)/papers.json --title "Five papers, measured again" --out $(PUBLISH)/report.html && exit $$made

list-papers: install ## Show the papers' tables and figures, what each costs, and how much of it is there
	@$(BIN)/python -m advvid.papers list

check-papers: install ## Try every table of the papers at full scale in a few steps: UCF101=<videos>,<lists> [ONLY=kinfu]
	$(BIN)/python -m advvid.papers check $(ONLY) $(if $(UCF101),--ucf101 $(UCF101)) $(if $(HMDB51),--hmdb51 $(HMDB51))

# One table or figure, such as make kinfu-table2 SCALE=demo
kinfu-% deepsava-% aart-% jia-% lo-%: install
	$(PAPERS) $@

# A study of our own on embedded data, or one of its tables: make study-embedded
study-%: SCALE = demo
study-%: install
	$(PAPERS) $*

RUNS ?= outputs/demo
REPORT ?= outputs/report.html
report: install ## Turn run folders into one page: RUNS="outputs/demo ...", TABLES=outputs/published/papers.json, REPORT=outputs/report.html
	$(BIN)/python -m advvid.report $(RUNS) $(if $(TABLES),--tables $(TABLES)) --out $(REPORT)

docs: install ## Make the documentation in site/; fails on a broken link
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[docs]"
	$(BIN)/python -m mkdocs build --strict

check-docs: docs ## Look at every page of the site: links, words of pictures, and in a browser overflow, contrast, search
	$(BIN)/python scripts/check_site.py site

build: install ## Build the wheel into dist/
	$(BIN)/python -m build --wheel

clean: ## Remove caches; environments, data and results stay
	rm -rf .pytest_cache .mypy_cache .ruff_cache build
	find src tests scripts -name __pycache__ -type d -prune -exec rm -rf {} +

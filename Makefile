# make run    sets everything up, trains Mirror-Prox-GAN on the 8 Gaussians, publishes it
# make test   sets everything up, runs the tests
# make check  sets everything up, checks format, lint, types, and that every mutation still applies
# make wheel-test  builds the wheel, installs it in a clean environment, tries it in strange folders
# make walk   a stranger's first minutes, timed: an empty folder, a new environment, served
# make docs   builds the site into site/, offline and strict; make pages renders what it takes from records
# make release  builds and checks sdist and wheel in dist/; publishes nothing
# make browser  installs a Chromium, for the tests of the served page (as root, with apt-get)
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
WORKDIR ?= runs/gaussians8_mp
SEED   ?= 0
KILLS  ?= 40
JOBS   ?= 2

.PHONY: run test test-slow wheel-test walk docs pages release browser mutate chaos check format bench peers gpu-compiler lock clean

run: $(STAMP)
	$(BIN)/python -m trainers.run --config=configs/gaussians8_mp.py --workdir=$(WORKDIR) --config.seed=$(SEED)

test: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow" --durations=25

test-slow: $(STAMP)
	$(BIN)/python -m pytest -m slow

wheel-test: $(STAMP)
	$(BIN)/python -m pytest -q tests/test_wheel.py

walk: $(STAMP)
	$(BIN)/python -m tests.walk

# Refused while a page is stale; every warning (a lost link, an unknown name) is an error.
docs: $(STAMP)
	$(BIN)/python -m benchmarks.pages --check
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet
	@echo "site/index.html"

pages: $(STAMP)
	$(BIN)/python -m benchmarks.pages

# Tools of their own environment: nothing else needs them.
release:
	test -x .venv-release/bin/python || $(PYTHON) -m venv .venv-release
	.venv-release/bin/python -m pip install --quiet --disable-pip-version-check \
	  'build>=1.2,<2' 'twine>=6,<8'
	rm -rf dist build
	.venv-release/bin/python -m build --outdir=dist .
	.venv-release/bin/python -m twine check --strict dist/*

browser:
	@command -v chromium >/dev/null || { apt-get update -qq && \
	  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium \
	  >/dev/null; }

# Breaks the mathematics on purpose, in a copy, and sees whether the tests notice.
mutate: $(STAMP)
	$(BIN)/python -m tests.mutate

# Kills runs at random moments and compares what they end with; goes on where it was.
chaos: $(STAMP)
	$(BIN)/python -m tests.chaos --kills=$(KILLS) --seed=$(SEED) --jobs=$(JOBS) --out=runs/chaos

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/basedpyright
	$(BIN)/python -m tests.mutate --check

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(STAMP)
	$(BIN)/python -m benchmarks.step

# What benchmarks.step compares with (the extra `bench`), apart: POT imports PyTorch and JAX if it
# finds them.
peers: $(STAMP)
	test -x .venv-peers/bin/python || $(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
	  'jax>=0.10,<0.11' 'jaxlib>=0.10,<0.11' 'torch>=2.13,<2.14'

# XLA's compiler for NVIDIA GPUs, which needs no GPU (benchmarks.kernels --device=h100).
gpu-compiler: $(STAMP)
	test -x .venv-gpu/bin/python || $(PYTHON) -m venv .venv-gpu
	.venv-gpu/bin/python -m pip install --quiet --disable-pip-version-check \
	  jax==0.10.2 jaxlib==0.10.2 nvidia-cuda-nvcc-cu12
	.venv-gpu/bin/python -m pip install --quiet --disable-pip-version-check --no-deps \
	  jax-cuda12-plugin==0.10.2 jax-cuda12-pjrt==0.10.2

# The virtual environment, exactly as tested (constraints.txt).
$(STAMP): setup.py constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) --version). Use make PYTHON=..."; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

# Writes constraints.txt anew from what is installed.
lock: $(STAMP)
	$(BIN)/python -m pip freeze --exclude-editable | grep -v '^-e' > constraints.txt

clean:
	rm -rf $(VENV) .venv-release .venv-gpu runs build dist site *.egg-info .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

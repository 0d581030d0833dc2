# Everything a checkout needs: Python 3.11 or newer and make. Nothing here needs root.
#   make venv    .venv with every dependency at the versions and hashes of requirements.lock
#   make demo    broker, simulated press, agent and gateway; the console is on http://127.0.0.1:8080
#   make test    lint, types, layers, then all tests (WORKERS at once); the last line is pytest's summary
#   make lint    the first three of these
#   make bench   every benchmark in tests/benchmarks in turn
#   make faults  every fault in its long form, and the table docs/faults.md (SEED, FAULTS, SMALL)
#   make soak    the whole road with connections that come and go; memory must stay flat (SEED, SECONDS)
#   make fuzz    every decoder against damaged input (SEED, SECONDS)
#   make peers   evidence against independent implementations; needs node, npm and their registry
#   make pictures  the pages of the console in both languages, drawn anew into docs/images (needs Chromium)
#   make bundle  everything for a computer without a network, as one archive and as a Debian package, in dist/ (SIGN=key.pem: signed; MACHINE=aarch64: for it)
#   make sbom    the bill of materials of what runs, CycloneDX JSON, in dist/
#   make bare    that bundle installed, upgraded, rolled back and removed on a bare Debian without network; needs root and debootstrap
#   make walk    a stranger's first hour with it, timed: a booted Debian without network, a server, the console; needs systemd-nspawn and Chromium
#   make lock    resolve pyproject.toml anew into requirements.lock (needs uv and a package index)

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := venv
.PHONY: venv demo test lint bench faults soak fuzz peers lock pictures bundle bare walk sbom

BIN := .venv/bin
READY := .venv/.ready
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check --no-input
KERNELS := $(shell grep -rl --include='*.py' '^@kernel' edge_agent models)

venv: $(READY) .venv/.kernels

$(READY): requirements.lock pyproject.toml
	@for python in $${PYTHON:-} python3.11 python3 python; do \
	  if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then found=$$python; break; fi; \
	done; \
	if [ -z "$${found:-}" ]; then \
	  echo "make venv: expected Python 3.11 or newer as python3.11 or python3, found $$(python3 --version 2>&1 || true); set PYTHON=/path/to/python" >&2; exit 1; \
	fi; \
	if [ ! -x $(BIN)/python ]; then \
	  "$$found" -m venv .venv || { rm -rf .venv; echo "make venv: expected the venv module of $$found to work (Debian: apt install python3-venv)" >&2; exit 1; }; \
	fi
	@$(PIP) install --require-hashes -r requirements.lock
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

# Loops are compiled once, here. Where there is no C compiler or no Python.h, numba keeps them beside the source instead; they are the same loops.
.venv/.kernels: $(READY) $(KERNELS) models/compiled.py models/ahead.py
	@modules=$$(echo $(KERNELS:.py=) | tr / .); \
	  $(BIN)/python -m models.ahead $$modules >/dev/null 2>&1 || { rm -f models/_kernels.*.so; \
	    echo "make venv: no C compiler with the headers of Python: kernels are compiled at start" >&2; \
	    $(BIN)/python -c 'import importlib, sys; [importlib.import_module(name) for name in sys.argv[1:]]' $$modules; }
	@touch $@

demo: venv
	@$(BIN)/edge-sim demo $(ARGS)

lint: venv
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

# Most tests wait for processes, sockets and browsers: a third worker keeps two cores busy. A file's tests stay with one worker, where they share what they started.
WORKERS ?= 3
test: lint
	@$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile $(ARGS)

bench: venv
	@for file in tests/benchmarks/*.py; do \
	  name=$$(basename "$$file" .py); \
	  case $$name in _*) continue;; esac; \
	  echo "== $$name"; $(BIN)/python -m tests.benchmarks.$$name; \
	done

faults soak fuzz: export SEED := $(SEED)
faults soak fuzz: export SECONDS_ := $(SECONDS)
faults: export FAULTS := $(FAULTS)
faults: export SMALL := $(SMALL)

pictures: venv
	@PHARMEDGE_SCREENSHOTS=1 $(BIN)/python -m pytest -q $$(grep -lE 'picture\(|screenshot\(' tests/gateway/console/test_*.py)

faults: venv
	@$(BIN)/python -m tests.faults

soak fuzz: venv
	@$(BIN)/python -m tests.faults.$@

peers: venv
	@$(BIN)/python -m tests.peers.opcua_conditions
	@$(BIN)/python -m tests.peers.opcua_server
	@$(BIN)/python -m tests.peers.sparkplug

bundle: venv
	@$(BIN)/python -m deploy.bundle --deb $(if $(SIGN),--sign $(SIGN)) $(if $(MACHINE),--machine $(MACHINE))

sbom: venv
	@mkdir -p dist && $(BIN)/python -m deploy.sbom dist/sbom.cdx.json && echo dist/sbom.cdx.json

bare: venv
	@$(BIN)/python -m tests.deploy.bare $(ARGS)

walk: venv
	@$(BIN)/python -m tests.deploy.stranger $(ARGS)

lock:
	@command -v uv >/dev/null || { echo "make lock: expected uv on the PATH, found none" >&2; exit 1; }
	@uv --quiet pip compile pyproject.toml --all-extras --universal --generate-hashes --python-version 3.11 --no-header --no-emit-index-url --output-file requirements.lock

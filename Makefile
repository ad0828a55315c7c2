# Everything happens in .venv, which the first target that needs it builds.
# PYTHON picks another interpreter (3.11 or newer) for a new .venv: make clean test PYTHON=python3.12

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= $(shell command -v python3.11 || command -v python3)
PREFIX ?= $(HOME)/.local
TESTS ?=
PARTS ?=
WORKERS ?= 2
FUZZ_SECONDS ?= 60
SIM_SECONDS ?= 60
ROUNDS ?= 10
VERSIONS ?=
CHAOS_MINUTES ?= 5

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
KERNEL := src/matchengine/exchange/kernel
COMPILED := $(VENV)/.compiled
PIP_FLAGS := --quiet --disable-pip-version-check -c constraints.txt --build-constraint constraints.txt
PROTOS := $(sort $(wildcard proto/matchengine/*/*.proto))
PROTOC = $(BIN)/python -m grpc_tools.protoc -I proto
GENERATED := build/proto
# The node on HashiCorp Raft and its tools: one Go module, one folder of programs.
ENGINE_MODULE := engines/hashicorp
ENGINE := build/engine
EXAMPLE_GO := Mmatchengine/wire/example.proto=matchengine/engines/hashicorp/examplepb

.PHONY: help venv kernel demo test crash fuzz sim interop chaos check check-proto format proto proto-go engine bench install clean

help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

venv: $(COMPILED) ## Build .venv with everything pinned by constraints.txt

# A pip of its own first: dependency groups and build constraints need a newer one than Debian ships.
# uvloop has no build for some platforms; everything works without it, only slower.
$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" && $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "make: Python 3.11 or newer is needed; name one with PYTHON=..." >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --upgrade pip
	$(BIN)/python -m pip install $(PIP_FLAGS) --group dev
	MATCHENGINE_COMPILE=0 $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
		--no-build-isolation -e .
	$(BIN)/python -m pip install $(PIP_FLAGS) uvloop || echo "make: going on without uvloop"
	@touch $@

kernel: $(COMPILED) ## Compile the exchange's kernel again if its source has changed

# Next to its source, where Python prefers it: so whatever runs after a change has to compile it first.
$(COMPILED): $(STAMP) setup.py $(wildcard $(KERNEL)/*.py)
	rm -f $(KERNEL)/*.so
	$(BIN)/python setup.py --quiet build_ext --inplace
	@touch $@

demo: $(COMPILED) ## Three nodes, a stream of orders, the leader killed half-way
	$(BIN)/matchengine demo

test: $(COMPILED) ## Run the tests; TESTS=tests/raft runs some
	$(BIN)/python -m pytest -n $(WORKERS) $(TESTS)

crash: $(COMPILED) ## Try many more states in which a crash may leave the files than make test does
	MATCHENGINE_CRASH=further $(BIN)/python -m pytest -n $(WORKERS) tests/storage/test_crash_states.py

fuzz: $(COMPILED) ## Fuzz every decoder, led by coverage, for FUZZ_SECONDS each
	$(BIN)/python -m pip install $(PIP_FLAGS) --group fuzz
	PYTHONPATH=tests/fuzz $(BIN)/python tests/fuzz/deeper.py $(FUZZ_SECONDS)

sim: $(COMPILED) ## Simulate fresh seeds for SIM_SECONDS, and print the seed of any failure
	$(BIN)/matchengine simulate --seconds $(SIM_SECONDS) --workers $(WORKERS)

# The second run kills no process, so that what a node leaks adds up over its whole life.
chaos: $(COMPILED) ## Real processes under faults for CHAOS_MINUTES, then as long a soak without kills; needs root
	$(BIN)/matchengine chaos --minutes $(CHAOS_MINUTES)
	$(BIN)/matchengine chaos --minutes $(CHAOS_MINUTES) --faults network,clients

interop: $(COMPILED) ## Old versions of HashiCorp Raft beside our nodes, ROUNDS times; VERSIONS="1.1.2 1.5.0" runs some
	$(BIN)/python tests/interop/campaign.py --rounds $(ROUNDS) $(if $(VERSIONS),--versions $(VERSIONS))

check: $(COMPILED) check-proto ## Format, lint, types, imports, generated code
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

check-proto: $(STAMP)
	@rm -rf $(GENERATED) && mkdir -p $(GENERATED)
	@$(PROTOC) --python_out=$(GENERATED) --pyi_out=$(GENERATED) --grpc_python_out=$(GENERATED) $(PROTOS)
	@for package in $(GENERATED)/matchengine/*; do \
		diff -r -x __init__.py -x __pycache__ "$$package" "src/matchengine/$${package##*/}" \
		|| { echo "make: generated code differs from proto/; run make proto" >&2; exit 1; }; \
	done

format: $(STAMP) ## Format, and fix what the linter can fix
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

proto: $(STAMP) ## Generate code from proto/ again
	$(PROTOC) --python_out=src --pyi_out=src --grpc_python_out=src $(PROTOS)

# The plugins in these versions: later ones write code for a gRPC that the oldest peers do not have.
proto-go: $(STAMP) ## Generate the Go code from proto/ again; needs protoc-gen-go 1.34 and protoc-gen-go-grpc 1.3
	$(PROTOC) --go_out=$(ENGINE_MODULE) --go_opt=module=matchengine/engines/hashicorp,$(EXAMPLE_GO) \
		--go-grpc_out=$(ENGINE_MODULE) --go-grpc_opt=module=matchengine/engines/hashicorp,$(EXAMPLE_GO) \
		proto/matchengine/wire/example.proto

engine: ## Build the node on HashiCorp Raft and its tools into build/engine; needs Go 1.22 or newer
	@command -v go >/dev/null || { echo "make: Go 1.22 or newer is needed (on Debian: apt install golang, from backports on 12)" >&2; exit 1; }
	mkdir -p $(ENGINE)
	cd $(ENGINE_MODULE) && go build -o $(CURDIR)/$(ENGINE)/ ./cmd/... github.com/Jille/raftadmin/cmd/raftadmin

bench: $(COMPILED) ## Measure what the README claims; PARTS="replays soak" measures some
	$(BIN)/python -m benchmarks $(PARTS)

install: ## Install the command into PREFIX (default ~/.local)
	$(PYTHON) -m venv $(PREFIX)/share/matchengine
	$(PREFIX)/share/matchengine/bin/python -m pip install --quiet --disable-pip-version-check \
		-c constraints.txt --upgrade pip
	$(PREFIX)/share/matchengine/bin/python -m pip install $(PIP_FLAGS) .
	$(PREFIX)/share/matchengine/bin/python -m pip install $(PIP_FLAGS) uvloop \
		|| echo "make: going on without uvloop"
	mkdir -p $(PREFIX)/bin
	ln -sf $(PREFIX)/share/matchengine/bin/matchengine $(PREFIX)/bin/matchengine

clean: ## Remove everything that was built
	rm -rf $(VENV) build dist $(KERNEL)/*.so src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find src tests benchmarks examples -name __pycache__ -type d -prune -exec rm -rf {} +

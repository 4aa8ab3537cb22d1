# autotune: what a newcomer types. `make help` lists it.

ARGS ?= --budget 8GB
PYTHON ?= python3
CARGO ?= cargo
# `.ci/run` sets ci, which tries a test once more that failed.
NEXTEST_PROFILE ?= default

# The program looks here for the model to tune when none is named.
export AUTOTUNE_DEMO_MODEL ?= $(CURDIR)/.deps/models/SmolLM2-135M-Instruct.Q4_1.gguf

SETUP := $(PYTHON) scripts/setup.py
# One profile everywhere, so that llama.cpp is compiled once.
RELEASE := --release --locked
# The command and the torch engine's program, which lies beside it.
PROGRAMS := -p autotune -p autotune-torch
PROGRAM := $(or $(CARGO_TARGET_DIR),target)/release/autotune

.DEFAULT_GOAL := help
.PHONY: help run build test lint setup clean-deps

help: ## List these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo '  make run ARGS="--budget 1GB --time 30m" passes other flags on (default: --budget 8GB)'

run: ## Set up what is missing, build, and tune the demo model
	@$(SETUP)
	@$(CARGO) build $(RELEASE) $(PROGRAMS)
	@"$(PROGRAM)" $(ARGS)

build: ## Set up the build tools and build
	@$(SETUP) --build-only
	@$(CARGO) build $(RELEASE) $(PROGRAMS)

# nextest runs each test in a process of its own; it does not run doc tests, which therefore come first.
test: ## Set up what the tests need and run them all
	@$(SETUP) --tests
	@$(PYTHON) -B -m unittest discover -s scripts/tests
	@$(CARGO) test $(RELEASE) --workspace --doc
	@if $(CARGO) nextest --version >/dev/null 2>&1; \
	then $(CARGO) nextest run $(RELEASE) --workspace --profile $(NEXTEST_PROFILE); \
	else $(CARGO) test $(RELEASE) --workspace --lib --bins --tests; fi

lint: ## Check formatting, lints and documentation
	@$(SETUP) --build-only
	@$(CARGO) fmt --all --check
	@$(CARGO) clippy $(RELEASE) --workspace --all-targets -- -D warnings
	@RUSTDOCFLAGS="-D warnings" $(CARGO) doc $(RELEASE) --workspace --no-deps --document-private-items

setup: ## Only set up: build tools, the demo model, test data
	@$(SETUP) --tests

clean-deps: ## Remove .deps/ and the cargo settings that the set-up wrote
	@$(SETUP) --clean

# `make help` says what there is. Builds lie in a cache outside the clone, so that a second clone starts warm.
SHELL := /bin/bash
.ONESHELL:
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/raftsman
export CARGO_TARGET_DIR ?= $(CACHE)/target

RELEASE := $(CARGO_TARGET_DIR)/release

.PHONY: help
help: ## Show this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-18s %s\n", $$1, $$2}' Makefile

.PHONY: install
install: ## Install what building, testing and running need (apt, as root)
	@scripts/install

.PHONY: build
build: install ## Build the release binaries raftsman and raftsman-chaos
	@cargo build --locked --release --bin raftsman --bin raftsman-chaos
	@echo "built: $(RELEASE)/raftsman $(RELEASE)/raftsman-chaos"

.PHONY: test
test: install ## Run every test, unit to end-to-end, and count them
	@scripts/docker
	@scripts/test

.PHONY: lint
lint: install ## rustfmt, clippy with warnings as errors, cargo-deny
	@cargo fmt --all --check
	@cargo clippy --locked --workspace --all-targets -- -D warnings
	@scripts/deny

.PHONY: fmt
fmt: ## Format the code
	@cargo fmt --all

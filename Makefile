# `make help` says what there is. Builds lie in a cache outside the clone, so that a second clone starts warm.
SHELL := /bin/bash
.ONESHELL:
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/raftsman
export CARGO_TARGET_DIR ?= $(CACHE)/target

# RocksDB takes many minutes to compile: once per machine and version, for every profile.
ROCKSDB_VERSION := $(shell sed -n '/^name = "librocksdb-sys"/{n;s/version = "\(.*\)"/\1/p}' Cargo.lock)
export ROCKSDB_LIB_DIR := $(CACHE)/rocksdb-$(ROCKSDB_VERSION)
export ROCKSDB_STATIC := 1
ROCKSDB := $(ROCKSDB_LIB_DIR)/librocksdb.a

RELEASE := $(CARGO_TARGET_DIR)/release

.PHONY: help
help: ## Show this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-18s %s\n", $$1, $$2}' Makefile

.PHONY: install
install: ## Install what building, testing and running need (apt, as root)
	@scripts/install

$(ROCKSDB): | install
	@scripts/rocksdb "$@"

.PHONY: build
build: $(ROCKSDB) ## Build the release binaries raftsman and raftsman-chaos
	@cargo build --locked --release --bin raftsman --bin raftsman-chaos
	@echo "built: $(RELEASE)/raftsman $(RELEASE)/raftsman-chaos"

.PHONY: run
run: build ## Start three servers and two nodes on this machine with a sample application; Ctrl-C removes all
	@scripts/docker
	@exec "$(RELEASE)/raftsman-chaos" cluster run

.PHONY: demo
demo: build ## The reliability story, unattended: kills, pauses, a total loss, a restore; ends with a table
	@scripts/docker
	@"$(RELEASE)/raftsman-chaos" demo

.PHONY: test
test: $(ROCKSDB) ## Run every test, unit to end-to-end, and count them
	@scripts/docker
	@scripts/test

.PHONY: test-api-golden
test-api-golden: $(ROCKSDB) ## Replay recorded answers of a Kubernetes API server, where they are (API_GOLDEN)
	@scripts/golden

.PHONY: test-etcd-clients
test-etcd-clients: $(ROCKSDB) ## Clients that others wrote for etcd, against raftsman store (needs Go; PARTS="go python" chooses)
	@scripts/etcd-clients $(PARTS)

.PHONY: bench
bench: build ## Measure servers and nodes; CASES="pods start" chooses
	@"$(RELEASE)/raftsman-chaos" bench $(CASES)

.PHONY: bench-store
bench-store: build ## Measure `raftsman store` beside etcd (ETCD_BIN, else built from its module); table and plot in docs/bench
	@etcdctl=$${ETCDCTL_BIN:-$$(scripts/etcdctl)/etcdctl} || etcdctl=etcdctl
	ETCD_BIN="$$(scripts/etcd)" ETCDCTL_BIN=$$etcdctl "$(RELEASE)/raftsman-chaos" bench-store --out docs/bench $(or $(CASES),default check-perf)

GIGABYTES ?= 20
.PHONY: bench-store-large
bench-store-large: build ## A state of GIGABYTES (20) in the memory of few: needs a quarter more of disk and about 10 minutes
	@ETCD_BIN="$$(scripts/etcd)" "$(RELEASE)/raftsman-chaos" bench-store large --gigabytes $(GIGABYTES) --out docs/bench --page large

.PHONY: fuzz
fuzz: $(ROCKSDB) ## Mutate inputs of every parser of bytes from outside for longer than the tests do (FUZZ_SECONDS each)
	@FUZZ_SECONDS="$(or $(FUZZ_SECONDS),20)" cargo test --locked -p store --lib -- any_bytes --nocapture --test-threads=2

.PHONY: lint
lint: $(ROCKSDB) ## rustfmt, clippy with warnings as errors, cargo-deny
	@cargo fmt --all --check
	@cargo clippy --locked --workspace --all-targets -- -D warnings
	@scripts/deny

.PHONY: fmt
fmt: ## Format the code
	@cargo fmt --all

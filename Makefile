# The commands of this repository. `make demo` and `make test` need only Rust: they install what is missing,
# and stop the servers that they have started.

.PHONY: help demo test crash mutants soak fuzz bench scale up down clean check checksums
.DEFAULT_GOAL := help

stack := localstack/stack
# Where cargo puts what it builds; only cargo knows, because settings can change it.
target = $(shell cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
# cargo-nextest if it is installed.
runner := $(shell cargo nextest --version >/dev/null 2>&1 && echo 'cargo nextest run' || echo 'cargo test')

help: ## List the commands
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST)

demo: ## Send mail through LocalStack's SES and show what arrives in PostgreSQL
	cargo build --locked
	$(stack) run localstack/demo '$(target)/debug/ses-reports'

test: ## Run all tests on a real PostgreSQL, of each version that is supported, and a real LocalStack
	cargo build --locked --workspace --tests
	$(stack) versions
	$(stack) run $(runner) --locked --workspace

SEEDS ?= 200
crash: ## Crash workers in SEEDS random ways (200) and account for every event
	CRASH_SEEDS='$(SEEDS)' $(stack) run cargo test --locked --test it -- crash_ --nocapture

mutants: ## Break the worker on purpose and check that the crash tests fail
	$(stack) run tests/mutants/run

soak: ## Run a worker at full rate with faults and an outage, and check its memory (SOAK_MINUTES=10)
	cargo bench --locked --bench soak

FUZZ_SECONDS ?= 300
fuzz: ## Fuzz decode for FUZZ_SECONDS per target (needs nightly Rust and cargo-fuzz)
	for target in decode_body decode_fields; do \
	  mkdir -p tests/fuzz/corpus/$$target && cargo +nightly fuzz run --fuzz-dir tests/fuzz $$target \
	    tests/fuzz/corpus/$$target tests/fuzz/seeds -- -max_total_time=$(FUZZ_SECONDS) -timeout=5 || exit 1; \
	done

bench: ## Compare the worker with its lower bounds and with other workers (BENCH_QUICK=1: three minutes; BENCH_ONLY=worker,peers)
	cargo bench --locked --bench ingest

scale: ## Measure a database of 36 months and 50 million events (SCALE_DETAILS=1000000: eight minutes)
	cargo bench --locked --bench scale

check: ## Check format, lints and documentation, as CI does
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --locked --workspace --no-deps --document-private-items
	git apply --check tests/mutants/*.patch

checksums: ## Record the checksum of a new migration; those of released ones never change
	cd migrations && sha256sum V*.sql >checksums

up: ## Start PostgreSQL and LocalStack and keep them running
	$(stack) up

down: ## Stop PostgreSQL and LocalStack; the database stays
	$(stack) down

clean: ## Stop PostgreSQL and LocalStack, and delete .dev/
	$(stack) clean

# The commands of this repository. `make demo` and `make test` need Rust and nothing else: they
# install what is missing and leave nothing running that they did not find running.

.PHONY: help demo test crash mutants soak fuzz bench scale up down clean check checksums
.DEFAULT_GOAL := help

stack := localstack/stack
# Where cargo builds: asked of cargo, which knows its settings.
target = $(shell cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
# cargo-nextest where it is installed.
runner := $(shell cargo nextest --version >/dev/null 2>&1 && echo 'cargo nextest run' || echo 'cargo test')

help: ## Say what there is
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST)

demo: ## Send mail through LocalStack's SES and show what becomes of it in PostgreSQL
	cargo build --locked
	$(stack) run localstack/demo '$(target)/debug/ses-reports'

test: ## Run all tests on a real PostgreSQL, of each version that is supported, and a real LocalStack
	cargo build --locked --workspace --tests
	$(stack) versions
	$(stack) run $(runner) --locked --workspace

SEEDS ?= 200
crash: ## Crash workers in as many ways as SEEDS says (200), and account for every event
	CRASH_SEEDS='$(SEEDS)' $(stack) run cargo test --locked --test it -- crash_ --nocapture

mutants: ## Break the worker on purpose and demand that the tests of crashes notice
	$(stack) run tests/mutants/run

soak: ## Ten minutes at full rate with faults and an outage: memory stays flat (SOAK_MINUTES=10)
	cargo bench --locked --bench soak

FUZZ_SECONDS ?= 300
fuzz: ## Fuzz decode for FUZZ_SECONDS a target (needs nightly Rust and cargo-fuzz)
	for target in decode_body decode_fields; do \
	  mkdir -p tests/fuzz/corpus/$$target && cargo +nightly fuzz run --fuzz-dir tests/fuzz $$target \
	    tests/fuzz/corpus/$$target tests/fuzz/seeds -- -max_total_time=$(FUZZ_SECONDS) -timeout=5 || exit 1; \
	done

bench: ## Measure the worker beside its floors and its peers (BENCH_QUICK=1: in three minutes; BENCH_ONLY=worker,peers)
	cargo bench --locked --bench ingest

scale: ## Measure a database of 36 months and 50 million events (SCALE_DETAILS=1000000: in two minutes)
	cargo bench --locked --bench scale

check: ## What CI demands beside the tests: format, lints, documentation
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --locked --workspace --no-deps --document-private-items
	git apply --check tests/mutants/*.patch

checksums: ## Record a new migration's checksum; those of applied ones never change
	cd migrations && sha256sum V*.sql >checksums

up: ## Start PostgreSQL and LocalStack and keep them
	$(stack) up

down: ## Stop them; the database stays
	$(stack) down

clean: ## Stop them and delete .dev/
	$(stack) clean

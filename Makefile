# make run    build and run the agent on examples/tour
# make test   everything: format, lints, tests, tidy
# make deps   what the tests need beside Rust
# make bench  the benchmarks, with ratios to their references

.PHONY: run test deps lint bench clean

TOUR_STATE ?= target/tour
# ODBC is built and tested wherever unixODBC is installed (`make deps` does); looked for when it is used.
ODBC = $(shell [ -e /usr/include/sql.h ] && echo --features odbc)
export WATCHBELL_TEST_PYTHON ?= $(CURDIR)/target/test-python/bin/python

run:
	cargo build --profile quick --bin watchbell
	tools/tour target/quick/watchbell $(TOUR_STATE)

test: deps lint
	cargo test --workspace --quiet --no-fail-fast $(ODBC)

lint:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --quiet $(ODBC) -- -D warnings

deps:
	tools/deps

bench:
	tools/bench

clean:
	cargo clean

# make run    build and run the agent on examples/tour
# make test   everything: format, lints, tests, tidy
# make deps   what the tests need beside Rust
# make bench  the benchmarks, with ratios to their references

.PHONY: run test deps lint bench clean

TOUR_STATE ?= target/tour
PYTHON := target/test-python/bin/python
# ODBC is built and tested wherever unixODBC is installed (`make deps` does); looked for when it is used.
ODBC = $(shell [ -e /usr/include/sql.h ] && echo --features odbc)
export WATCHBELL_TEST_PYTHON ?= $(CURDIR)/$(PYTHON)

run:
	cargo build --profile quick --bin watchbell
	tools/tour target/quick/watchbell $(TOUR_STATE)

test: deps lint
	cargo test --workspace --quiet $(ODBC)

lint:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --quiet $(ODBC) -- -D warnings

deps: $(PYTHON)
	tools/deps

$(PYTHON): tools/test-python.txt
	python3 -m venv target/test-python
	target/test-python/bin/pip install --quiet --requirement tools/test-python.txt
	touch $(PYTHON)

bench:
	tools/bench

clean:
	cargo clean

# make run    build and run the agent on examples/tour
# make test   everything: format, lints, tests, tidy
# make deps   what the tests need beside Rust
# make bench  the benchmarks, with ratios to their references

.PHONY: run test deps lint bench clean

TOUR_STATE ?= target/tour
PYTHON := target/test-python/bin/python
export WATCHBELL_TEST_PYTHON ?= $(CURDIR)/$(PYTHON)

run:
	cargo build --profile quick --bin watchbell
	tools/tour target/quick/watchbell $(TOUR_STATE)

test: deps lint
	cargo test --workspace --quiet

lint:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --quiet -- -D warnings

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

# make build    a quick build, for a first look: target/quick/watchbell
# make run      the same, and the agent on examples/tour
# make test     everything: format, lints, tests, tidy
# make deps     what the tests need beside Rust
# make fuzz     fuzz every parser, for three quarters of an hour; needs nightly, or stable with RUSTC_BOOTSTRAP=1 (it sets that)
# make bench    the benchmarks, with ratios to their references
# make install  the release build, with manual pages, completions and the unit, below PREFIX
# make deb      a Debian package, into target/debian

.PHONY: build run test deps lint fuzz bench release install uninstall deb clean

TOUR_STATE ?= target/tour
PREFIX ?= /usr/local
# ODBC is built and tested wherever unixODBC is installed (`make deps` does); looked for when it is used.
ODBC = $(shell [ -e /usr/include/sql.h ] && echo --features odbc)
export WATCHBELL_TEST_PYTHON ?= $(CURDIR)/target/test-python/bin/python

build:
	cargo build --profile quick --bin watchbell

run: build
	tools/tour target/quick/watchbell $(TOUR_STATE)

test: deps lint
	cargo test --workspace --quiet --no-fail-fast $(ODBC)

lint:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --quiet $(ODBC) -- -D warnings

deps:
	tools/deps

# Nightly, or stable with RUSTC_BOOTSTRAP=1, which it sets itself; see CONTRIBUTING.md.
fuzz:
	tools/fuzz

bench:
	tools/bench

release:
	cargo build --release --bin watchbell

# `sudo make install` must not build as root: it installs what is built.
install:
	@[ -x target/release/watchbell ] || { echo "nothing is built yet: run \`make release\` first" >&2; exit 1; }
	tools/install target/release/watchbell "$(DESTDIR)" "$(PREFIX)"

uninstall:
	tools/install --remove "$(DESTDIR)" "$(PREFIX)"

deb: release
	@command -v cargo-deb >/dev/null || { echo "hint: cargo install cargo-deb" >&2; exit 1; }
	tools/package target/release/watchbell target/package
	cargo deb -p watchbell --no-build

clean:
	cargo clean

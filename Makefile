# Two commands do everything: `make run` starts the reference cluster, `make test` installs what tests need and runs them.

SHELL := /bin/bash
CARGO ?= cargo
# Options of `quarterdeck up`, for instance: make run ARGS="--runtime process --nodes 2"
ARGS ?=

.PHONY: run test verify bench attack crash crash-etcd soak fuzz fix tools packages images

run: tools images
	$(CARGO) run --package reference-cluster --bin quarterdeck -- up $(ARGS)

test: tools packages
	$(CARGO) test --workspace --all-features

# What CI runs. Examples are documented too: with them, documentation is made with the dependencies that clippy has checked.
verify: tools packages
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --all-features -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --lib --examples --no-deps --all-features
	CARGO="$(CARGO)" .ci/tests

bench: tools
	$(CARGO) bench --package quarterdeck-registry --bench http --bench storage
	$(CARGO) bench --package quarterdeck-scheduler --bench decisions
	$(CARGO) bench --package quarterdeck-proxy --bench userspace

# Attacks an API server over loopback, for about a minute, and fails if a bound breaks.
attack:
	$(CARGO) bench --package quarterdeck-registry --bench http -- attack --rounds 1

# Kills a process that writes to a store, 10,000 times instead of the 200 of CI: nothing that it was told may be lost.
crash:
	QUARTERDECK_CRASH_POINTS=10000 $(CARGO) test --package quarterdeck-registry --test engines -- crash:: --nocapture

# The same of an etcd server, 1,000 times instead of the 20 of CI.
crash-etcd: tools
	QUARTERDECK_CRASH_POINTS=1000 $(CARGO) test --package quarterdeck-registry --features etcd --test etcd -- crash:: --nocapture

# Writes to a store for 10 minutes instead of the minute of CI: its directory and its memory may not grow.
soak:
	QUARTERDECK_SOAK_SECONDS=600 $(CARGO) test --package quarterdeck-registry --test engines -- bounds:: --nocapture

# Feeds every decoder with what a fuzzer makes up, for SECONDS each. The sanitizers' flags are unstable, so the stable compiler
# is told to take them.
SECONDS ?= 60
fuzz:
	@command -v cargo-fuzz > /dev/null || $(CARGO) install cargo-fuzz
	cd registry && for target in $$(RUSTC_BOOTSTRAP=1 $(CARGO) fuzz list); do \
		RUSTC_BOOTSTRAP=1 $(CARGO) fuzz run --sanitizer none $$target -- -max_total_time=$(SECONDS) || exit 1; \
	done

fix:
	$(CARGO) fmt --all
	$(CARGO) clippy --workspace --all-targets --all-features --fix --allow-dirty --allow-staged

# Installs the Debian packages whose commands are missing.
tools:
	@.ci/tools

# Fetches the packages of all targets: the check of the dependency edges looks at all of them, and leaves the network alone.
packages:
	@$(CARGO) fetch --locked --quiet

# Makes the demo's images where a Docker engine answers.
images:
	@.ci/images

# make demo · make test · make bench · make sanitize · make docs

CARGO ?= cargo

# The real MNIST, where a copy lies beside the repository and KASOKU_DATA does not name another.
ifneq ($(wildcard ../shared/mnist),)
export KASOKU_DATA ?= $(abspath ../shared/mnist)
endif

.PHONY: demo test lint bench sanitize docs

# SimpleConvNet learns MNIST (or, where that cannot be had, digits drawn by the program itself).
demo:
	$(CARGO) run --release -p kasoku-nn --features download --example train_mnist -- --network simple --epochs 3

# Every test under every instruction set of this machine, then the examples in the documentation.
test:
	$(CARGO) test --workspace --lib --tests --examples --no-run
	@for set in $$($(CARGO) run -q -p kasoku-kernels --example instruction_sets); do \
		echo "== KASOKU_SIMD=$$set"; \
		KASOKU_SIMD=$$set $(CARGO) test --workspace --lib --tests --examples || exit 1; \
	done
	$(CARGO) test --workspace --doc

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --all-features -- -D warnings

# Every kernel against its naive loop, beside the machine's peak. One of them: make bench BENCH='--bench gemm'
bench:
	$(CARGO) bench -p kasoku-benches $(BENCH)

# The kernels' tests under AddressSanitizer (needs a nightly toolchain), and under Miri on the scalar path where it is installed.
HOST = $(shell rustc -vV | sed -n 's/^host: //p')
sanitize:
	RUSTFLAGS=-Zsanitizer=address $(CARGO) +nightly test -p kasoku-kernels --lib --tests \
		--target $(HOST) --target-dir target/sanitize
	@if $(CARGO) +nightly miri --version >/dev/null 2>&1; then \
		KASOKU_SIMD=scalar KASOKU_NUM_THREADS=1 MIRIFLAGS=-Zmiri-disable-isolation PROPTEST_CASES=4 \
			$(CARGO) +nightly miri test -p kasoku-kernels --lib --target-dir target/miri; \
	else \
		echo "Miri is not installed: only AddressSanitizer ran (rustup +nightly component add miri)"; \
	fi

docs:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --all-features

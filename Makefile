# make demo · make test · make lint · make bench · make sanitize · make docs · make notebooks

CARGO ?= cargo
PYTHON ?= python3

# The real MNIST, where a copy lies beside the repository and KASOKU_DATA does not name another.
ifneq ($(wildcard ../shared/mnist),)
export KASOKU_DATA ?= $(abspath ../shared/mnist)
endif

.PHONY: demo test test-rust test-python lint bench sanitize docs notebooks

# The wheel in a virtual environment of its own; SimpleConvNet learns MNIST (or, where that cannot be had, digits drawn by the
# program itself); then this machine's NumPy beside it.
demo:
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet --disable-pip-version-check '.[plot]' tqdm
	.venv/bin/kasoku train --network simple --epochs 3
	.venv/bin/kasoku bench --quick

test: test-rust test-python

# Every test under every instruction set of this machine, the examples in the documentation among them. The Python module has
# none here, but with it in the list Cargo's features are those of the wheel, which need not compile the crates again; the
# benchmarks, which have none at all, would change them.
RUST = --workspace --exclude kasoku-benches
test-rust:
	$(CARGO) test $(RUST) --no-run
	@sets=$$($${CARGO_TARGET_DIR:-target}/debug/examples/instruction_sets) || exit 1; for set in $$sets; do \
		echo "== KASOKU_SIMD=$$set"; \
		KASOKU_SIMD=$$set $(CARGO) test $(RUST) || exit 1; \
	done

# The wheel, built as the Rust tests are (which is quicker than a release), in a fresh virtual environment: the tests, the
# stubs against the module, the style. ONNX files are tested in ONNX Runtime where there are wheels of it (10 s to install).
TEST_ENV = target/test-env
test-python:
	$(PYTHON) -m venv --clear $(TEST_ENV)
	$(TEST_ENV)/bin/pip install --quiet --disable-pip-version-check --config-settings=build-args=--profile=dev '.[plot]' \
		pytest hypothesis mypy ruff tqdm
	$(TEST_ENV)/bin/pip install --quiet --disable-pip-version-check onnx onnxruntime || \
		echo "ONNX Runtime cannot be installed here: its tests are skipped"
	$(TEST_ENV)/bin/ruff check
	$(TEST_ENV)/bin/ruff format --check
	cd $(TEST_ENV) && bin/python -m mypy.stubtest kasoku --mypy-config-file $(CURDIR)/pyproject.toml
	$(TEST_ENV)/bin/pytest tests/python

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

# The site, target/site: README, docs/, the docstrings (mkdocs.yml, docs/hooks.py) and rustdoc. A broken link is an error.
DOCS_ENV = target/docs-env
docs:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --all-features
	$(PYTHON) -m venv $(DOCS_ENV)
	$(DOCS_ENV)/bin/pip install --quiet --disable-pip-version-check \
		'mkdocs<2' 'mkdocs-material>=9,<10' 'mkdocstrings[python]>=1,<2' ruff
	NO_MKDOCS_2_WARNING=1 $(DOCS_ENV)/bin/mkdocs build --quiet
	@echo "the site: target/site/index.html"

# The notebooks in their short setting, about a minute: they must run, what they print is not looked at.
notebooks:
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet --disable-pip-version-check '.[plot,notebook]' nbmake
	KASOKU_NOTEBOOKS_SHORT=1 .venv/bin/pytest --nbmake --nbmake-timeout=600 notebooks

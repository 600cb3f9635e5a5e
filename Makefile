# make demo    install what is missing, then run studies/quickstart.toml
# make test    install what is missing, then lint, type-check and run every test (as root): real ones side by side where
#              they measure nothing, or nobody judges what they measure
# make test-v2 install what is missing, then run real tests on a virtual machine with control groups v2 (as root; slow)
# make bench   install what is missing, then measure what the emulation promises and costs (as root, about an hour)
.PHONY: setup setup-tests demo test test-unit test-v2 bench lint clean

PYTEST = .venv/bin/python -m pytest

setup:
	@scripts/setup

setup-tests:
	@scripts/setup tests

demo: setup
	.venv/bin/pliant run studies/quickstart.toml

test: setup-tests lint
	$(PYTEST) tests/unit tests/browser --numprocesses 4 --dist loadfile
	$(PYTEST) tests/real -m "together and not speed" --numprocesses 4 --dist worksteal
	$(PYTEST) tests/real -m paired --numprocesses 2 --dist worksteal
	$(PYTEST) tests/real -m "not (together or paired) or speed"

test-unit: setup-tests
	$(PYTEST) tests/unit -m "not simulated" --numprocesses 3 --dist worksteal

test-v2: setup-tests
	@scripts/test-v2

bench: setup
	@scripts/setup-bench
	.venv/bin/python -m benchmarks.bench $(BENCH)

lint: setup
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	# The machine layer travels, and runs on Python 3.9; older than 3.10 mypy does not know.
	.venv/bin/mypy --python-version 3.10 src/pliant/machine

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist src/*.egg-info

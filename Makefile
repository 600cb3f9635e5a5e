# make demo    install what is missing, then run studies/quickstart.toml
# make test    install what is missing, then lint, type-check and run every test (as root)
.PHONY: setup demo test test-unit lint clean

PYTEST = .venv/bin/python -m pytest

setup:
	@scripts/setup

demo: setup
	.venv/bin/pliant run studies/quickstart.toml

test: setup lint
	$(PYTEST) tests

test-unit: setup
	$(PYTEST) tests/unit

lint: setup
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist src/*.egg-info

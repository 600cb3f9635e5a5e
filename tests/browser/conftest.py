"""A browser for the tests, and pages of synthetic runs: one file system, and two that are compared."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

UNIT = Path(__file__).parent.parent / "unit"
sys.path.insert(0, str(UNIT))

import runs  # noqa: E402
from study_files import GOOD  # noqa: E402

from pliant.cli import matrix  # noqa: E402
from pliant.report.writing import write_report  # noqa: E402
from pliant.results.store import Store  # noqa: E402

ARGUMENTS = (
    "--no-sandbox",
    "--headless=new",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)


@pytest.fixture(scope="session")
def browser():
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=list(ARGUMENTS))
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def one(tmp_path_factory) -> Path:
    """The page of a run with failed and invalid trials, and telemetry."""
    directory = tmp_path_factory.mktemp("one")
    return write_report(runs.make_run(directory, runs.with_usage(runs.trials()))).html


@pytest.fixture(scope="session")
def two(tmp_path_factory) -> Path:
    """The page of a run of two file systems."""
    directory = tmp_path_factory.mktemp("two")
    infos = [runs.info(label="glusterfs"), runs.info(label="slow")]
    many = [(label, trial) for trial in runs.with_usage(runs.trials()) for label in ("glusterfs", "slow")]
    with Store.create(directory, runs.STUDY, {}, infos, runs.FACTS) as store:
        for number, (label, trial) in enumerate(many, 1):
            factor = 1.0 if label == "glusterfs" else 0.6
            metrics = {name: value * factor for name, value in trial.metrics.items()}
            store.end(replace(trial, number=number, filesystem=label, metrics=metrics))
    return write_report(directory).html


@pytest.fixture(scope="session")
def cells(tmp_path_factory) -> Path:
    """The page of a matrix of eight cells, of which one breaks before the others."""
    directory = tmp_path_factory.mktemp("matrix") / "m"
    table = '[matrix]\nfilesystem.roles.server = [1, 2, 3, 4]\nworkload.block = ["8 MiB", "32 MiB"]\n'
    runs.make_cells(directory, GOOD + table, [{}, {2.0: 0.5}, *[{}] * 6])
    matrix.show(directory, ended=True)
    return directory / matrix.PAGE


@pytest.fixture(params=["one", "two"])
def page_file(request) -> Path:
    """Each of the pages."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def visit(browser):
    """Opens a page from its file, with a width and a colour scheme; whatever it logs or asks for is a failure."""
    contexts, wrong = [], []

    def opened(file: Path, width: int = 1280, scheme: str = "light", **options):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(5000)
        page.on("console", lambda message: wrong.append(f"logged: {message.text}"))
        page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
        page.on("request", lambda asked: wrong.append(f"asked for {asked.url}") if asked.url != file.as_uri() else None)
        page.goto(file.as_uri())
        return page

    yield opened
    for context in contexts:
        context.close()
    assert wrong == []

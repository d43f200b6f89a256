"""One finished tiny audit for the tests that only look at it."""

from pathlib import Path

import pytest
from small_audits import sources, tables, write_data

import xai
from xai import Audit


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Audit:
    return xai.audit({**tables(data), **sources(data)}, out=tmp_path_factory.mktemp("finished"))

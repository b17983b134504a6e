"""Fixtures for all tests: the real tables where they are, a registry to edit, a clock that only a test moves."""

from pathlib import Path

import pytest

from router_runtime.registry_reader import DEFAULT_REGISTRY, load_registry

ROOT = Path(__file__).resolve().parents[1]


class Clock:
    """Seconds that stand still until a test moves them."""

    def __init__(self, now: float = 1_780_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture(scope="session")
def shared_data():
    """The folder of real routing-outcome tables."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"the real tables are not at {folder}")
    return folder


@pytest.fixture(scope="session")
def registry():
    """The shipped registry."""
    return load_registry()


@pytest.fixture
def registry_file(tmp_path):
    """A copy of the shipped registry that a test may edit."""
    path = tmp_path / "registry.yaml"
    path.write_bytes(DEFAULT_REGISTRY.read_bytes())
    return path

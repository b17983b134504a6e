"""Fixtures for all tests: the real tables where they are, a registry to edit, a clock that only a test moves."""

import os
import shutil
import uuid
from pathlib import Path

import psycopg
import pytest
from hypothesis import settings

from router_runtime.bundle import open_bundle
from router_runtime.bundle_writer import write_bundle
from router_runtime.registry import Registry
from router_runtime.registry_reader import DEFAULT_REGISTRY, load_registry, parse_registry
from tests.postgres_server import postgres_server
from tests.training.graph_examples import fitted_parts, prompts
from training.export import export_graph

ROOT = Path(__file__).resolve().parents[1]

# The same examples at each run, and no test fails on a clock; HYPOTHESIS_PROFILE=exploring draws new ones.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.register_profile("exploring", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))


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
def postgres():
    """URL of a PostgreSQL of this test process."""
    with postgres_server() as url:
        yield url


@pytest.fixture
def postgres_url(postgres):
    """URL of a new, empty database."""
    name = f"t{uuid.uuid4().hex}"
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        yield postgres.removesuffix("postgres") + name
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def plain_postgres_url(postgres, postgres_url):
    """The same of a role that may not make extensions: a server without pgvector for all that it can do."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        if connection.execute("SELECT 1 FROM pg_roles WHERE rolname = 'plain'").fetchone() is None:
            connection.execute("CREATE ROLE plain LOGIN")
        connection.execute("GRANT CREATE ON SCHEMA public TO plain")
    return postgres_url.replace("tests@", "plain@")


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


@pytest.fixture(scope="session")
def bundle_folder(tmp_path_factory):
    """A small real bundle: random text weights and a booster, three models, two domains. Read only."""
    features = prompts(120)
    parts = fitted_parts(features)
    folder = tmp_path_factory.mktemp("bundles") / "small"
    models = [{"name": name} for name in parts.models]
    write_bundle(folder, export_graph(parts), {"models": models, "domains": list(parts.domains)}, "# A test's bundle\n")
    return folder


@pytest.fixture(scope="session")
def bundle(bundle_folder):
    """The same, opened."""
    return open_bundle(bundle_folder)


@pytest.fixture
def bundle_copy(bundle_folder, tmp_path):
    """The same, in a folder that a test may spoil."""
    return shutil.copytree(bundle_folder, tmp_path / "bundle")


def registry_of(count: int, known: int = 3, extra: str = "") -> Registry:
    """A registry of ``count`` models, of which ``known`` bear the names of the small bundle's."""
    return parse_registry(registry_text(count, known, extra).encode())


def registry_text(count: int, known: int = 3, extra: str = "") -> str:
    """The YAML of :func:`registry_of`."""
    rows = "".join(
        f"  model-{n if n < known else 1000 + n}: {{provider: p, capabilities: [tools, json], "
        f"quality_prior: 0.{50 + n}, prices: [{{valid_from: 2026-04-01, input: {n + 1}, output: {2 * n + 2}}}]}}\n"
        for n in range(count)
    )
    return f"providers: {{p: {{adapter: openai, base_url: 'http://localhost:1'}}}}\nmodels:\n{rows}{extra}"

"""``pointsman pull`` against a real MLflow server: three files over REST, checked, and in place at once."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys

import pytest

from router_runtime.bundle import MANIFEST, open_bundle
from router_runtime.bundle_writer import write_bundle
from router_runtime.cli import main
from router_runtime.errors import BundleFormatError, BundleTampered, ConfigError
from router_runtime.mlflow_pull import Place, credentials, pull
from tests.mlflow_server import mlflow_server
from tests.provider_server import ProviderServer, reply
from training.run_record import RunRecord
from training.tracking import Tracker


def sha256_of(folder):
    return hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def server(tmp_path_factory, bundle_folder):
    """A server with version 1 (champion), version 2 (challenger) and version 3, registered with a wrong sha256."""
    folder = tmp_path_factory.mktemp("server")
    opened = open_bundle(bundle_folder)
    manifest = {
        "models": [{"name": model.name} for model in opened.manifest.models],
        "domains": list(opened.manifest.domains),
    }
    other = write_bundle(folder / "other", opened.onnx, manifest, "# Another one\n")
    with mlflow_server(folder) as url:
        tracker = Tracker(url)
        tracker.register("one", RunRecord(), bundle_folder, sha256_of(bundle_folder))
        tracker.register("two", RunRecord(), other, sha256_of(other))
        tracker.register("three", RunRecord(), other, "0" * 64, "broken")
        yield url


def test_the_champion_is_fetched_once_and_followed(server, tmp_path, bundle_folder, capsys):
    out = tmp_path / "router"
    assert main(["pull", server, "--out", str(out), "--json"]) == 0
    first = json.loads(capsys.readouterr().out)
    version = open_bundle(bundle_folder).version
    assert (first["version"], first["bundle_version"], first["changed"]) == ("1", version, True)
    assert open_bundle(out).version == version
    again = pull(Place(server), out)
    assert not again.changed
    moved = pull(Place(server, reference="challenger"), out)
    assert (moved.version, moved.changed) == ("2", True)
    assert open_bundle(out).version == moved.bundle_version != version
    assert pull(Place(server, reference="1"), out).bundle_version == version


def test_what_is_not_the_registered_bundle_never_serves(server, tmp_path, bundle_folder):
    out = shutil.copytree(bundle_folder, tmp_path / "router")
    with pytest.raises(BundleTampered, match="version 3"):
        pull(Place(server, reference="broken"), out)
    assert open_bundle(out).version == open_bundle(bundle_folder).version


def test_unknown_aliases_and_servers_are_named(server, tmp_path):
    with pytest.raises(BundleFormatError, match="nope not found"):
        pull(Place(server, reference="nope"), tmp_path / "router")
    with pytest.raises(BundleFormatError, match=r"no bundle from 127\.0\.0\.1:1"):
        pull(Place("http://127.0.0.1:1"), tmp_path / "router")
    for url in ("ftp://host", "http://user:secret@host", "host", "http://host:abc", "http://host:99999", "http://[::1"):
        with pytest.raises(ConfigError) as refused:
            pull(Place(url), tmp_path / "router")
        assert "secret" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "answer", ["{}", '{"model_version": null}', '{"model_version": {"tags": [1]}}', "[]", "no", "[" * 100_000]
)
def test_a_server_that_is_no_mlflow_is_named(answer, tmp_path):
    with ProviderServer() as other:
        other.handler = lambda _request: reply(answer)
        with pytest.raises(BundleFormatError, match="does not answer as MLflow does"):
            pull(Place(other.url), tmp_path / "router")
        other.handler = lambda _request: reply(answer, 500)
        with pytest.raises(BundleFormatError, match=r"answers 500$"):
            pull(Place(other.url), tmp_path / "router")


def test_pulling_loads_no_mlflow(server, tmp_path):
    code = (
        "import sys; from router_runtime.cli import main; main(['pull', sys.argv[1], '--out', sys.argv[2]]);"
        "assert not {'mlflow', 'pandas', 'sklearn', 'onnx'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, server, str(tmp_path / "router")], check=True, capture_output=True)


def test_credentials_come_from_mlflows_own_variables():
    assert credentials({}) == {}
    assert credentials({"MLFLOW_TRACKING_TOKEN": "t"}) == {"Authorization": "Bearer t"}
    both = credentials({"MLFLOW_TRACKING_USERNAME": "u", "MLFLOW_TRACKING_PASSWORD": "p"})
    assert both == {"Authorization": "Basic dTpw"}
    assert "Bearer" not in repr(Place("http://host", headers={"Authorization": "Bearer t"}))

"""Router versions in MLflow: one run and one registered model version each. The only importer of mlflow.

MLflow is embedded by default (SQLite in the working directory); MLFLOW_TRACKING_URI names any other server.
Versions carry aliases (``champion``, ``challenger``), not stages.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

# Read while mlflow is being imported, so they must be set before: no background jobs, nothing phoned home, no bars.
os.environ.setdefault("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault(
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3"
)  # its own 7 wait four minutes for a server that is not there

import mlflow
import mlflow.onnx
import onnx
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.tracking import MlflowClient
from mlflow.types.schema import Schema, TensorSpec
from sqlalchemy.exc import SQLAlchemyError

from router_runtime.errors import StoreError, UnknownVersion
from training.run_record import MODEL, Registered, RunRecord, Version
from training.scratch import scratch

DEFAULT_URI = "sqlite:///mlflow.db"
DEFAULT_ARTIFACTS = "mlartifacts"
EXPERIMENT = "pointsman"
BUNDLE_FOLDER = "bundle"
REQUIREMENTS = ["onnxruntime", "numpy"]


_PASSWORD = re.compile(r"//[^/@]*@")
_NOT_IN_NAMES = re.compile(r"[^\w\-. :]")


class Tracker:
    """One MLflow.

    Args:
        uri: Tracking and registry URI; else MLFLOW_TRACKING_URI, else SQLite in the working directory.
    """

    def __init__(self, uri: str | None = None) -> None:
        self.uri = _absolute(uri or os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_URI)
        with self._alone(), self._talking():
            self._client = MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)
            self._experiment = self._find_experiment()

    @contextlib.contextmanager
    def _talking(self) -> Iterator[None]:
        """MLflow without its chatter, without two warnings about its own code, and with errors of our own.

        Its ORM models use a loader that SQLAlchemy 2.1 deprecates; its own ``predict`` is annotated with Any.

        Raises:
            StoreError: Where MLflow or its database fails.
        """
        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*``noload`` loader strategy is deprecated")
            warnings.filterwarnings("ignore", message=".*Any type hint is inferred as AnyType")
            try:
                yield
            except (MlflowException, SQLAlchemyError) as error:
                shown = _PASSWORD.sub("//", self.uri)
                first = _PASSWORD.sub("//", str(error).strip().partition("\n")[0][:300])
                raise StoreError(f"MLflow at {shown}: {first} (MLFLOW_TRACKING_URI names another)") from error

    def _find_experiment(self) -> str:
        found = self._client.get_experiment_by_name(EXPERIMENT)
        if found is not None:
            return str(found.experiment_id)
        database = _sqlite_file(self.uri)
        place = None if database is None else (database.parent / DEFAULT_ARTIFACTS).as_uri()
        return str(self._client.create_experiment(EXPERIMENT, artifact_location=place))

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Two trainings that begin at once neither both create SQLite's tables nor both become champion."""
        database = _sqlite_file(self.uri)
        if database is None:
            yield
            return
        database.parent.mkdir(parents=True, exist_ok=True)
        with open(database.with_name(database.name + ".lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def register(
        self, name: str, record: RunRecord, bundle: Path, fingerprint: str, alias: str | None = None
    ) -> Registered:
        """Logs a run with its bundle and registers it as a version; the version comes last, so nothing is half there.

        Args:
            name: Name of the run.
            record: What is kept of it.
            bundle: Folder of the bundle.
            fingerprint: The bundle's sha256, kept as the tag ``bundle_sha256``.
            alias: What shall point to it; by default ``champion`` where there is none yet, else ``challenger``.
        """
        with self._talking(), self._run(name, record) as run_id:
            model_id, source = self._log_bundle(bundle)
            tags = {"bundle_sha256": fingerprint, **record.tags}
            with self._alone():
                self._ensure_model()
                version = self._client.create_model_version(MODEL, source, run_id=run_id, tags=tags, model_id=model_id)
                alias = alias or ("challenger" if self._version_of("champion") else "champion")
                self._client.set_registered_model_alias(MODEL, alias, version.version)
        return Registered(run_id, str(version.version), alias, self.uri)

    def log(self, name: str, record: RunRecord) -> str:
        """Logs a run without a version (a comparison); returns its id."""
        with self._talking(), self._run(name, record) as run_id:
            return run_id

    @contextlib.contextmanager
    def _run(self, name: str, record: RunRecord) -> Iterator[str]:
        mlflow.set_tracking_uri(self.uri)  # mlflow.onnx logs to the global one
        mlflow.set_registry_uri(self.uri)
        with mlflow.start_run(experiment_id=self._experiment, run_name=name) as run:
            run_id = str(run.info.run_id)
            self._log_record(run_id, record)
            yield run_id

    def _log_record(self, run_id: str, record: RunRecord) -> None:
        now = int(mlflow.utils.time.get_current_time_millis())
        metrics = [Metric(key, value, now, 0) for key, value in _named(record.metrics).items()]
        params = [Param(key, value[:500]) for key, value in record.params.items()]
        tags = [RunTag(key, value) for key, value in record.tags.items()]
        # MLflow takes at most 1,000 metrics and 100 params or tags at once.
        for start in range(0, max(len(metrics), 1), 1000):
            self._client.log_batch(run_id, metrics=metrics[start : start + 1000])
        self._client.log_batch(run_id, params=params[:100], tags=tags[:100])
        with scratch() as folder:
            for file, data in record.figures.items():
                _write(folder / "figures" / file, data)
            for file, text in record.documents.items():
                _write(folder / file, text.encode())
            self._client.log_artifacts(run_id, folder)

    def _log_bundle(self, bundle: Path) -> tuple[str, str]:
        """The bundle as a logged model: MLflow's own ONNX files with the signature, and our files beside them."""
        graph = onnx.load(bundle / "router.onnx")
        info = mlflow.onnx.log_model(
            graph,
            name="router",
            signature=_signature(graph),
            pip_requirements=REQUIREMENTS,  # given, or MLflow spends 3 s on guessing them
            save_as_external_data=False,
        )
        with scratch() as folder:
            for file in bundle.iterdir():
                _write(folder / BUNDLE_FOLDER / file.name, file.read_bytes())
            self._client.log_model_artifacts(info.model_id, folder)
        return str(info.model_id), str(info.model_uri)

    def _ensure_model(self) -> None:
        try:
            self._client.get_registered_model(MODEL)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            self._client.create_registered_model(MODEL, description="Routers trained by Pointsman")

    def version(self, reference: str) -> Version | None:
        """The version of a number or an alias; None where there is none."""
        with self._talking():
            try:
                found = (
                    self._client.get_model_version(MODEL, reference)
                    if reference.isdigit()
                    else self._client.get_model_version_by_alias(MODEL, reference)
                )
            except MlflowException as error:
                if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                    raise
                return None
        return Version(str(found.version), str(found.run_id), dict(found.tags), tuple(found.aliases))

    def tagged(self, tag: str, value: str) -> list[Version]:
        """The versions with a tag, newest first."""
        with self._talking():
            found = self._client.search_model_versions(f"name = '{MODEL}' AND tags.{tag} = '{value}'")
        numbers = sorted((int(one.version) for one in found), reverse=True)
        return [version for number in numbers if (version := self.version(str(number))) is not None]

    def newest(self) -> Version | None:
        """The version with the highest number."""
        with self._talking():
            found = self._client.search_model_versions(f"name = '{MODEL}'", order_by=["version_number DESC"])
        return self.version(str(max(int(one.version) for one in found))) if found else None

    def unknown(self, reference: str | None) -> UnknownVersion:
        """The error of a version that is not there (None = of any), with those that are."""
        newest = self.newest()
        place = f"in {_PASSWORD.sub('//', self.uri)}; MLFLOW_TRACKING_URI names another MLflow"
        if newest is None:
            return UnknownVersion(f"no version is registered {place}; train or retrain registers one")
        there = "version 1 alone" if newest.number == "1" else f"versions up to {newest.number}"
        return UnknownVersion(f"no version or alias {reference!r} is registered, but {there}, {place}")

    def tag(self, number: str, tags: Mapping[str, str]) -> None:
        """Sets tags of a version."""
        with self._talking():
            for key, value in tags.items():
                self._client.set_model_version_tag(MODEL, number, key, value)

    def tag_model(self, key: str, value: str) -> None:
        """Sets a tag of the registered model itself: what happened, whichever version it was about."""
        with self._talking():
            self._client.set_registered_model_tag(MODEL, key, value)

    def model_tags(self) -> dict[str, str]:
        """Tags of the registered model."""
        with self._talking():
            return dict(self._client.get_registered_model(MODEL).tags)

    def point(self, alias: str, number: str) -> None:
        """Lets ``alias`` point to a version, in one step."""
        with self._talking(), self._alone():
            self._client.set_registered_model_alias(MODEL, alias, number)

    def unpoint(self, alias: str) -> None:
        """Removes an alias; nothing happens where there is none."""
        with self._talking(), self._alone():
            self._client.delete_registered_model_alias(MODEL, alias)

    def end_stale(self, tag: str, value: str) -> None:
        """Marks runs with a tag that a killed process left running as killed."""
        with self._talking():
            wanted = f"tags.{tag} = '{value}' AND attributes.status = 'RUNNING'"
            for run in self._client.search_runs([self._experiment], wanted):
                self._client.set_terminated(run.info.run_id, "KILLED")

    def _version_of(self, alias: str) -> str | None:
        aliases: Mapping[str, Any] = self._client.get_registered_model(MODEL).aliases
        return str(aliases[alias]) if alias in aliases else None

    def bundle(self, reference: str, folder: Path) -> Path:
        """Fetches the bundle of a version number or an alias into ``folder``; returns the bundle's folder.

        Raises:
            UnknownVersion: Where there is no such version.
        """
        found = self.version(reference)
        if found is None:
            raise self.unknown(reference)
        with self._talking():
            mlflow.set_tracking_uri(self.uri)
            mlflow.set_registry_uri(self.uri)
            place = mlflow.artifacts.download_artifacts(
                artifact_uri=f"models:/{MODEL}/{found.number}", dst_path=str(folder)
            )
        return Path(place) / BUNDLE_FOLDER


def _named(metrics: Mapping[str, float]) -> dict[str, float]:
    """Metrics by names that MLflow takes: a count's name holds the reason, and that any sign, of why rows were left."""
    found: dict[str, float] = {}
    for key, value in metrics.items():
        name = whole = _NOT_IN_NAMES.sub("_", key)[:240].strip()
        twins = 1
        while name in found:
            twins += 1
            name = f"{whole} {twins}"
        found[name] = value
    return found


def _signature(graph: onnx.ModelProto) -> ModelSignature:
    """Names, dtypes and shapes of the graph's own inputs and outputs."""
    return ModelSignature(
        inputs=Schema([_spec(value) for value in graph.graph.input]),
        outputs=Schema([_spec(value) for value in graph.graph.output]),
    )


def _spec(value: onnx.ValueInfoProto) -> TensorSpec:
    tensor = value.type.tensor_type
    shape = tuple(d.dim_value if d.HasField("dim_value") else -1 for d in tensor.shape.dim)
    return TensorSpec(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type), shape, value.name)


def _sqlite_file(uri: str) -> Path | None:
    return Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None


def _absolute(uri: str) -> str:
    """SQLite's file by its full path, so that a later change of the working directory changes nothing."""
    file = _sqlite_file(uri)
    return uri if file is None else f"sqlite:///{file.resolve()}"


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)

"""Fetches a router version's bundle from MLflow over its REST API, so that a service needs no MLflow to follow it.

``registered-models/alias`` → ``model-versions/get-download-uri`` → ``mlflow-artifacts``: three files, each
bounded in size. What was fetched must be what was registered (the version's tag ``bundle_sha256`` is the manifest's
sha256, which holds those of the other files) and must open, before it takes the place of the bundle that serves.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from router_runtime.bundle import MANIFEST, MAX_BYTES, open_bundle
from router_runtime.bundle_writer import install_bundle
from router_runtime.errors import BundleError, BundleFormatError, BundleTampered, ConfigError, TransportFailure
from router_runtime.transport import Transport
from router_runtime.transports import open_transport

MODEL, ALIAS = "pointsman-router", "champion"
BUNDLE_FOLDER = "bundle"
_API = "/api/2.0/mlflow"
_ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts/"
_MAX_ANSWER = 1 << 20


@dataclass(frozen=True)
class Place:
    """A version in an MLflow.

    Args:
        url: http(s)://host[:port][/path] of the tracking server.
        model: Name of the registered model.
        reference: An alias, or a version's number.
        headers: Sent with each request (authorization); in no error and no repr.
        timeout_s: For each request.
    """

    url: str
    model: str = MODEL
    reference: str = ALIAS
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    timeout_s: float = 60.0


@dataclass(frozen=True)
class Pulled:
    """What was fetched.

    Args:
        version: The version's number.
        bundle_version: Fingerprint of its bundle.
        changed: False where it was there already.
    """

    version: str
    bundle_version: str
    changed: bool


def pull(place: Place, out: Path) -> Pulled:
    """Puts the bundle of a version in the folder ``out``, at once; nothing is fetched where it is there already.

    Raises:
        ConfigError: Where the URL cannot be used.
        BundleFormatError: Where the server, the version or its bundle cannot be reached, or the bundle does not open.
        BundleTampered: Where the bundle is not the one that was registered.
    """
    if not _usable(place.url):
        raise ConfigError(
            "the tracking server must be http(s)://host[:port][/path]; a user belongs in MLFLOW_TRACKING_USERNAME"
        )
    return asyncio.run(_Pull(place).run(out))


def _usable(url: str) -> bool:
    try:
        parts = urlsplit(url)
        plain = parts.port != 0 and not parts.username and not parts.query
    except ValueError:  # a port or an address that is none
        return False
    return plain and parts.scheme in ("http", "https") and bool(parts.hostname)


def credentials(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """The authorization header that MLflow's own variables name; none where they are not set.

    Raises:
        ConfigError: The token cannot be sent.
    """
    given = os.environ if environment is None else environment
    if token := given.get("MLFLOW_TRACKING_TOKEN"):
        if not (token.isascii() and token.isprintable()):
            raise ConfigError("MLFLOW_TRACKING_TOKEN holds characters that no HTTP header may hold (a line end?)")
        return {"Authorization": f"Bearer {token}"}
    if user := given.get("MLFLOW_TRACKING_USERNAME"):
        both = f"{user}:{given.get('MLFLOW_TRACKING_PASSWORD', '')}"
        return {"Authorization": f"Basic {base64.b64encode(both.encode()).decode()}"}
    return {}


class _Pull:
    def __init__(self, place: Place) -> None:
        self._place, self._host = place, urlsplit(place.url).netloc
        self._root = place.url.rstrip("/")

    async def run(self, out: Path) -> Pulled:
        transport = open_transport("httpx")
        try:
            return await self._run(transport, out)
        except (TransportFailure, TimeoutError) as error:
            raise BundleFormatError(f"no bundle from {self._host}: {error or 'it takes too long'}") from error
        finally:
            await transport.aclose()

    async def _run(self, transport: Transport, out: Path) -> Pulled:
        number, wanted = await self._version(transport)
        served = _version_at(out)
        if served is not None and wanted.startswith(served):
            return Pulled(number, served, False)
        folder = await self._folder(transport, number)
        with tempfile.TemporaryDirectory() as made:
            for name, limit in MAX_BYTES.items():
                path = quote(f"{folder}/{BUNDLE_FOLDER}/{name}")
                (Path(made) / name).write_bytes(await self._get(transport, _ARTIFACTS + path, limit))
            found = hashlib.sha256((Path(made) / MANIFEST).read_bytes()).hexdigest()
            if not wanted or not found.startswith(wanted):
                raise BundleTampered(f"version {number} at {self._host} is not the bundle that was registered")
            return Pulled(number, install_bundle(made, out).version, True)

    async def _version(self, transport: Transport) -> tuple[str, str]:
        """Number and ``bundle_sha256``."""
        model, reference = self._place.model, self._place.reference
        if reference.isdigit():
            answer = await self._ask(transport, "/model-versions/get", name=model, version=reference)
        else:
            answer = await self._ask(transport, "/registered-models/alias", name=model, alias=reference)
        with self._reading():
            found = answer["model_version"]
            tags = {tag["key"]: tag["value"] for tag in found.get("tags", [])}
            return str(found["version"]), str(tags.get("bundle_sha256", ""))

    async def _folder(self, transport: Transport, number: str) -> str:
        """Where the artifacts of a version lie below the server's."""
        answer = await self._ask(transport, "/model-versions/get-download-uri", name=self._place.model, version=number)
        with self._reading():
            uri = urlsplit(str(answer["artifact_uri"]))
        if uri.scheme != "mlflow-artifacts":
            raise BundleFormatError(
                f"version {number} at {self._host} lies at {uri.scheme or 'file'}:…, which the server does not hand "
                f"out: train with MLFLOW_TRACKING_URI={self._place.url}, and run mlflow server with --serve-artifacts"
            )
        return uri.path.strip("/")

    async def _ask(self, transport: Transport, path: str, **query: str) -> dict[str, Any]:
        data = await self._get(transport, f"{_API}{path}?{urlencode(query)}", _MAX_ANSWER)
        with self._reading():
            answer: dict[str, Any] = json.loads(data)
            answer.keys()
        return answer

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise BundleFormatError(f"{self._host} does not answer as MLflow does") from error

    async def _get(self, transport: Transport, path: str, limit: int) -> bytes:
        async with asyncio.timeout(self._place.timeout_s):
            response = await transport.open("GET", self._root + path, _headers(self._place, self._host), b"")
            try:
                data = bytearray()
                while piece := await response.read():
                    data += piece
                    if len(data) > limit:
                        raise BundleFormatError(f"{self._host} sends more than {limit} bytes for {path.split('?')[0]}")
            finally:
                await response.aclose()
        if response.status != 200:
            raise BundleFormatError(f"{self._host} answers {response.status}{_reason(bytes(data))}")
        return bytes(data)


def _headers(place: Place, host: str) -> dict[str, str]:
    return {"Host": host, "Accept": "*/*", **place.headers}


def _reason(body: bytes) -> str:
    """MLflow's own words, where it has any."""
    try:
        return f": {str(json.loads(body)['message'])[:200]}"
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""


def _version_at(out: Path) -> str | None:
    try:
        return open_bundle(out).version
    except BundleError:
        return None

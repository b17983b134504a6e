"""Vectors from a provider's ``/embeddings`` endpoint in OpenAI's format."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from router_runtime.encoder import Vector, normalised
from router_runtime.errors import TransportFailure
from router_runtime.execution.connections import LoopConnections
from router_runtime.execution.sync import Background
from router_runtime.provider_errors import CallTimeout, ConnectFailed, MalformedAnswer, ProviderError
from router_runtime.providers.base import HttpCall, Target
from router_runtime.providers.building import post
from router_runtime.providers.catalog import adapter
from router_runtime.providers.keys import key_of
from router_runtime.providers.reading import load_object, objs
from router_runtime.registry import ProviderEntry
from router_runtime.transport import Transport
from router_runtime.transports import open_transport

MAX_CHARS = 16_000
"""Of a text that is sent; what stands behind it is found by its words alone."""
_MAX_ANSWER = 64 << 20
_PAUSE_S = 0.2


class EndpointEncoder:
    """See :class:`router_runtime.encoder.Encoder`. Any number of threads may use one.

    Args:
        provider: Where it is, with the name of its key's variable and its limits of time.
        model: The provider's id of the model.
        dims: Numbers that a vector must have.
        batch: Texts in one request.
        tries: Of a request that failed in a way that another try may mend.
        environ: Holds the key.
        connect: Makes a transport.
    """

    def __init__(
        self,
        provider: ProviderEntry,
        model: str,
        dims: int,
        *,
        batch: int = 64,
        tries: int = 3,
        environ: Mapping[str, str] = os.environ,
        connect: Callable[[], Transport] = open_transport,
    ) -> None:
        self._provider, self._model, self._dims = provider, model, dims
        self._batch, self._tries, self._environ, self._connect = batch, tries, environ, connect
        self._background = Background()
        self._connections = LoopConnections()
        place = hashlib.sha256(provider.base_url.encode()).hexdigest()[:12]
        self._fingerprint = f"endpoint-{model}-{dims}-{place}"

    @property
    def fingerprint(self) -> str:
        """By address, model and length: a model's vectors may change behind the same name, which nobody can see."""
        return self._fingerprint

    @property
    def dims(self) -> int:
        """Length of a vector."""
        return self._dims

    def encode(self, texts: Sequence[str]) -> Vector:
        """float32 [n, dims], each row of length 1; zeros for empty texts, which no provider takes.

        Raises:
            ProviderError: No good answer came; holds no text and no key.
        """
        out = np.zeros((len(texts), self._dims), dtype=np.float32)
        said = [(row, text[:MAX_CHARS]) for row, text in enumerate(texts) if text.strip()]
        for start in range(0, len(said), self._batch):
            part = said[start : start + self._batch]
            vectors = self._background.run(self._embed([text for _, text in part]))
            out[[row for row, _ in part]] = vectors
        return normalised(out)

    def close(self) -> None:
        """Closes its connections; a later use opens new ones."""
        self._background.stop()

    async def _embed(self, texts: list[str]) -> Vector:
        call = self._call(texts)
        for left in reversed(range(self._tries)):
            try:
                return vectors_of(await self._exchange(call), len(texts), self._dims)
            except ProviderError as error:
                if not (left and error.retry_same):
                    raise
                wait = error.retry_after or _PAUSE_S
            await asyncio.sleep(min(wait, self._provider.timeout_s))
        raise AssertionError  # the last try returns or raises

    def _call(self, texts: list[str]) -> HttpCall:
        target = Target(
            self._provider.base_url, self._model, key_of(self._provider, self._environ), self._provider.headers
        )
        auth = {} if target.api_key is None else {"authorization": f"Bearer {target.api_key}"}
        body = {"model": self._model, "input": texts, "encoding_format": "float"}
        return post(target, "/embeddings", body, auth, stream=False)

    async def _exchange(self, call: HttpCall) -> dict[str, Any]:
        """One request and its whole answer, within the provider's ``timeout_s``."""
        transport = self._connections.here(self._connect).transport
        try:
            async with asyncio.timeout(self._provider.timeout_s):
                status, headers, body = await self._whole(transport, call)
        except TransportFailure as failure:
            error: ProviderError = ConnectFailed(str(failure))
        except TimeoutError:
            error = CallTimeout(f"no embeddings within {self._provider.timeout_s:g} s")
        else:
            if 200 <= status < 300:
                return load_object(body, "the answer")
            error = adapter(self._provider.adapter).classify(status, headers, body)
        raise error

    async def _whole(self, transport: Transport, call: HttpCall) -> tuple[int, Mapping[str, str], bytes]:
        connect_s = self._provider.connect_timeout_s
        response = await transport.open(call.method, call.url, call.headers, call.body, connect_s)
        parts, left = [], _MAX_ANSWER
        try:
            while data := await response.read():
                parts.append(data)
                left -= len(data)
                if left < 0:
                    raise MalformedAnswer("the answer is larger than its bound", status=response.status)
        finally:
            with suppress(TransportFailure):
                await response.aclose()
        return response.status, response.headers, b"".join(parts)


def vectors_of(answer: Mapping[str, Any], n: int, dims: int) -> Vector:
    """float32 [n, dims] of an answer in OpenAI's format, in the order of the texts.

    Raises:
        MalformedAnswer: Another number of vectors or of numbers in one, or something that is no number.
    """
    rows = {row.get("index", place): row.get("embedding") for place, row in enumerate(objs(answer.get("data"), "data"))}
    if set(rows) != set(range(n)):
        raise MalformedAnswer(f"the answer holds {len(rows)} vectors, expected {n}")
    for row in rows.values():
        if not isinstance(row, list) or not all(type(value) in (int, float) for value in row):
            raise MalformedAnswer("an embedding is not a list of numbers")
        if len(row) != dims:
            raise MalformedAnswer(f"an embedding has {len(row)} numbers, the configuration says {dims}; correct dims")
    try:
        vectors = np.array([rows[place] for place in range(n)], dtype=np.float32).reshape(n, dims)
    except OverflowError:
        raise MalformedAnswer("an embedding holds numbers that are too large") from None
    if not np.isfinite(vectors).all():
        raise MalformedAnswer("an embedding holds numbers that are not finite")
    return vectors

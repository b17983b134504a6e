"""Features → predictions: one run of the bundle's graph for all candidates of a request.

The graph reads ``ids`` int64 [n ≥ 1], ``structural`` float32 [S], ``models`` int64 [C] (index of a known model, M for
an unknown one), ``descriptor`` float32 [C, 1 + D] (quality prior and declared strength per domain, read for unknown
models only, 0 = nothing declared) and, where it was trained with an encoder, ``embedding`` float32 [E]. It gives
``quality`` [C], ``output_tokens`` [C], ``domain`` [D] and, where latency was logged, ``latency_ms`` [C].
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from router_runtime.errors import BundleFormatError, PredictionError
from router_runtime.features import HASH_SIZE, STRUCTURAL, Features

Floats = npt.NDArray[np.float32]

_NO_IDS = np.array([HASH_SIZE], dtype=np.int64)
"""What a graph is fed for a prompt without an id: one whose weights are zeros. For none at all, onnxruntime's
MatMulInteger returns uninitialised memory."""
_INPUTS = ("ids", "structural", "models", "descriptor")
_REQUIRED = ("quality", "output_tokens", "domain")
MAX_MEMORY = 512 << 20
"""Bytes that the graphs of all bundles of a process may take together; one of a router's takes some 10 MB."""
ORT_ERRORS = (
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
)


@functools.cache
def _bounded() -> bool:
    """Whether graphs compute within :data:`MAX_MEMORY`; a few operators are enough to ask for any amount.

    onnxruntime bounds an arena that sessions share, not one of a session's own.
    """
    try:
        where = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
        ort.create_and_register_allocator(where, ort.OrtArenaCfg({"max_mem": MAX_MEMORY, "arena_extend_strategy": 1}))
    except (AttributeError, *ORT_ERRORS):  # another library's is there, or another onnxruntime
        return False
    return True


class Described(Protocol):
    """What the scorer reads of a bundle's manifest."""

    @property
    def models(self) -> Sequence[Any]:
        """One entry per known model, in the order of the graph's indices."""

    @property
    def domains(self) -> Sequence[str]:
        """Names of the task head's domains."""


class Predictions(NamedTuple):
    """Predictions of one request for C candidates.

    Args:
        quality: float32 [C], calibrated P(good answer), 0..1.
        output_tokens: float32 [C], at least 1.
        domain: float32 [D], probabilities that sum to 1.
        latency_ms: float32 [C], or None where the bundle has no latency head.
    """

    quality: Floats
    output_tokens: Floats
    domain: Floats
    latency_ms: Floats | None = None


def graph_inputs(
    features: Features, models: npt.NDArray[np.int64], descriptor: Floats, dims: int = 0
) -> dict[str, npt.NDArray[Any]]:
    """What a graph is fed that reads vectors of ``dims`` numbers, see :meth:`Scorer.predict`.

    Raises:
        PredictionError: No encoder has read the request.
    """
    feed: dict[str, npt.NDArray[Any]]
    ids = features.ids if len(features.ids) else _NO_IDS
    feed = {"ids": ids, "structural": features.structural, "models": models, "descriptor": descriptor}
    if dims:
        if features.embedding is None:
            raise PredictionError("the bundle was trained with an encoder, and none has read this request")
        feed["embedding"] = features.embedding
    return feed


class Scorer:
    """A session of one bundle's graph; any number of threads may call :meth:`predict` at once.

    Args:
        graph: The bytes of ``router.onnx``, checked by the bundle.
        manifest: Names the models and the domains.

    Attributes:
        unknown: Index of a model that the bundle does not know.
        domains: Names of the task head's domains.
        dims: Length of the encoder's vectors that the graph reads; 0 = it reads none.

    Raises:
        BundleFormatError: Where the bytes are no graph, or its inputs or outputs are not those of a router.
    """

    def __init__(self, graph: bytes, manifest: Described) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 4  # what goes wrong is raised
        if _bounded():
            options.add_session_config_entry("session.use_env_allocators", "1")
        try:
            # What only constants feed is computed at each run, within the bound, not while the graph is loaded and
            # kept: a few nodes grow to any size there. Our own graphs have nothing to fold.
            self._session = ort.InferenceSession(
                graph, options, providers=["CPUExecutionProvider"], disabled_optimizers=["ConstantFolding"]
            )
        except ORT_ERRORS as error:
            raise BundleFormatError(f"router.onnx is not a graph that onnxruntime {ort.__version__} loads") from error
        self.unknown = len(manifest.models)
        self.domains = tuple(manifest.domains)
        self.dims = self._check_shapes()
        names = {output.name for output in self._session.get_outputs()}
        self._outputs = [*_REQUIRED, *(["latency_ms"] if "latency_ms" in names else [])]
        # The compiled session's own `run`, where there is one: the wrapper looks at the names again at each call.
        self._run = getattr(self._session, "_sess", self._session).run

    def _check_shapes(self) -> int:
        """Length of the encoder's vectors that the graph reads; 0 = none."""
        inputs = {item.name: item.shape for item in self._session.get_inputs()}
        outputs = {item.name for item in self._session.get_outputs()}
        missing = [name for name in _INPUTS if name not in inputs] + [name for name in _REQUIRED if name not in outputs]
        if missing:
            raise BundleFormatError(f"router.onnx lacks {missing[0]!r}: it is not a router's graph")
        if inputs["structural"] != [len(STRUCTURAL)]:
            raise BundleFormatError(
                f"router.onnx reads {inputs['structural']} structural numbers, not {len(STRUCTURAL)}"
            )
        if inputs["descriptor"][1:] != [1 + len(self.domains)]:
            raise BundleFormatError(f"router.onnx and the manifest disagree on the {len(self.domains)} domains")
        if "embedding" not in inputs:
            return 0
        match inputs["embedding"]:
            case [int(dims)] if dims > 0:
                return dims
        raise BundleFormatError(f"router.onnx reads an embedding of shape {inputs['embedding']}, expected one length")

    def predict(self, features: Features, models: npt.NDArray[np.int64], descriptor: Floats) -> Predictions:
        """One run of the graph.

        Args:
            features: Of the request.
            models: int64 [C], index of each candidate in the manifest's models, :attr:`unknown` for others.
            descriptor: float32 [C, 1 + D], see the module's docstring.

        Raises:
            PredictionError: The graph cannot compute it, or the vector of its encoder is missing.
        """
        feed = graph_inputs(features, models, descriptor, self.dims)
        try:
            return Predictions(*self._run(self._outputs, feed, None))
        except ORT_ERRORS as error:
            raise PredictionError("the bundle's graph cannot compute this request") from error

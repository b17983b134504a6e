"""Bundles: a folder of ``router.onnx``, ``manifest.json`` and ``MODEL_CARD.md``, opened with suspicion.

Each file is read once, through a descriptor that follows no link; what is checked is what was read. Sizes, versions,
hashes and the graph's bytes are checked before a session is made, and the probes after it.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from router_runtime.encoder import TextEncoder
from router_runtime.errors import BundleError, BundleFormatError, BundleTampered, EncoderMismatch, PredictionError
from router_runtime.features import Features, extract
from router_runtime.manifest import FORMAT_VERSION, Manifest, parse_manifest
from router_runtime.messages import Request
from router_runtime.onnx_guard import ALLOWED_OPS, check_graph
from router_runtime.scorer import Described, Predictions, Scorer

__all__ = ["ALLOWED_OPS", "FORMAT_VERSION", "MAX_BYTES", "Bundle", "newest_that_opens", "open_bundle", "probe_rows"]

GRAPH, MANIFEST, CARD = "router.onnx", "manifest.json", "MODEL_CARD.md"
MAX_BYTES = {GRAPH: 64 << 20, MANIFEST: 1 << 20, CARD: 1 << 20}
_ATTEMPTS = 20
TOLERANCE = 1e-4
"""Largest difference of a probability, and of tokens relative to their number, that another processor may make."""

PROBE_TEXTS = (
    "",
    "Hello!",
    "What is the capital of France? Answer with one word.",
    "Write a Python function that merges two sorted lists.\n\n```python\ndef merge(a, b):\n    ...\n```",
    "Prove that $\\sqrt{2}$ is irrational, and explain each step to a pupil of 14 years.",
    "请把下面的句子翻译成英文：今天天气很好，我们去公园散步吧。",
    "اكتب قصيدة قصيرة عن البحر",
    "Summarise: " + "the quick brown fox jumps over the lazy dog. " * 60,
    "A. 12 kg B. 15 kg C. 18 kg D. 21 kg: which is the mass of 3 boxes of 5 kg?",
    "😀🎉 lol ok",
)
"""Made-up texts, so that a manifest never holds a user's prompt."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """An opened bundle.

    Args:
        manifest: What it says of itself, checked.
        onnx: The bytes of the graph.
        version: Fingerprint, 12 hex digits of the sha256 of the manifest (which holds the other files').
        scorer: A session over ``onnx`` that reproduced the probes.
        path: Where it was read.
        encoder: What reads the requests beside the words, where the bundle was trained with it.
    """

    manifest: Manifest = field(repr=False)
    onnx: bytes = field(repr=False)
    version: str
    scorer: Scorer = field(repr=False)
    path: Path
    encoder: TextEncoder | None = field(default=None, repr=False)

    def reading_with(self, encoder: TextEncoder | None) -> Bundle:
        """The same with ``encoder``, where it was trained with one; as it is where it was not, or has it already.

        Raises:
            EncoderMismatch: It was trained with another one.
        """
        wanted = self.manifest.encoder
        if wanted is None or self.encoder is not None:
            return self
        if encoder is None:
            raise EncoderMismatch(
                f"{self.path}: trained with the encoder {wanted.fingerprint[:17]}…, and the registry names none: add "
                "encoder: {onnx: …, tokenizer: …}"
            )
        if encoder.fingerprint != wanted.fingerprint:
            raise EncoderMismatch(
                f"{self.path}: trained with the encoder {wanted.fingerprint[:17]}…, the registry's is "
                f"{encoder.fingerprint[:17]}…: name the files (and max_tokens) of the training, or train again"
            )
        return replace(self, encoder=encoder)

    def encoded(self, features: Features, text: str) -> Features:
        """``features`` as the graph reads them: with the encoder's vector of ``text``, where there is an encoder.

        Raises:
            PredictionError: The encoder cannot read it.
        """
        return features if self.encoder is None else features._replace(embedding=self.encoder.vector(text))


def open_bundle(path: str | Path) -> Bundle:
    """Opens the bundle in the folder ``path``.

    Raises:
        BundleFormatError: Not a bundle, truncated, oversized, or of a version that this release cannot read.
        BundleTampered: A file is not the one that the manifest describes, or the probes came out differently.
        BundleUnsafe: The graph holds something that is not allowed.
    """
    folder = Path(path)
    try:
        return _open(folder)
    except BundleError as error:
        raise type(error)(f"{folder}: {error}") from error


def _open(folder: Path) -> Bundle:
    files = _read_folder(folder)
    manifest = parse_manifest(files[MANIFEST])
    for name in (GRAPH, CARD):
        if hashlib.sha256(files[name]).hexdigest() != manifest.files.get(name):
            raise BundleTampered(f"{name} is not the file that manifest.json describes (its sha256 differs)")
    check_graph(files[GRAPH])
    scorer = Scorer(files[GRAPH], manifest)
    if scorer.dims != (0 if manifest.encoder is None else manifest.encoder.dims):
        raise BundleFormatError(f"router.onnx reads vectors of {scorer.dims} numbers, manifest.json says otherwise")
    _check_probes(scorer, manifest)
    return Bundle(manifest, files[GRAPH], hashlib.sha256(files[MANIFEST]).hexdigest()[:12], scorer, folder)


def _read_folder(folder: Path) -> dict[str, bytes]:
    """The three files, all of one bundle even where a writer puts another one in its place meanwhile."""
    for _ in range(_ATTEMPTS):
        handle = _open_folder(folder)
        try:
            return {name: _read_file(handle, name) for name in MAX_BYTES}
        except BundleFormatError:
            if not _was_replaced(folder, handle):
                raise
        finally:
            os.close(handle)
    raise BundleFormatError(f"it was replaced {_ATTEMPTS} times while it was read")


def _open_folder(folder: Path) -> int:
    try:
        return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise BundleFormatError(f"no bundle there: {getattr(error, 'strerror', None) or error}") from error


def _was_replaced(folder: Path, handle: int) -> bool:
    """Whether ``folder`` is no longer the one that was opened as ``handle``."""
    try:
        now = folder.stat()
    except OSError:
        return False
    return not os.path.samestat(now, os.fstat(handle))


def _read_file(folder: int, name: str) -> bytes:
    limit = MAX_BYTES[name]
    try:
        handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except OSError as error:
        raise BundleFormatError(f"{name} cannot be opened: {error.strerror} (links are not followed)") from error
    with os.fdopen(handle, "rb") as file:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise BundleFormatError(f"{name} is no regular file")
        if status.st_size > limit:
            raise BundleFormatError(f"{name} has {status.st_size} bytes, at most {limit} are read")
        data = file.read(limit + 1)
    if len(data) > limit:
        raise BundleFormatError(f"{name} grew beyond {limit} bytes while it was read")
    return data


def probe_rows(graph: bytes, manifest: Described) -> list[dict[str, object]]:
    """The ``probes`` of a manifest: what ``graph`` gives for :data:`PROBE_TEXTS`.

    Args:
        graph: Bytes of ``router.onnx``.
        manifest: Anything with its models and domains.
    """
    scorer = Scorer(graph, manifest)
    rows: list[dict[str, object]] = []
    for text in PROBE_TEXTS:
        found = _predict(scorer, text)
        quality, tokens = (values.astype(float).tolist() for values in (found.quality, found.output_tokens))
        rows.append({"text": text, "quality": quality, "output_tokens": tokens})
    return rows


def _predict(scorer: Scorer, text: str) -> Predictions:
    """Predictions for each known model and for an unknown one.

    Raises:
        BundleFormatError: There are more or fewer of them.
    """
    n = scorer.unknown + 1
    descriptor = np.zeros((n, 1 + len(scorer.domains)), dtype=np.float32)
    descriptor[-1, 0] = 0.5
    features = extract(Request(text))._replace(embedding=_stand_in(text, scorer.dims))
    found = scorer.predict(features, np.arange(n, dtype=np.int64), descriptor)
    for name, values in found._asdict().items():
        expected = (len(scorer.domains) if name == "domain" else n,)
        if values is not None and values.shape != expected:
            raise BundleFormatError(f"router.onnx gives {name} of the shape {values.shape}, expected {expected}")
    return found


def _stand_in(text: str, dims: int) -> npt.NDArray[np.float32]:
    """A made-up vector [dims] of length 1 for a probe: the graph is checked without the encoder at hand."""
    waves = np.sin((1 + len(text)) * np.arange(1, dims + 1, dtype=np.float64))
    return np.asarray(waves / max(float(np.linalg.norm(waves)), 1e-12), dtype=np.float32)


def _check_probes(scorer: Scorer, manifest: Manifest) -> None:
    for number, probe in enumerate(manifest.probes):
        try:
            found = _predict(scorer, probe.text)
        except PredictionError as error:
            raise BundleFormatError(f"the graph cannot compute probe {number}") from error
        wanted_quality, wanted_tokens = np.array(probe.quality), np.array(probe.output_tokens)
        if not (
            bool(np.all(np.abs(found.quality - wanted_quality) <= TOLERANCE))
            and bool(np.all(np.abs(found.output_tokens - wanted_tokens) <= TOLERANCE * np.maximum(wanted_tokens, 1)))
        ):
            raise BundleTampered(f"the graph does not give what manifest.json says for probe {number}")


def newest_that_opens(paths: Iterable[str | Path]) -> tuple[Bundle, list[BundleError]]:
    """The bundle of ``paths`` that was written last, of those that open.

    Returns:
        The bundle, and the refusals of those that are newer, newest first.

    Raises:
        BundleFormatError: Where none opens.
    """
    refusals: list[BundleError] = []
    for path in sorted((Path(path) for path in paths), key=_written, reverse=True):
        try:
            return open_bundle(path), refusals
        except BundleError as error:
            refusals.append(error)
    reasons = "; ".join(str(error) for error in refusals) or "there is none"
    raise BundleFormatError(f"no bundle opens: {reasons}")


def _written(path: Path) -> int:
    try:
        return (path / MANIFEST).stat().st_mtime_ns
    except (OSError, ValueError):
        return -1

"""Vectors from an ONNX model on this machine, with its own tokenizer (extra ``encoder``)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from tokenizers import Tokenizer

from router_runtime.encoder import TAIL_PART, Vector, normalised
from router_runtime.errors import ConfigError
from router_runtime.onnx_weights import file_digest, model_digest
from router_runtime.scorer import ORT_ERRORS

_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_BATCH = 32


class OnnxEncoder:
    """A sentence encoder as Hugging Face's exporters write it: token vectors, of which the mean is taken.

    The model is as trusted as the program: it is the operator's own file, and no list of operators bounds it.

    Args:
        model: A ``.onnx`` file with the inputs ``input_ids``, ``attention_mask`` and maybe ``token_type_ids``, each
            int64 [n, tokens]; its first output is float [n, tokens, dims], or [n, dims] where it pools by itself.
        tokenizer: The model's ``tokenizer.json``.
        max_tokens: Of a longer text the first three quarters of these and the last quarter are read: a question often
            stands at the end.

    Raises:
        ConfigError: A file cannot be read, or is not what is meant.
    """

    def __init__(self, model: Path, tokenizer: Path, max_tokens: int = 512) -> None:
        self._max_tokens = max_tokens
        self._fingerprint = f"onnx-{_told(model_digest, model)}-{_told(file_digest, tokenizer)}-{max_tokens}-ends"
        self._tokenizer = _tokenizer(tokenizer)
        self._session = _session(model)
        self._inputs = [one.name for one in self._session.get_inputs()]
        if not {"input_ids", "attention_mask"} <= set(self._inputs) <= set(_INPUTS):
            raise ConfigError(f"encoder: {model.name} has the inputs {self._inputs}, expected {', '.join(_INPUTS)}")

    @property
    def fingerprint(self) -> str:
        """sha256 of the model (with the files of its weights) and of the tokenizer, and how texts are cut."""
        return self._fingerprint

    @cached_property
    def dims(self) -> int:
        """Length of a vector, of the model's first output."""
        one = np.ones((1, 1), dtype=np.int64)
        return int(self._vectors({"input_ids": one * 0, "attention_mask": one, "token_type_ids": one * 0}).shape[1])

    def encode(self, texts: Sequence[str]) -> Vector:
        """float32 [n, dims], each row of length 1; zeros for texts without a token.

        Raises:
            ConfigError: The model fails on its input, or gives numbers that are not finite.
        """
        rows = [self._run(texts[start : start + _BATCH]) for start in range(0, len(texts), _BATCH)]
        return normalised(np.concatenate(rows)) if rows else np.zeros((0, self.dims), dtype=np.float32)

    def _run(self, texts: Sequence[str]) -> Vector:
        clean = [text.encode("utf-8", "replace").decode() for text in texts]
        found = self._tokenizer.encode_batch(clean)
        length = min(max(len(one.ids) for one in found), self._max_tokens)
        if not length:
            return np.zeros((len(texts), self.dims), dtype=np.float32)
        columns = {
            "input_ids": [self._ends(one.ids, length) for one in found],
            "attention_mask": [self._ends(one.attention_mask, length) for one in found],
            "token_type_ids": [self._ends(one.type_ids, length) for one in found],
        }
        vectors = self._vectors({name: np.array(rows, dtype=np.int64) for name, rows in columns.items()})
        if not np.isfinite(vectors).all():  # weights of 16 bits overflow on some texts
            raise ConfigError("encoder: the model gives numbers that are not finite")
        return vectors

    def _ends(self, numbers: Sequence[int], length: int) -> list[int]:
        """The first and last of a text's numbers where they are too many, and zeros up to ``length``.

        Marks that the tokenizer puts around a text are its first and last token, so they stay.
        """
        if len(numbers) > self._max_tokens:
            tail = -(-self._max_tokens // TAIL_PART) if self._max_tokens > 1 else 0
            numbers = [*numbers[: self._max_tokens - tail], *numbers[len(numbers) - tail :]]
        return [*numbers, *[0] * (length - len(numbers))]

    def _vectors(self, given: Mapping[str, npt.NDArray[np.int64]]) -> Vector:
        try:
            out = self._session.run(None, {name: given[name] for name in self._inputs})[0]
        except ORT_ERRORS as error:
            raise ConfigError("encoder: the model fails on its input; do model and tokenizer fit?") from error
        return pooled(out, given["attention_mask"])


def pooled(out: npt.NDArray[np.float32], mask: npt.NDArray[np.int64]) -> Vector:
    """float32 [n, dims]: the mean of the token vectors [n, tokens, dims] that ``mask`` [n, tokens] counts.

    Raises:
        ConfigError: Another shape.
    """
    if out.ndim == 2 and len(out) == len(mask):
        return np.asarray(out, dtype=np.float32)
    if out.ndim != 3 or out.shape[:2] != mask.shape:
        raise ConfigError(f"encoder: the model's first output has the shape {out.shape}, expected [n, tokens, dims]")
    counts = np.maximum(mask.sum(axis=1, keepdims=True), 1)
    with np.errstate(invalid="ignore"):  # what is not finite is told by whoever asked
        return np.asarray((out * mask[:, :, None]).sum(axis=1) / counts, dtype=np.float32)


def _told(digest: Callable[[Path], str], path: Path) -> str:
    try:
        return digest(path)
    except OSError as error:
        raise ConfigError(f"encoder: {path.name} cannot be read: {error.strerror}") from error


def _tokenizer(path: Path) -> Tokenizer:
    try:
        found = Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except Exception as error:  # the library raises nothing narrower
        raise ConfigError(f"encoder: {path.name} is no tokenizer.json") from error
    found.no_truncation()  # the file may ask for either; texts are cut at both ends here
    found.no_padding()
    return found


def _session(path: Path) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except ORT_ERRORS as error:
        raise ConfigError(f"encoder: {path.name} is no model that onnxruntime {ort.__version__} loads") from error

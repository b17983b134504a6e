"""A bundle with what it needs of the registry: the encoder that it was trained with, opened only where it is needed."""

from __future__ import annotations

import os
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from router_runtime.bundle import Bundle, open_bundle
from router_runtime.encoder import Encoder, TextEncoder
from router_runtime.errors import ConfigError
from router_runtime.onnx_weights import weight_files
from router_runtime.registry import Registry
from router_runtime.registry_agents import OnnxEncoderEntry


def open_for(registry: Registry, bundle: Bundle | Path) -> Bundle:
    """The bundle, or the one in that folder, with the registry's encoder where it was trained with one.

    Raises:
        BundleError: It is refused; EncoderMismatch where it was trained with another encoder.
        ConfigError: The registry's encoder cannot be opened.
    """
    opened = open_bundle(bundle) if isinstance(bundle, Path) else bundle
    if opened.manifest.encoder is None or opened.encoder is not None:
        return opened
    return opened.reading_with(text_encoder(registry))


def text_encoder(registry: Registry) -> TextEncoder | None:
    """What the registry's ``encoder`` names; None where it names none.

    Raises:
        ConfigError: As :func:`open_local`.
    """
    return None if registry.encoder is None else TextEncoder(open_local(registry.encoder))


def open_local(entry: OnnxEncoderEntry) -> Encoder:
    """The encoder of two files on this machine; who names the same files shares it, until they change.

    Raises:
        ConfigError: Its files cannot be used, or the extra is not installed.
    """
    if find_spec("tokenizers") is None:
        raise ConfigError("tokenizers is not installed; add it with: pip install 'pointsman[encoder]'")
    state = _state(entry.onnx)
    return _opened(entry, state, *(_state(path) for path in (entry.tokenizer, *_weights(entry.onnx, state))))


def _state(path: str) -> tuple[int, int, int] | None:
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None  # the encoder says what is wrong with it
    return status.st_mtime_ns, status.st_size, status.st_ino


@lru_cache(4)
def _weights(onnx: str, _: tuple[int, int, int] | None) -> tuple[str, ...]:
    try:
        return tuple(str(path) for path in weight_files(Path(onnx)))
    except OSError:
        return ()


@lru_cache(4)
def _opened(entry: OnnxEncoderEntry, *_: tuple[int, int, int] | None) -> Encoder:
    from router_runtime.onnx_encoder import OnnxEncoder  # here: an extra

    return OnnxEncoder(Path(entry.onnx), Path(entry.tokenizer), entry.max_tokens)

"""Which files make up an ONNX model: weights may lie beside it (external data), as those of large encoders do."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

# TensorProto.external_data (onnx.proto3) holds pairs of texts: the key "location" (field 1, 8 bytes), then its value
# (field 2) behind its length of one or two bytes. Looked for in the bytes, it is found in subgraphs and functions, too.
_LOCATION = re.compile(rb"\x0a\x08location\x12([\x01-\x7f]|[\x80-\xff][\x01-\x1f])")
_STEP = 1 << 20
_LONGEST = 4096 + 16


def weight_files(model: Path) -> list[Path]:
    """The files that ``model`` names and that are there, sorted; the usual model holds its weights itself.

    Raises:
        OSError: It cannot be read.
    """
    names, data = set(), b""
    with model.open("rb") as file:
        while piece := file.read(_STEP):  # by pieces: a pattern that passes over gigabytes keeps all threads waiting
            data = data[-_LONGEST:] + piece
            names |= {data[one.end() : one.end() + _length(one[1])] for one in _LOCATION.finditer(data)}
    paths = (model.parent / name.decode("utf-8", "replace") for name in sorted(names))
    return [path for path in paths if path.is_file()]


def model_digest(model: Path) -> str:
    """sha256 of the file, or of those of all of its files where its weights lie beside it.

    Raises:
        OSError: One cannot be read.
    """
    digests = [file_digest(path) for path in (model, *weight_files(model))]
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """sha256 of a file.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _length(varint: bytes) -> int:
    return varint[0] if len(varint) == 1 else (varint[0] & 0x7F) | varint[1] << 7

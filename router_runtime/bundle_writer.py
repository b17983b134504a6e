"""Writes bundles so that a reader sees the old one or the new one, never a half; used by training."""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from router_runtime.bundle import CARD, FORMAT_VERSION, GRAPH, MANIFEST, MAX_BYTES, Bundle, open_bundle, probe_rows
from router_runtime.errors import BundleFormatError, ConfigError
from router_runtime.features import FEATURES_VERSION
from router_runtime.held_folders import held_folder
from router_runtime.manifest import parse_manifest
from router_runtime.onnx_guard import check_graph

_AT_FDCWD, _EXCHANGE = -100, 2


@dataclass(frozen=True)
class _Described:
    models: Sequence[Any]
    domains: Sequence[str]


def write_bundle(path: str | Path, graph: bytes, manifest: Mapping[str, Any], model_card: str) -> Path:
    """Writes a bundle to the folder ``path``, in place of one that may be there, at once.

    Args:
        path: Folder of the bundle.
        graph: Bytes of ``router.onnx``.
        manifest: ``models`` (mappings with a name, in the graph's order), ``domains``, and all else that it shall say.
            Versions, hashes and, where absent, probes are filled in here.
        model_card: Markdown.

    Raises:
        BundleFormatError: Where :func:`router_runtime.bundle.open_bundle` would refuse it; nothing is written then.
        BundleUnsafe: As above, for what the graph holds.
        ConfigError: Where ``path`` holds something else, see :func:`require_bundle_place`.
    """
    check_graph(graph)
    described = _Described(manifest.get("models", ()), manifest.get("domains", ()))
    digests = {GRAPH: hashlib.sha256(graph).hexdigest(), CARD: hashlib.sha256(model_card.encode()).hexdigest()}
    document = {
        "probes": manifest.get("probes") or probe_rows(graph, described),
        **{key: value for key, value in manifest.items() if key != "probes"},
        "format_version": FORMAT_VERSION,
        "features_version": FEATURES_VERSION,
        "files": digests,
    }
    try:
        text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False, sort_keys=True)
    except (TypeError, ValueError) as error:
        raise BundleFormatError(f"the manifest is not plain JSON: {error}") from error
    files = {GRAPH: graph, MANIFEST: text.encode(), CARD: model_card.encode()}
    parse_manifest(files[MANIFEST])
    for name, data in files.items():
        if len(data) > MAX_BYTES[name]:
            raise BundleFormatError(f"{name} would have {len(data)} bytes, at most {MAX_BYTES[name]} are read")
    return _replace(Path(path), files)


def install_bundle(source: str | Path, path: str | Path) -> Bundle:
    """Puts a copy of the bundle ``source`` in the folder ``path``, at once; what does not open never gets there.

    Returns:
        The bundle in its new place.

    Raises:
        BundleError: Where the copy does not open; ``path`` is as it was.
        ConfigError: Where ``path`` holds something else, see :func:`require_bundle_place`.
    """
    folder = Path(source)
    files = {}
    for name, limit in MAX_BYTES.items():
        try:
            with (folder / name).open("rb") as file:
                files[name] = file.read(limit + 1)  # one byte too many is refused when it is opened
        except OSError as error:
            raise BundleFormatError(f"{folder}: {name} cannot be read: {error.strerror}") from error
    opened: list[Bundle] = []
    target = _replace(Path(path), files, lambda staging: opened.append(open_bundle(staging)))
    return replace(opened[0], path=target)


def require_bundle_place(path: str | Path) -> None:
    """Makes sure that a bundle may be put at ``path``: nothing is there, or a folder that holds nothing but a bundle.

    What stands there is replaced as a whole, so a folder of anything else would be lost. Ask before long work.

    Raises:
        ConfigError: Naming what else is there.
    """
    target = Path(path)
    if not target.exists() and not target.is_symlink():
        return
    if not target.is_dir():
        raise ConfigError(f"{target} is a file; name a folder for the bundle")
    others = sorted(entry.name for entry in target.iterdir() if entry.name not in MAX_BYTES)
    if others:
        raise ConfigError(
            f"{target} holds {others[0]}, which is no part of a bundle and would be lost; name a folder of its own"
        )


def _replace(target: Path, files: Mapping[str, bytes], check: Callable[[Path], None] | None = None) -> Path:
    """Writes ``files`` beside ``target``, then puts the folder in its place; one writer at a time.

    ``check`` sees the new folder before it is put anywhere, and stops it by raising.
    """
    require_bundle_place(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    with held_folder(target.parent, f".{target.name}-") as staging:  # at the end the old bundle, where there was one
        for name, data in files.items():
            _write_synced(staging / name, data)
        staging.chmod(0o755)
        _sync_folder(staging)
        if check is not None:
            check(staging)
        folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            _put(staging, target)
            os.fsync(folder)
        finally:
            os.close(folder)
    return target


def _put(staging: Path, target: Path) -> None:
    if not target.exists():
        staging.rename(target)
    elif not _exchange(staging, target):
        with held_folder(target.parent, f".{target.name}.old-") as aside:
            target.rename(aside / "bundle")
            staging.rename(target)


def _exchange(one: Path, other: Path) -> bool:
    """Swaps two folders in one step (Linux's renameat2); False where the system or the file system cannot."""
    renameat2 = getattr(ctypes.CDLL(None), "renameat2", None)
    if renameat2 is None:
        return False
    done: int = renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _EXCHANGE)
    return done == 0


def _write_synced(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

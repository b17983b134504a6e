"""``manifest.json``: what a bundle says of itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from router_runtime.errors import BundleFormatError
from router_runtime.features import FEATURES_VERSION, STRUCTURAL

FORMAT_VERSION = 1
MAX_DIMS = 16_384
_NUMBERS = {"labels": 0.0, "input_scale": 0.01}
"""What decisions read of a model's details, and the least that each may be."""


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A model that the bundle was trained on.

    Args:
        name: Its name in the training data, matched to the registry's names and aliases.
        details: What else the manifest tells of it: ``labels``, by how many it was judged; ``input_scale``, prompt
            tokens that its provider counts for each that is estimated; mean quality and cost.
    """

    name: str
    details: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Probe:
    """A made-up text and what the graph gave for it when the bundle was written.

    Args:
        text: The whole request.
        quality: P(good) of each known model and of an unknown one with the descriptor 0.5, 0, …; [M + 1].
        output_tokens: Likewise.
    """

    text: str
    quality: tuple[float, ...]
    output_tokens: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class EncoderNote:
    """The encoder that a bundle was trained with.

    Args:
        fingerprint: Of its files, see :attr:`router_runtime.encoder.Encoder.fingerprint`.
        dims: Length of its vectors.
    """

    fingerprint: str
    dims: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """A checked manifest.

    Args:
        format_version: :data:`FORMAT_VERSION`.
        features_version: The one of :mod:`router_runtime.features`.
        models: In the order of the graph's indices.
        domains: Names of the task head's outputs.
        files: sha256 by file name.
        probes: At least one.
        structural_medians: Training median of each structural number [S], for explanations; zeros where absent.
        encoder: What read the texts beside the words, or None.
        calibration, training_window, fingerprints, metrics: For people and for MLflow; may be empty.
        raw: The whole document.
    """

    format_version: int
    features_version: int
    models: tuple[KnownModel, ...]
    domains: tuple[str, ...]
    files: Mapping[str, str]
    probes: tuple[Probe, ...]
    structural_medians: tuple[float, ...]
    encoder: EncoderNote | None
    calibration: Mapping[str, Any]
    training_window: Mapping[str, Any]
    fingerprints: Mapping[str, Any]
    metrics: Mapping[str, Any]
    raw: Mapping[str, Any]


def parse_manifest(data: bytes) -> Manifest:
    """Reads and checks ``manifest.json``; keys that it does not know are kept in ``raw``.

    Raises:
        BundleFormatError: Where it is not one, or of a version that this release cannot read.
    """
    try:
        raw = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BundleFormatError(f"manifest.json is not JSON: {error}") from error
    if not isinstance(raw, dict):
        raise BundleFormatError("manifest.json is not a mapping")
    _check_version(raw, "format_version", FORMAT_VERSION)
    _check_version(raw, "features_version", FEATURES_VERSION)
    medians = _get(raw, "structural_medians", list, [0.0] * len(STRUCTURAL))
    if len(medians) != len(STRUCTURAL):
        raise BundleFormatError(f"manifest.json: structural_medians has {len(medians)} numbers, not {len(STRUCTURAL)}")
    models = tuple(_model(entry) for entry in _get(raw, "models", list))
    if len({model.name for model in models}) != len(models) or not models:
        raise BundleFormatError("manifest.json: models must be a list of different models, at least one")
    probes = tuple(_probe(entry, len(models)) for entry in _get(raw, "probes", list))
    if not probes:
        raise BundleFormatError("manifest.json has no probes, so that nothing would be checked")
    return Manifest(
        format_version=FORMAT_VERSION,
        features_version=FEATURES_VERSION,
        models=models,
        domains=tuple(_text(name, "domains") for name in _get(raw, "domains", list)),
        files={name: _text(digest, "files") for name, digest in _get(raw, "files", dict).items()},
        probes=probes,
        structural_medians=_floats(medians, "structural_medians"),
        encoder=_encoder(raw.get("encoder")),
        **{key: _get(raw, key, dict, {}) for key in ("calibration", "training_window", "fingerprints", "metrics")},
        raw=raw,
    )


def _get(raw: Mapping[str, Any], key: str, kind: type, default: Any = None) -> Any:
    value = raw.get(key, default)
    if not isinstance(value, kind):
        raise BundleFormatError(f"manifest.json: {key!r} is missing or no {kind.__name__}")
    return value


def _check_version(raw: Mapping[str, Any], key: str, known: int) -> None:
    version = raw.get(key)
    if isinstance(version, bool) or not isinstance(version, int):
        raise BundleFormatError(f"manifest.json: {key!r} is missing or no number")
    if version != known:
        fix = "update pointsman" if version > known else "train a new bundle"
        raise BundleFormatError(f"manifest.json has {key} {version}, this release reads {known}: {fix}")


def _model(entry: Any) -> KnownModel:
    if isinstance(entry, dict) and isinstance(entry.get("name"), str) and entry["name"]:
        details = {key: value for key, value in entry.items() if key != "name"}
        for key, low in _NUMBERS.items():
            value = details.get(key, 1.0)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value < 1e12:
                raise BundleFormatError(f"manifest.json: {key} of a model is no number from {low} on")
        return KnownModel(entry["name"], details)
    raise BundleFormatError("manifest.json: each of models must be a mapping with a name")


def _encoder(entry: Any) -> EncoderNote | None:
    if entry is None:
        return None
    match entry:
        case {"fingerprint": str(fingerprint), "dims": int(dims)} if 0 < dims <= MAX_DIMS:
            return EncoderNote(fingerprint, dims)
    raise BundleFormatError(f"manifest.json: encoder must tell its fingerprint and its dims, 1..{MAX_DIMS}")


def _probe(entry: Any, n_models: int) -> Probe:
    if not isinstance(entry, dict):
        raise BundleFormatError("manifest.json: each probe must be a mapping")
    quality = _floats(_get(entry, "quality", list), "probes.quality")
    tokens = _floats(_get(entry, "output_tokens", list), "probes.output_tokens")
    if not len(quality) == len(tokens) == n_models + 1:
        raise BundleFormatError(f"manifest.json: a probe has {len(quality)} qualities, expected {n_models + 1}")
    return Probe(_text(entry.get("text"), "probes.text"), quality, tokens)


def _floats(values: list[Any], what: str) -> tuple[float, ...]:
    if all(isinstance(value, (int, float)) and abs(value) < 1e12 for value in values):
        return tuple(float(value) for value in values)
    raise BundleFormatError(f"manifest.json: {what} holds something that is no finite number")


def _text(value: Any, what: str) -> str:
    if isinstance(value, str):
        return value
    raise BundleFormatError(f"manifest.json: {what} holds something that is no text")

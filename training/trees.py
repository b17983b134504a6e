"""LightGBM booster → one ONNX tree node whose raw scores are the booster's on float32 rows."""

from __future__ import annotations

import re
from typing import Any

import lightgbm as lgb
import numpy as np
import onnx
from onnxmltools.convert import convert_lightgbm
from onnxmltools.convert.common.data_types import FloatTensorType

from router_runtime.errors import ConfigError

TARGET_OPSET = 15
_THRESHOLDS = re.compile(r"^threshold=(.+)$", re.MULTILINE)


def floor_float32(values: list[float]) -> list[float]:
    """The largest float32 ≤ each value, as floats.

    For a float32 x, x ≤ t holds exactly where x ≤ floor32(t); rounding to the nearest would flip some branches.
    """
    wide = np.asarray(values, dtype=np.float64)
    narrow = wide.astype(np.float32)
    above = narrow.astype(np.float64) > wide
    narrow[above] = np.nextafter(narrow[above], np.float32(-np.inf))
    return [float(value) for value in narrow]


def convertible(booster: lgb.Booster) -> lgb.Booster:
    """A booster of the same raw scores on float32 rows that onnxmltools converts without a change.

    Its thresholds are float32 values and its objective is ``regression``, for cross_entropy and others are not
    converted, and we apply the sigmoid after calibration.

    Raises:
        ConfigError: For categorical splits, linear leaves, zeros read as missing, and averaged forests: the converter
            is silently wrong on them.
    """
    text = booster.model_to_string(num_iteration=booster.best_iteration or -1)
    for pattern, what in (
        (r"^num_cat=[1-9]", "categorical splits"),
        (r"^is_linear=1", "linear leaves"),
        (r"^\[zero_as_missing: 1\]", "zero_as_missing"),
        (r"^average_output$", "an averaged forest (boosting=rf)"),
    ):
        if re.search(pattern, text, re.MULTILINE):
            raise ConfigError(f"the booster has {what}, which ONNX export cannot keep: train without")
    text = _THRESHOLDS.sub(_floored_line, text)
    if re.search(r"^objective=", text, re.MULTILINE) is None:  # trained under an objective of our own
        text = re.sub(r"^feature_names=", "objective=regression\nfeature_names=", text, count=1, flags=re.MULTILINE)
    text = re.sub(r"^objective=.*$", "objective=regression", text, count=1, flags=re.MULTILINE)
    text = re.sub(r"^\[objective: .*\]$", "[objective: regression]", text, count=1, flags=re.MULTILINE)
    # Sizes in bytes of each tree let the reader split the text; without them it parses tree by tree.
    text = re.sub(r"^tree_sizes=.*\n", "", text, count=1, flags=re.MULTILINE)
    return lgb.Booster(model_str=text)


def _floored_line(match: re.Match[str]) -> str:
    values = floor_float32([float(value) for value in match.group(1).split()])
    return "threshold=" + " ".join(repr(value) for value in values)


def tree_attributes(booster: lgb.Booster) -> dict[str, Any]:
    """Attributes of the ``TreeEnsembleRegressor`` (ai.onnx.ml) that gives the booster's raw scores."""
    n_features = booster.num_feature()
    inputs = [("rows", FloatTensorType([None, n_features]))]
    model = convert_lightgbm(convertible(booster), initial_types=inputs, target_opset=TARGET_OPSET, zipmap=False)
    nodes = [node for node in model.graph.node if node.op_type == "TreeEnsembleRegressor"]
    if len(nodes) != 1:
        kinds = ", ".join(node.op_type for node in model.graph.node)
        raise ConfigError(f"the converter gave the nodes {kinds}, expected one TreeEnsembleRegressor")
    return {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in nodes[0].attribute}

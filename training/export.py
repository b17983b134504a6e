"""Fitted parts → one ONNX graph of standard operators, and the proof that it predicts what LightGBM predicts.

One node costs about a microsecond, so the graph is built for few nodes: all per-model constants come from one Gather,
the sums of hashed weights and the structural numbers go through one matrix, and all candidates through the trees as
one batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from router_runtime.features import STRUCTURAL
from training.graph_parts import Floats, GraphParts, check_parts, row_names
from training.trees import TARGET_OPSET, tree_attributes

MAX_TOKENS = 60_000.0
QUALITY_LIMIT = 0.005


class _Builder:
    """Collects nodes and initializers; each call returns the names of its outputs."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def constant(self, name: str, array: npt.ArrayLike, dtype: npt.DTypeLike = np.float32) -> str:
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(array, dtype=dtype), name))
        return name

    def node(self, op: str, inputs: Sequence[str], output: str, domain: str = "", **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, list(inputs), [output], name=output, domain=domain, **attributes))
        return output

    def split(self, source: str, sizes: dict[str, int], axis: int) -> None:
        """Splits ``source`` into tensors of the given names; parts of size 0 are left out."""
        kept = {name: size for name, size in sizes.items() if size}
        lengths = self.constant(f"{source}_sizes", list(kept.values()), np.int64)
        self.nodes.append(helper.make_node("Split", [source, lengths], list(kept), name=f"{source}_split", axis=axis))


def _add_text(b: _Builder, parts: GraphParts) -> None:
    """``scores`` [K] from ``ids`` and ``structural``, its named parts, and ``domain`` [D]."""
    m, d, k = len(parts.models), len(parts.domains), parts.n_scores
    # The last row is the id of a prompt that has none, see router_runtime.scorer.graph_inputs.
    weights = np.vstack((parts.text.weights, np.zeros((1, len(parts.text.scale)), dtype=np.int8)))
    b.node("Gather", [b.constant("weights", weights, np.int8), "ids"], "picked", axis=0)
    b.node("Shape", ["ids"], "n_ids")
    b.node("ConstantOfShape", ["n_ids"], "ones", value=numpy_helper.from_array(np.ones(1, dtype=np.uint8)))
    b.node("MatMulInteger", ["ones", "picked"], "summed")
    b.node("Cast", ["summed"], "summed_float", to=TensorProto.FLOAT)
    b.node("Cast", ["n_ids"], "n_float", to=TensorProto.FLOAT)
    b.node("Add", ["n_float", b.constant("one", [1.0])], "n_and_one")
    b.node("Sqrt", ["n_and_one"], "norm")
    b.node("Div", ["summed_float", "norm"], "text")
    b.node("Concat", ["text", "structural", *(["embedding"] if parts.dims else [])], "prompt", axis=0)
    b.node("MatMul", ["prompt", b.constant("score_weights", parts.text.matrix())], "unbiased")
    b.node("Add", ["unbiased", b.constant("score_bias", parts.text.bias)], "scores")
    sizes = {"scores_own": m, "difficulty": 1, "domain_logits": d, "token_score": 1, "scores_more": k - m - d - 2}
    b.split("scores", sizes, axis=0)
    b.node("Softmax", ["domain_logits"], "domain", axis=0)


def _model_table(parts: GraphParts) -> dict[str, Floats]:
    """All that is known per model, [M + 1, width] by name: the columns of one table, in order."""
    m, d = len(parts.models), len(parts.domains)
    unknown = np.zeros((m + 1, 2), dtype=np.float32)
    unknown[m] = parts.unknown
    n_shared = len(STRUCTURAL) + parts.n_scores - m
    table = {
        "own_slope": unknown[:, :1],
        "own_offset": unknown[:, 1:],
        "calibration_slope": parts.calibration[:, :1],
        "calibration_offset": parts.calibration[:, 1:],
        "tokens_slope": parts.tokens[:, :1],
        "tokens_by_domain": parts.tokens[:, 1:],
        "learnt": np.vstack((parts.quality_table, np.zeros((1, 1 + d), dtype=np.float32))),
        # Zeros where the prompt's own numbers go: one broadcast Add then repeats those for each candidate.
        "own_extra": np.hstack((np.zeros((m + 1, n_shared), dtype=np.float32), parts.extra)),
    }
    if parts.latency is not None:
        table |= {"latency_offset": parts.latency[:, :1], "latency_slope": parts.latency[:, 1:]}
    return table


def _add_candidates(b: _Builder, parts: GraphParts) -> None:
    """``own``, ``prior`` and ``strength``, each [C, 1], and the other columns of the model table."""
    m, d = len(parts.models), len(parts.domains)
    b.node("Unsqueeze", ["models", b.constant("axis_1", [1], np.int64)], "model_column")
    table = _model_table(parts)
    b.node("Gather", [b.constant("model_table", np.hstack(list(table.values()))), "models"], "of_model", axis=0)
    b.split("of_model", {name: array.shape[1] for name, array in table.items()}, axis=1)
    # What is declared of an unknown model stands where a known one has its table; no declared strength means its prior.
    b.node("Equal", ["model_column", b.constant("unknown_index", [m], np.int64)], "is_unknown")
    b.node("Gather", ["descriptor", b.constant("first", [0], np.int64)], "declared_prior", axis=1)
    b.node("Greater", ["descriptor", b.constant("zero", [0.0])], "is_declared")
    b.node("Where", ["is_declared", "descriptor", "declared_prior"], "declared")
    b.node("Where", ["is_unknown", "declared", "learnt"], "described")
    b.split("described", {"prior": 1, "strengths": d}, axis=1)
    b.node("Unsqueeze", ["domain", "axis_1"], "domain_column")
    b.node("MatMul", ["strengths", "domain_column"], "strength")
    b.node("Gather", ["scores", "model_column"], "own_score", axis=0)
    b.node("Mul", ["prior", "own_slope"], "own_from_prior")
    b.node("Add", ["own_from_prior", "own_offset"], "own_shift")
    if parts.blend is None:
        b.node("Add", ["own_score", "own_shift"], "own")
    else:
        b.node("Add", ["own_score", "own_shift"], "own_quality")
        _add_blend(b, parts.blend)


def _add_blend(b: _Builder, blend: float) -> None:
    """``own`` = the logit of a mean of ``strength`` and ``own_quality``, cut to keep it finite."""
    b.node("Mul", ["strength", b.constant("blend", blend)], "from_domains")
    b.node("Mul", ["own_quality", b.constant("blend_rest", 1.0 - blend)], "from_text")
    b.node("Add", ["from_domains", "from_text"], "blended")
    limits = [b.constant("quality_low", QUALITY_LIMIT), b.constant("quality_high", 1.0 - QUALITY_LIMIT)]
    b.node("Clip", ["blended", *limits], "own_probability")
    b.node("Sub", [b.constant("certain", 1.0), "own_probability"], "own_failure")
    b.node("Div", ["own_probability", "own_failure"], "own_odds")
    b.node("Log", ["own_odds"], "own")


def _add_rows(b: _Builder, parts: GraphParts) -> None:
    """``rows`` [C, F], the columns of :func:`training.graph_parts.row_names`."""
    width = parts.extra.shape[1]
    shared = ["structural", "difficulty", "domain_logits", "token_score"]
    if parts.n_scores > len(parts.models) + len(parts.domains) + 2:
        shared.append("scores_more")
    if width:
        shared.append(b.constant("no_extra", np.zeros(width)))
    b.node("Concat", shared, "shared", axis=0)
    b.node("Add", ["own_extra", "shared"], "repeated")
    b.node("Concat", ["repeated", "own", "prior", "strength"], "rows", axis=1)


def _add_heads(b: _Builder, parts: GraphParts) -> None:
    """``quality``, ``output_tokens`` and, where fitted, ``latency_ms``, each [C]."""
    logit = "own"
    if parts.booster is not None:
        b.node("TreeEnsembleRegressor", ["rows"], "trees", domain="ai.onnx.ml", **tree_attributes(parts.booster))
        logit = "trees"
        if parts.own_weight:
            weighted = b.node("Mul", ["own", b.constant("own_weight", [parts.own_weight])], "own_part")
            logit = b.node("Add", ["trees", weighted], "logit")
    b.node("Mul", [logit, "calibration_slope"], "scaled_logit")
    b.node("Add", ["scaled_logit", "calibration_offset"], "calibrated")
    b.node("Sigmoid", ["calibrated"], "probability")
    b.node("Squeeze", ["probability", "axis_1"], "quality")
    b.node("Mul", ["tokens_slope", "token_score"], "log_factor")
    b.node("Exp", ["log_factor"], "token_factor")
    b.node("MatMul", ["tokens_by_domain", "domain_column"], "tokens_of_domain")
    b.node("Mul", ["tokens_of_domain", "token_factor"], "tokens")
    limits = [b.constant("tokens_low", 1.0), b.constant("tokens_high", MAX_TOKENS)]
    b.node("Clip", ["tokens", *limits], "tokens_column")
    b.node("Squeeze", ["tokens_column", "axis_1"], "output_tokens")
    if parts.latency is not None:
        b.node("Mul", ["tokens_column", "latency_slope"], "latency_part")
        b.node("Add", ["latency_part", "latency_offset"], "latency_column")
        b.node("Squeeze", ["latency_column", "axis_1"], "latency_ms")


def _model(b: _Builder, parts: GraphParts, outputs: dict[str, list[str | int]]) -> onnx.ModelProto:
    d = len(parts.domains)
    inputs = [
        helper.make_tensor_value_info("ids", TensorProto.INT64, ["n"]),
        helper.make_tensor_value_info("structural", TensorProto.FLOAT, [len(STRUCTURAL)]),
        helper.make_tensor_value_info("models", TensorProto.INT64, ["C"]),
        helper.make_tensor_value_info("descriptor", TensorProto.FLOAT, ["C", 1 + d]),
    ]
    if parts.dims:
        inputs.append(helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [parts.dims]))
    wanted = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()]
    graph = helper.make_graph(b.nodes, "pointsman", inputs, wanted, b.initializers)
    opsets = [helper.make_opsetid("", TARGET_OPSET), helper.make_opsetid("ai.onnx.ml", 1)]
    model = helper.make_model(graph, opset_imports=opsets, producer_name="pointsman", ir_version=8)
    onnx.checker.check_model(model)
    return model


def export_graph(parts: GraphParts) -> bytes:
    """The serialized graph of ``parts``; its inputs and outputs are described in ``router_runtime.scorer``.

    Raises:
        ConfigError: Where parts do not fit each other, or the booster cannot be converted.
    """
    check_parts(parts)
    b = _Builder()
    _add_text(b, parts)
    _add_candidates(b, parts)
    _add_rows(b, parts)
    _add_heads(b, parts)
    outputs: dict[str, list[str | int]] = {"quality": ["C"], "output_tokens": ["C"], "domain": [len(parts.domains)]}
    if parts.latency is not None:
        outputs["latency_ms"] = ["C"]
    return bytes(_model(b, parts, outputs).SerializeToString())


def row_session(parts: GraphParts) -> ort.InferenceSession:
    """A session of the front half: ``rows`` [C, F], ``own`` [C, 1], ``token_score`` [1] and ``domain`` [D]."""
    b = _Builder()
    _add_text(b, parts)
    _add_candidates(b, parts)
    _add_rows(b, parts)
    model = _model(
        b,
        parts,
        {"rows": ["C", len(row_names(parts))], "own": ["C", 1], "token_score": [1], "domain": [len(parts.domains)]},
    )
    return ort.InferenceSession(model.SerializeToString(), _options(), providers=["CPUExecutionProvider"])


def _options() -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return options

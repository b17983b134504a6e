"""What may stand in a router's graph, checked on the bytes, before onnxruntime sees them.

A bounded walk of the protobuf wire format (https://protobuf.dev/programming-guides/encoding) over the few messages of
onnx.proto3. Only fields that a router needs are let through: no subgraphs, functions, external data, custom
domains, sparse tensors or strings, and no operator beyond :data:`ALLOWED_OPS`. A tensor may not claim more elements
than its bytes hold, and nothing may be computed from constants alone, so that a small file cannot become a large one
while it loads. What a graph may take while it computes is bounded in :mod:`router_runtime.scorer`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

from router_runtime.errors import BundleFormatError, BundleUnsafe

ALLOWED_OPS = frozenset(
    [
        "Add",
        "Cast",
        "Clip",
        "Concat",
        "ConstantOfShape",
        "Div",
        "Equal",
        "Exp",
        "Gather",
        "Gemm",
        "Greater",
        "Log",
        "MatMul",
        "MatMulInteger",
        "Max",
        "Min",
        "Mul",
        "ReduceSum",
        "Reshape",
        "Shape",
        "Sigmoid",
        "Softmax",
        "Split",
        "Sqrt",
        "Squeeze",
        "Sub",
        "TreeEnsembleRegressor",
        "Unsqueeze",
        "Where",
    ]
)
"""Operators of the domains ``""`` and ``ai.onnx.ml`` that a graph may use."""

MAX_NODES = 2000
MAX_DIMENSIONS = 4
_DOMAINS = ("", "ai.onnx", "ai.onnx.ml")
_TENSOR_TYPES = {1: 4, 2: 1, 3: 1, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8}  # onnx.TensorProto.DataType → bytes an element

_VARINT, _I64, _BYTES, _I32 = 0, 1, 2, 5
# Fields that may occur in each message, by number (onnx.proto3, IR version 10).
_MODEL = frozenset({1, 2, 3, 4, 5, 6, 7, 8, 14})
_GRAPH = frozenset({1, 2, 5, 10, 11, 12, 13})
_NODE = frozenset({1, 2, 3, 4, 5, 6, 7})
_ATTRIBUTE = frozenset({1, 2, 3, 4, 5, 7, 8, 9, 13, 20})
_TENSOR = frozenset({1, 2, 4, 5, 7, 8, 9, 10, 11, 12})
_TENSOR_DATA = frozenset({4, 5, 7, 9, 10, 11})
_WHAT = {
    "model": {20: "training info", 25: "model-local functions"},
    "graph": {15: "sparse tensors", 14: "quantisation annotations"},
    "attribute": {
        6: "a subgraph",
        11: "subgraphs",
        10: "tensors",
        14: "types",
        21: "function references",
        22: "sparse",
    },
    "tensor": {13: "external data", 14: "external data", 6: "strings", 3: "segments"},
}


class Item(NamedTuple):
    """One field of a message: a number, or the place of bytes."""

    number: int
    wire: int
    value: int
    start: int
    end: int


class _Constants(NamedTuple):
    """Names of values that no input reaches, and how many nodes have been seen."""

    names: set[bytes]
    nodes: list[tuple[str, list[bytes], list[bytes]]]


def check_graph(data: bytes) -> None:
    """Checks the bytes of a model.

    Raises:
        BundleFormatError: Where they are no model.
        BundleUnsafe: Naming what it holds that is not allowed.
    """
    found = _Constants(set(), [])
    graphs = 0
    for item in _fields(data, 0, len(data), "model", _MODEL):
        if item.number == 7:
            graphs += 1
            _check_graph(data, item, found)
        elif item.number == 8:
            _check_opset(data, item)
    if graphs != 1:
        raise BundleFormatError(f"router.onnx holds {graphs} graphs, expected one")
    _check_constant_nodes(found)


def _fields(data: bytes, start: int, end: int, message: str, allowed: frozenset[int]) -> Iterator[Item]:
    """The fields of the message in ``data[start:end]``."""
    place = start
    while place < end:
        key, place = _varint(data, place, end)
        number, wire = key >> 3, key & 7
        if number not in allowed:
            what = _WHAT.get(message, {}).get(number, f"the unknown field {number}")
            raise BundleUnsafe(f"router.onnx: a {message} holds {what}, which a router needs not")
        value, first = 0, place
        if wire == _VARINT:
            value, place = _varint(data, place, end)
        elif wire == _BYTES:
            length, first = _varint(data, place, end)
            place = first + length
        elif wire in (_I64, _I32):
            place += 8 if wire == _I64 else 4
        else:
            raise BundleFormatError("router.onnx is not a model: protobuf groups")
        if place > end:
            raise BundleFormatError(f"router.onnx is truncated inside a {message}")
        yield Item(number, wire, value, first, place)


def _varint(data: bytes, place: int, end: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if place >= end:
            raise BundleFormatError("router.onnx is truncated")
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise BundleFormatError("router.onnx is not a model: a number of more than 10 bytes")


def _message(data: bytes, item: Item, message: str, allowed: frozenset[int]) -> Iterator[Item]:
    if item.wire != _BYTES:
        raise BundleFormatError(f"router.onnx is not a model: a {message} that is a number")
    return _fields(data, item.start, item.end, message, allowed)


def _check_opset(data: bytes, item: Item) -> None:
    for field in _message(data, item, "opset", frozenset({1, 2})):
        if field.number == 1:
            _check_domain(data[field.start : field.end])


def _check_domain(name: bytes) -> None:
    if name.decode("utf-8", "replace") not in _DOMAINS:
        raise BundleUnsafe(f"router.onnx uses the operator domain {_shown(name)}; only standard operators are allowed")


def _check_graph(data: bytes, graph: Item, found: _Constants) -> None:
    for item in _message(data, graph, "graph", _GRAPH):
        if item.number == 1:
            found.nodes.append(_check_node(data, item))
            if len(found.nodes) > MAX_NODES:
                raise BundleUnsafe(f"router.onnx has more than {MAX_NODES} nodes")
        elif item.number == 5:
            found.names.add(_check_tensor(data, item))


def _check_node(data: bytes, node: Item) -> tuple[str, list[bytes], list[bytes]]:
    """Checks one node; returns its operator, inputs and outputs."""
    inputs: list[bytes] = []
    outputs: list[bytes] = []
    operator = ""
    for item in _message(data, node, "node", _NODE):
        raw = data[item.start : item.end]
        if item.number == 1:
            inputs.append(raw)
        elif item.number == 2:
            outputs.append(raw)
        elif item.number == 4:
            operator = raw.decode("utf-8", "replace")
            if operator not in ALLOWED_OPS:
                raise BundleUnsafe(
                    f"router.onnx uses the operator {_shown(raw)}, which is not on the list of allowed ones"
                )
        elif item.number == 7:
            _check_domain(raw)
        elif item.number == 5:
            _check_attribute(data, item)
    return operator, inputs, outputs


def _check_attribute(data: bytes, attribute: Item) -> None:
    for item in _message(data, attribute, "attribute", _ATTRIBUTE):
        if item.number == 5:
            _check_tensor(data, item)
        elif item.number == 20 and item.value not in (1, 2, 3, 4, 6, 7, 8):
            raise BundleUnsafe(f"router.onnx has an attribute of type {item.value}; graphs and types are not allowed")


def _check_tensor(data: bytes, tensor: Item) -> bytes:
    """Checks one tensor; returns its name."""
    dims: list[int] = []
    kind = held = 0
    name = b""
    for item in _message(data, tensor, "tensor", _TENSOR):
        if item.number == 1:
            dims += _numbers(data, item)
        elif item.number == 2:
            kind = item.value
        elif item.number == 8:
            name = data[item.start : item.end]
        elif item.number in _TENSOR_DATA:
            held += max(item.end - item.start, 1)
    if kind not in _TENSOR_TYPES:
        raise BundleUnsafe(f"router.onnx: the tensor {_shown(name)} has the element type {kind}, which is not allowed")
    if len(dims) > MAX_DIMENSIONS or math.prod(dims) > held or max(dims, default=0) >> 40:
        raise BundleUnsafe(f"router.onnx: the tensor {_shown(name)} claims the shape {dims[:5]} but holds {held} bytes")
    return name


def _numbers(data: bytes, item: Item) -> list[int]:
    """A repeated integer field, packed or not."""
    if item.wire == _VARINT:
        return [item.value]
    numbers: list[int] = []
    place = item.start
    while place < item.end and len(numbers) <= MAX_DIMENSIONS:
        value, place = _varint(data, place, item.end)
        numbers.append(value)
    return numbers


def _check_constant_nodes(found: _Constants) -> None:
    """Refuses nodes that only constants feed: onnxruntime would compute them while it loads, at any size.

    And ``ConstantOfShape`` of anything but the shape of a value that is there already.
    """
    shapes = {name for operator, _, outputs in found.nodes if operator == "Shape" for name in outputs}
    for operator, inputs, outputs in found.nodes:
        if all(name in found.names for name in inputs if name):
            raise BundleUnsafe(
                f"router.onnx: {operator or 'a node'} → {_shown(b', '.join(outputs))} is computed from constants alone"
            )
        if operator == "ConstantOfShape" and not shapes.issuperset(inputs):
            raise BundleUnsafe("router.onnx: ConstantOfShape of something that is not a Shape could have any size")


def _shown(raw: bytes) -> str:
    return repr(raw[:60].decode("utf-8", "replace"))

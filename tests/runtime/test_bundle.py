import hashlib
import itertools
import json
import os
import threading
from types import SimpleNamespace

import numpy as np
import onnx
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from router_runtime import bundle as bundles
from router_runtime.bundle import newest_that_opens, open_bundle
from router_runtime.bundle_writer import install_bundle, write_bundle
from router_runtime.errors import (
    BundleError,
    BundleFormatError,
    BundleTampered,
    BundleUnsafe,
    ConfigError,
    PredictionError,
)
from router_runtime.features import STRUCTURAL, extract
from router_runtime.messages import Request
from router_runtime.onnx_guard import ALLOWED_OPS, check_graph
from router_runtime.scorer import Scorer


def edit(folder, **changes):
    """Changes the manifest without its hashes."""
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def model(nodes, initializers=(), **kwargs):
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "g", [x], [y], initializer=list(initializers))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], **kwargs).SerializeToString()


def test_a_bundle_opens_and_knows_its_models(bundle):
    assert [m.name for m in bundle.manifest.models] == ["model-0", "model-1", "model-2"]
    assert len(bundle.version) == 12
    assert bundle.scorer.unknown == 3


def test_the_graph_of_the_exporter_uses_allowed_operators_only(bundle):
    used = {node.op_type for node in onnx.load_from_string(bundle.onnx).graph.node}
    assert used <= ALLOWED_OPS


@pytest.mark.parametrize("name", ["router.onnx", "MODEL_CARD.md"])
def test_a_changed_byte_is_tampering(bundle_copy, name):
    data = bytearray((bundle_copy / name).read_bytes())
    data[len(data) // 2] ^= 1
    (bundle_copy / name).write_bytes(data)
    with pytest.raises(BundleTampered, match=name):
        open_bundle(bundle_copy)


@pytest.mark.parametrize("name", ["router.onnx", "MODEL_CARD.md", "manifest.json"])
def test_truncated_missing_linked_and_oversized_files_are_refused(bundle_copy, name):
    path = bundle_copy / name
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BundleError):
        open_bundle(bundle_copy)
    path.unlink()
    with pytest.raises(BundleFormatError, match=f"{name} cannot be opened"):
        open_bundle(bundle_copy)
    outside = bundle_copy.parent / "outside"
    outside.write_bytes(whole)
    path.symlink_to(outside)
    with pytest.raises(BundleFormatError, match="links are not followed"):
        open_bundle(bundle_copy)
    path.unlink()
    with path.open("wb") as file:
        file.truncate(bundles.MAX_BYTES[name] + 1)
    with pytest.raises(BundleFormatError, match="at most"):
        open_bundle(bundle_copy)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(BundleFormatError, match="no regular file"):
        open_bundle(bundle_copy)


def test_a_hard_link_counts_by_its_bytes(bundle_copy):
    path = bundle_copy / "router.onnx"
    other = bundle_copy.parent / "other"
    other.write_bytes(b"something else")
    path.unlink()
    os.link(other, path)
    with pytest.raises(BundleTampered):
        open_bundle(bundle_copy)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format_version": 2}, "update pointsman"),
        ({"format_version": "1"}, "no number"),
        ({"features_version": 0}, "train a new bundle"),
        ({"models": []}, "at least one"),
        ({"models": [{"name": "a"}, {"name": "a"}]}, "different models"),
        ({"models": ["a"]}, "a mapping with a name"),
        ({"models": [{"name": "a", "labels": "many"}]}, "labels of a model is no number"),
        ({"models": [{"name": "a", "input_scale": 0}]}, "input_scale of a model is no number"),
        ({"probes": []}, "no probes"),
        ({"probes": [{"text": "x", "quality": [1], "output_tokens": [1]}]}, "1 qualities, expected 4"),
        ({"structural_medians": [1.0]}, "structural_medians"),
        ({"domains": ["one"]}, "disagree on the 1 domains"),
    ],
)
def test_a_wrong_manifest_is_named(bundle_copy, changes, message):
    edit(bundle_copy, **changes)
    with pytest.raises(BundleFormatError, match=message) as caught:
        open_bundle(bundle_copy)
    assert str(bundle_copy) in str(caught.value)


def test_probes_that_come_out_otherwise_are_tampering(bundle_copy):
    probes = json.loads((bundle_copy / "manifest.json").read_text())["probes"]
    probes[2]["quality"][1] = (probes[2]["quality"][1] + 0.3) % 1
    edit(bundle_copy, probes=probes)
    with pytest.raises(BundleTampered, match="probe 2"):
        open_bundle(bundle_copy)


big = numpy_helper.from_array(np.array([10**9], dtype=np.int64), "big")
loop_body = helper.make_graph([], "body", [], [])
outside = numpy_helper.from_array(np.zeros(4, np.float32), "w")
outside.data_location = TensorProto.EXTERNAL
outside.external_data.add(key="location", value="/etc/passwd")
claims = numpy_helper.from_array(np.zeros(4, np.float32), "w")
claims.dims[0] = 400_000_000
weights = numpy_helper.from_array(np.zeros(4), "w")
function = helper.make_function("d", "F", ["a"], ["b"], [], [helper.make_opsetid("", 15)])
ADD = helper.make_node("Add", ["x", "x"], ["y"])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (model([helper.make_node("Loop", ["x"], ["y"], body=loop_body)]), "'Loop'"),
        (model([helper.make_node("Add", ["x", "x"], ["y"], body=loop_body)]), "a subgraph"),
        (model([helper.make_node("If", ["x"], ["y"], then_branch=loop_body, else_branch=loop_body)]), "'If'"),
        (model([helper.make_node("Add", ["x", "x"], ["y"], domain="com.evil")]), "'com.evil'"),
        (model([helper.make_node("StringNormalizer", ["x"], ["y"])]), "StringNormalizer"),
        (model([ADD], [outside]), "external data"),
        (model([ADD], [claims]), "claims the shape"),
        (model([helper.make_node("ConstantOfShape", ["big"], ["y"])], [big]), "constants alone"),
        (model([helper.make_node("ConstantOfShape", ["x"], ["y"])]), "any size"),
        (model([helper.make_node("Add", ["w", "w"], ["y"])], [weights]), "constants alone"),
        (model([ADD], [numpy_helper.from_array(np.array(["a"], dtype=object), "w")]), "holds strings"),
        (model([ADD], functions=[function]), "functions"),
        (model([ADD] * 2001), "more than 2000 nodes"),
    ],
)  # fmt: skip
def test_unsafe_graphs_are_refused_before_a_session(data, message):
    with pytest.raises(BundleUnsafe, match=message):
        check_graph(data)


def router_graph(nodes, descriptor):
    """A graph with a router's inputs and outputs, whose answers all come of ``answer``."""
    inputs = {"ids": (TensorProto.INT64, [None]), "structural": (TensorProto.FLOAT, [len(STRUCTURAL)])}
    inputs |= {"models": (TensorProto.INT64, [None]), "descriptor": (TensorProto.FLOAT, descriptor)}
    outputs = ("quality", "output_tokens", "domain")
    graph = helper.make_graph(
        [*nodes, *(helper.make_node("Sigmoid", ["answer"], [name]) for name in outputs)],
        "g",
        [helper.make_tensor_value_info(name, *shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
    )
    opset = [helper.make_opsetid("", 15)]
    return helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()


@pytest.mark.parametrize("beginning", ["an input", "constants"])
def test_a_small_graph_cannot_take_gigabytes(bundle, beginning):
    names = ["structural" if beginning == "an input" else "zeros", *(f"twice{n}" for n in range(22))]
    zeros = [helper.make_node("Shape", ["structural"], ["s"]), helper.make_node("ConstantOfShape", ["s"], ["zeros"])]
    doubling = [helper.make_node("Concat", [one, one], [two], axis=0) for one, two in itertools.pairwise(names)]
    data = router_graph([*zeros, *doubling, helper.make_node("ReduceSum", [names[-1]], ["answer"])], [None, 3])
    check_graph(data)
    assert len(data) < 2_000
    scorer = Scorer(data, SimpleNamespace(models=("a", "b"), domains=("x", "y")))
    with pytest.raises(PredictionError):
        scorer.predict(extract(Request("hi")), np.zeros(1, np.int64), np.zeros((1, 3), np.float32))
    assert psutil.Process().memory_info().rss < 2 << 30
    assert bundles.probe_rows(bundle.onnx, bundle.manifest), "which leaves enough for the others"


def test_a_descriptor_of_another_shape_is_refused():
    data = router_graph([helper.make_node("Gather", ["structural", "models"], ["answer"])], [None])
    with pytest.raises(BundleFormatError, match="disagree on the 2 domains"):
        Scorer(data, SimpleNamespace(models=("a",), domains=("x", "y")))


def test_a_graph_that_gives_more_domains_than_there_are_is_refused():
    """It opened, and every request failed."""
    data = router_graph([helper.make_node("Gather", ["structural", "models"], ["answer"])], [None, 3])
    with pytest.raises(BundleFormatError, match=r"gives domain of the shape \(3,\), expected \(2,\)"):
        bundles.probe_rows(data, SimpleNamespace(models=("a", "b"), domains=("x", "y")))


@pytest.mark.parametrize("data", [b"", b"\x00", b"PK\x03\x04", b"\xff" * 40, b"\x3a\xff\xff\xff\xff\x7f", b"\x0b\x0c"])
def test_bytes_that_are_no_model_are_refused(data):
    with pytest.raises(BundleError):
        check_graph(data)


@settings(max_examples=400)
@given(st.binary(max_size=300))
def test_any_bytes_are_checked_or_refused(data):
    checked_or_refused(data)


@settings(max_examples=300)
@given(st.data())
def test_any_damage_to_a_small_model_is_checked_or_refused(data):
    good = model([ADD, helper.make_node("Cast", ["y"], ["z"], to=1)], [numpy_helper.from_array(np.zeros(4), "w")])
    place = data.draw(st.integers(0, len(good) - 1))
    checked_or_refused(good[:place] + data.draw(st.binary(max_size=6)) + good[place + data.draw(st.integers(0, 6)) :])


def checked_or_refused(data):
    refusal = None
    try:
        check_graph(data)
    except BundleError as error:
        refusal = str(error)
    assert refusal is None or refusal.startswith("router.onnx")


def test_the_newest_that_opens_serves(bundle_folder, bundle_copy, tmp_path):
    (bundle_copy / "router.onnx").write_bytes(b"spoilt")
    os.utime(bundle_copy / "manifest.json")
    found, refusals = newest_that_opens([bundle_folder, bundle_copy, tmp_path / "nowhere"])
    assert found.path == bundle_folder
    assert [type(error) for error in refusals] == [BundleTampered]
    with pytest.raises(BundleFormatError, match="no bundle opens"):
        newest_that_opens([tmp_path / "nowhere"])


def test_a_bundle_that_would_not_open_is_not_written(bundle, tmp_path):
    target = tmp_path / "new"
    with pytest.raises(BundleFormatError, match="disagree"):
        write_bundle(target, bundle.onnx, {"models": [{"name": "a"}], "domains": []}, "card")
    with pytest.raises(BundleFormatError, match="plain JSON"):
        write_bundle(target, bundle.onnx, {**bundle.manifest.raw, "metrics": {"x": float("nan")}}, "card")
    assert list(tmp_path.iterdir()) == []


def test_only_a_bundle_is_replaced(bundle, bundle_folder, tmp_path):
    (tmp_path / "models" / "other").mkdir(parents=True)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="holds other, which is no part of a bundle"):
        write_bundle(tmp_path / "models", bundle.onnx, bundle.manifest.raw, "card")
    with pytest.raises(ConfigError, match=r"notes\.txt is a file"):
        install_bundle(bundle_folder, tmp_path / "notes.txt")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["models", "notes.txt", "other"]
    empty = tmp_path / "empty"
    empty.mkdir()
    assert install_bundle(bundle_folder, empty).version == install_bundle(bundle_folder, empty).version


def test_writers_at_once_leave_one_whole_bundle(bundle, tmp_path):
    target = tmp_path / "shared"
    write_bundle(target, bundle.onnx, bundle.manifest.raw, "card 0")
    stop, seen = threading.Event(), set()

    def read():
        while not stop.is_set():
            seen.add(open_bundle(target).version)

    def write(number):
        for turn in range(5):
            write_bundle(target, bundle.onnx, bundle.manifest.raw, f"card {number} {turn}")

    reader = threading.Thread(target=read)
    writers = [threading.Thread(target=write, args=(number,)) for number in (1, 2, 3)]
    for thread in [reader, *writers]:
        thread.start()
    for thread in writers:
        thread.join()
    stop.set()
    reader.join()
    assert [path.name for path in tmp_path.iterdir()] == ["shared"]
    assert seen


def router_like(node):
    """A graph with a router's inputs and outputs that computes nothing of use."""
    inputs = {"ids": (TensorProto.INT64, [None]), "structural": (TensorProto.FLOAT, [len(STRUCTURAL)])}
    inputs |= {"models": (TensorProto.INT64, [None]), "descriptor": (TensorProto.FLOAT, [None, 3])}
    nodes = [helper.make_node("Gather", ["structural", "models"], ["picked"]), node]
    nodes += [helper.make_node("Sigmoid", ["answer"], [name]) for name in ("quality", "output_tokens", "domain")]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, *kind) for name, kind in inputs.items()],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in ("quality", "output_tokens", "domain")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8).SerializeToString()


def test_a_graph_that_fails_when_it_runs_is_refused(bundle_copy):
    graph = router_like(helper.make_node("MatMul", ["picked", "structural"], ["answer"]))
    (bundle_copy / "router.onnx").write_bytes(graph)
    card = hashlib.sha256((bundle_copy / "MODEL_CARD.md").read_bytes()).hexdigest()
    edit(bundle_copy, files={"router.onnx": hashlib.sha256(graph).hexdigest(), "MODEL_CARD.md": card})
    with pytest.raises(BundleFormatError, match="cannot compute probe 0"):
        open_bundle(bundle_copy)

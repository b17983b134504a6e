"""A tiny encoder as Hugging Face's exporters write one: token vectors of a few words, and their tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

WORDS = ("[PAD]", "[UNK]", "cat", "dog", "car")
TABLE = np.array([[9, 9, 9], [0, 0, 1], [1, 0, 0], [0.8, 0.6, 0], [0, 1, 0]], dtype=np.float32)


def write_encoder(folder: Path, table: Any = TABLE, words: Sequence[str] = WORDS) -> tuple[Path, Path]:
    """Writes a model whose token vectors are the rows of ``table``, and a tokenizer of ``words``.

    The first two words stand for padding, whose vector must never count, and for what is unknown.
    """
    tensor = numpy_helper.from_array(table, "table")
    gather = helper.make_node("Gather", ["table", "input_ids"], ["tokens"])
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["n", "t"]) for name in ("input_ids", "attention_mask")
    ]
    output = helper.make_tensor_value_info("tokens", TensorProto.FLOAT, ["n", "t", table.shape[1]])
    graph = helper.make_graph([gather], "tiny", inputs, [output], [tensor])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    paths = folder / "model.onnx", folder / "tokenizer.json"
    onnx.save(model, str(paths[0]))
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token=words[1]))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(paths[1]))
    return paths

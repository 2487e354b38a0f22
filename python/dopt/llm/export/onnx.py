"""ONNX with integer weights: one graph of the whole decoder, with a cache of keys and values.

Inputs ``input_ids`` int64 [batch, new], ``past.N.key`` and ``past.N.value`` float32 [batch, heads, past, size]; outputs
``logits`` and ``present.N.key``, ``present.N.value``. Positions go on behind the cache. With ``onnx-qdq`` the activations
that the artifact has grids of pass through QuantizeLinear and DequantizeLinear of signed integers. The decoder is that of
Llama (RMSNorm, rotary positions in halves, gated MLP), with biases and norms of heads where the model has them.
"""

import os
from typing import Any, Dict, List, Optional, Tuple

from dopt.errors import DoptError
from dopt.llm.artifact import Reader
from dopt.llm.export.folder import Kept
from dopt.llm.export.gguf import FAMILIES, rope_factors
from dopt.llm.export.onnx_builder import GraphBuilder
from dopt.llm.export.onnx_linear import add_linear, block_of

#: Added to scores of positions that must not be seen: finite, so that a grid can hold it.
MASKED = -1e4
#: Names of x · sigmoid(x).
_GATES = ("silu", "swish")
#: numpy types of QuantizeLinear's zero point by width.
_INTEGERS = {8: "int8", 16: "int16"}


def write(reader: Reader, out: str, options: Dict[str, Any], events: Any) -> Tuple[List[Kept], List[str]]:
    """Writes model.onnx and model.onnx.data into the folder ``out``. Raises DoptError EXPORT_ARCHITECTURE."""
    _refuse(reader)
    os.makedirs(out, exist_ok=True)
    decoder = _Decoder(reader, GraphBuilder(out), options["format"])
    decoder.build(events)
    kept = []
    if options["format"] == "onnx-matmulnbits":
        for entry in reader.index["linears"]:
            if entry["bits"] not in (4, 8) or block_of(reader.layer(entry["name"])) == 0:
                kept.append(Kept(entry["name"], "no block of 16 or more divides its groups"))
    return kept, decoder.notes()


def why_not(architecture: str, config: Dict[str, Any]) -> Optional[str]:
    """Why a model cannot be written; None when it can. ``config``: its config.json."""
    rope = config.get("rope_scaling") or config.get("rope_parameters") or {}
    kind = rope.get("rope_type", rope.get("type")) or "default"
    if architecture not in FAMILIES:
        return f"ONNX is written for {', '.join(FAMILIES)}, not for {architecture}."
    if config.get("hidden_act", "silu") not in _GATES:
        return f"ONNX: the activation function {config['hidden_act']} is not known."
    if kind not in ("default", "linear", "llama3"):
        return f"ONNX: rotary positions of type {kind} are not known."
    return None


def _refuse(reader: Reader) -> None:
    why = why_not(reader.index["architecture"], reader.config)
    if why is not None:
        raise DoptError(
            "EXPORT_ARCHITECTURE",
            why,
            place=reader.model_folder,
            suggestions=["Export the model with torch.onnx and take its weights from: dopt llm export --to original."],
        )


class _Decoder:
    def __init__(self, reader: Reader, graph: GraphBuilder, mode: str) -> None:
        config = reader.config
        self.reader, self.graph, self.mode, self.config = reader, graph, mode, config
        self.heads = int(config["num_attention_heads"])
        self.kv_heads = int(config.get("num_key_value_heads") or self.heads)
        self.size = int(config.get("head_dim") or config["hidden_size"] // self.heads)
        self.epsilon = float(config.get("rms_norm_eps", 1e-6))
        self.grids = {each["name"]: each for each in reader.activations} if mode == "onnx-qdq" else {}
        self.used: set = set()

    def build(self, events: Any) -> str:
        """Adds all nodes and writes the file."""
        from onnx import TensorProto

        graph, blocks = self.graph, int(self.config["num_hidden_layers"])
        hidden = self._embedding()
        cosine, sine, mask = self._positions()
        for block in range(blocks):
            events.progress(block, blocks, f"block {block}")
            hidden = self._block(block, hidden, cosine, sine, mask)
        hidden = self._norm("model.norm", hidden)
        self._linear("lm_head", hidden, "logits")
        ids = ("input_ids", TensorProto.INT64, ["batch", "new"])
        past, present = (
            [
                (f"{when}.{block}.{part}", TensorProto.FLOAT, ["batch", self.kv_heads, length, self.size])
                for block in range(blocks)
                for part in ("key", "value")
            ]
            for when, length in (("past", "past"), ("present", "all"))
        )
        logits = ("logits", TensorProto.FLOAT, ["batch", "new", int(self.config["vocab_size"])])
        return graph.save([ids, *past], [logits, *present])

    def notes(self) -> List[str]:
        """Activations that the graph has no edge for."""
        missing = sorted(set(self.grids) - self.used)
        if not missing:
            return []
        return [f"{len(missing)} grids of activations have no place in this graph: {', '.join(missing[:3])}"]

    def _embedding(self) -> str:
        import numpy as np

        graph, name = self.graph, "model.embed_tokens"
        if self.reader.has(f"{name}.weight"):
            table = graph.constant(f"{name}.weight", np.array(self.reader.float_tensor(f"{name}.weight")))
            hidden = graph.add("Gather", [table, "input_ids"])
        else:
            layer = self.reader.layer(name)
            table = graph.constant(f"{name}.weight", np.array(layer.integers))
            scales = graph.constant(f"{name}.scales", np.array(layer.scales))
            rows = graph.add("Cast", [graph.add("Gather", [table, "input_ids"])], to=1)
            hidden = graph.add("Mul", [rows, graph.add("Gather", [scales, "input_ids"])])
        return self._grid(f"{name}:output", hidden)

    def _positions(self) -> Tuple[str, str, str]:
        """Cosines and sines [new, size / 2], and what may be seen, bool [new, all]."""
        import numpy as np

        graph, config = self.graph, self.config
        rope = config.get("rope_scaling") or config.get("rope_parameters") or {}
        base = float(config.get("rope_theta") or rope.get("rope_theta") or 10000.0)
        frequencies = 1.0 / base ** (np.arange(0, self.size, 2, dtype=np.float64) / self.size)
        factors = rope_factors(config)
        if factors is not None:
            frequencies = frequencies / factors
        elif rope.get("rope_type", rope.get("type")) == "linear":
            frequencies = frequencies / float(rope["factor"])
        past = graph.add("Gather", [graph.add("Shape", ["past.0.key"]), graph.constant("axis.2", np.array(2, np.int64))])
        new = graph.add("Gather", [graph.add("Shape", ["input_ids"]), graph.constant("axis.1", np.array(1, np.int64))])
        everything = graph.add("Add", [past, new])
        zero, one = graph.constant("axis.0", np.array(0, np.int64)), graph.constant("axis.1", np.array(1, np.int64))
        queries = graph.add("Unsqueeze", [graph.add("Range", [past, everything, one]), graph.ints(1)])
        keys = graph.add("Unsqueeze", [graph.add("Range", [zero, everything, one]), graph.ints(0)])
        mask = graph.add("LessOrEqual", [keys, queries])
        window = config.get("sliding_window")
        if window and config.get("use_sliding_window", True):
            near = graph.add("Less", [graph.add("Sub", [queries, keys]), graph.constant("window", np.array(window, np.int64))])
            mask = graph.add("And", [mask, near])
        angles = graph.add("Mul", [graph.add("Cast", [queries], to=1), graph.constant("rope.frequencies", frequencies.astype(np.float32)[None])])
        return graph.add("Cos", [angles]), graph.add("Sin", [angles]), mask

    def _block(self, block: int, hidden: str, cosine: str, sine: str, mask: str) -> str:
        graph, prefix = self.graph, f"model.layers.{block}"
        attention = f"{prefix}.self_attn"
        x = self._norm(f"{prefix}.input_layernorm", hidden)
        query = self._heads(f"{attention}.q_proj", x, self.heads, f"{attention}.q_norm")
        key = self._heads(f"{attention}.k_proj", x, self.kv_heads, f"{attention}.k_norm")
        value = self._heads(f"{attention}.v_proj", x, self.kv_heads, None)
        inner = f"{prefix}.attention"
        query, key = (self._rotate(each, cosine, sine) for each in (query, key))
        query, key, value = (
            self._grid(f"{inner}:{part}", x) for part, x in (("query", query), ("key", key), ("value", value))
        )
        key = graph.add("Concat", [f"past.{block}.key", key], f"present.{block}.key", axis=2)
        value = graph.add("Concat", [f"past.{block}.value", value], f"present.{block}.value", axis=2)
        groups = self.heads // self.kv_heads
        query = graph.add("Reshape", [query, graph.ints(0, self.kv_heads, groups, -1, self.size)])
        key, value = (graph.add("Unsqueeze", [each, graph.ints(2)]) for each in (key, value))
        scores = graph.add("MatMul", [query, graph.add("Transpose", [key], perm=[0, 1, 2, 4, 3])])
        scores = self._grid(f"{inner}:scores", scores)
        scores = graph.add("Mul", [scores, graph.scalar(float(self.size**-0.5))])
        scores = graph.add("Where", [mask, scores, graph.scalar(MASKED)])
        shares = self._grid(f"{inner}:probabilities", graph.add("Softmax", [scores], axis=-1))
        mixed = self._grid(f"{inner}:context", graph.add("MatMul", [shares, value]))
        mixed = graph.add("Reshape", [mixed, graph.ints(0, self.heads, -1, self.size)])
        mixed = graph.add("Transpose", [mixed], perm=[0, 2, 1, 3])
        mixed = graph.add("Reshape", [mixed, graph.ints(0, 0, self.heads * self.size)])
        hidden = graph.add("Add", [hidden, self._linear(f"{attention}.o_proj", mixed)])
        x = self._norm(f"{prefix}.post_attention_layernorm", hidden)
        gate, up = (self._linear(f"{prefix}.mlp.{part}", x) for part in ("gate_proj", "up_proj"))
        sigmoid = self._grid(f"{prefix}.mlp.act_fn.sigmoid:output", graph.add("Sigmoid", [gate]))
        gate = self._grid(f"{prefix}.mlp.act_fn:output", graph.add("Mul", [gate, sigmoid]))
        down = self._linear(f"{prefix}.mlp.down_proj", graph.add("Mul", [gate, up]))
        return self._grid(f"{prefix}:output", graph.add("Add", [hidden, down]))

    def _heads(self, name: str, x: str, heads: int, norm: Optional[str]) -> str:
        """[batch, new, width] through a linear as [batch, heads, new, size]."""
        y = self.graph.add("Reshape", [self._linear(name, x), self.graph.ints(0, 0, heads, self.size)])
        if norm is not None and self.reader.has(f"{norm}.weight"):
            y = self._norm(norm, y)
        return self.graph.add("Transpose", [y], perm=[0, 2, 1, 3])

    def _rotate(self, x: str, cosine: str, sine: str) -> str:
        graph, half = self.graph, self.size // 2
        first = graph.add("Slice", [x, graph.ints(0), graph.ints(half), graph.ints(3)])
        second = graph.add("Slice", [x, graph.ints(half), graph.ints(self.size), graph.ints(3)])
        left = graph.add("Sub", [graph.add("Mul", [first, cosine]), graph.add("Mul", [second, sine])])
        right = graph.add("Add", [graph.add("Mul", [second, cosine]), graph.add("Mul", [first, sine])])
        return graph.add("Concat", [left, right], axis=3)

    def _norm(self, name: str, x: str) -> str:
        import numpy as np

        graph, x = self.graph, self._grid(f"{name}:input", x)
        power = graph.add("ReduceMean", [graph.add("Mul", [x, x]), graph.ints(-1)], keepdims=1)
        root = graph.add("Sqrt", [graph.add("Add", [power, graph.scalar(self.epsilon)])])
        weight = graph.constant(f"{name}.weight", np.array(self.reader.float_tensor(f"{name}.weight")))
        return self._grid(f"{name}:output", graph.add("Mul", [graph.add("Div", [x, root]), weight]))

    def _linear(self, name: str, x: str, output: Optional[str] = None) -> str:
        x = self._grid(f"{name}:input", x)
        if f"{name}:output" not in self.grids:
            return add_linear(self.graph, self.reader, name, x, self.mode, output)
        return self._grid(f"{name}:output", add_linear(self.graph, self.reader, name, x, self.mode), output)

    def _grid(self, name: str, x: str, output: Optional[str] = None) -> str:
        """``x`` rounded to the grid that the artifact has for an activation, or ``x``; ``output`` names what is rounded."""
        import numpy as np

        grid = self.grids.get(name)
        if grid is None or grid["bits"] not in _INTEGERS:
            return x
        self.used.add(name)
        scale = self.graph.constant(f"{name}.scale", np.array(grid["scale"], np.float32))
        zero = self.graph.constant(f"{name}.zero_point", np.array(grid["zeroPoint"], _INTEGERS[grid["bits"]]))
        integers = self.graph.add("QuantizeLinear", [x, scale, zero])
        return self.graph.add("DequantizeLinear", [integers, scale, zero], output)

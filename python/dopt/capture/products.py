"""Matrix products in other words, as MatMul: Einsum, and Reshape, MatMul, Reshape around the rows of a sequence.

Keras writes attention by Einsum and a Dense layer on a sequence by two Reshapes with computed shapes (Tensordot). Planner
and devices know MatMul, and its bias has to lie right behind it. Everything here computes the same numbers.
"""

from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence

from dopt.capture.fold import simplify
from dopt.capture.network import INT64, Network, TensorType, Weight, attribute, reads, unique_name
from dopt.capture.symbolic import evaluate

Types = Mapping[str, TensorType]


def rewrite_products(network: Network, types: Dict[str, TensorType]) -> Dict[str, TensorType]:
    """Rewrites products in place and says so in the network's notes; returns the types as they are then."""
    einsums = _einsums(network, types)
    if einsums:
        # Inference knows the ranks of Einsum only: behind a product, more shapes are known.
        types = simplify(network)
        network.notes.append(f"{einsums} Einsum operators are matrix products now.")
    biases = _biases_before_reshapes(network)
    sequences = _products_on_sequences(network, types)
    if sequences:
        network.notes.append(f"{sequences} products between two Reshape operators take the sequence as it is now.")
    return simplify(network) if biases or sequences else types


def _einsums(network: Network, types: Types) -> int:
    taken = network.tensor_names()
    nodes: List[Any] = []
    count = 0
    for node in network.nodes:
        made = _einsum(network, node, types, taken) if node.op_type == "Einsum" and not node.domain else None
        count += made is not None
        nodes.extend(made or [node])
    if count:
        network.replace_nodes(nodes)
    return count


class _Terms(NamedTuple):
    """An equation ``left,right->out`` by the roles of its indices, each in the order that the result has (``summed``: left's)."""

    left: str
    right: str
    out: str
    batch: str
    rows: str
    columns: str
    summed: str


def _terms(equation: str) -> Optional[_Terms]:
    """Reads an equation of two operands; None for what is no product of matrices (diagonals, sums of one operand, ``...``)."""
    operands, arrow, out = equation.replace(" ", "").partition("->")
    left, comma, right = operands.partition(",")
    if not comma or "," in right or "." in equation:
        return None
    if not arrow:
        out = "".join(sorted(each for each in set(left + right) if (left + right).count(each) == 1))
    if any(len(set(each)) != len(each) for each in (left, right, out)) or set(out) - set(left + right):
        return None
    if {each for each in left + right if each not in out} != set(left) & set(right) - set(out):
        return None
    return _Terms(
        left,
        right,
        out,
        "".join(each for each in out if each in left and each in right),
        "".join(each for each in out if each not in right),
        "".join(each for each in out if each not in left),
        "".join(each for each in left if each not in out),
    )


def _einsum(network: Network, node: Any, types: Types, taken: Any) -> Optional[List[Any]]:
    """Nodes that compute an Einsum by MatMul; None where that takes more than moving axes."""
    equation = attribute(node, "equation")
    if equation is None or len(node.input) != 2:
        return None
    left, right = node.input
    text = equation.s.decode()
    terms = _terms(text)
    if terms is None or not terms.summed:
        return None
    if left in network.weights and right not in network.weights:
        left, right = right, left
        terms = _swapped(terms)
    if right in network.weights:
        return _by_weight(network, node, terms, left, right, types, taken)
    if terms.rows and terms.columns and terms.out.index(terms.columns[0]) < terms.out.index(terms.rows[0]):
        left, right = right, left
        terms = _swapped(terms)
    if len(terms.rows) != 1 or len(terms.columns) != 1 or len(terms.summed) != 1:
        return None
    build = _Builder(network, node, taken)
    first = build.transpose(left, terms.left, terms.batch + terms.rows + terms.summed)
    second = build.transpose(right, terms.right, terms.batch + terms.summed + terms.columns)
    product = build.op("MatMul", first, second)
    build.transpose(product, terms.batch + terms.rows + terms.columns, terms.out)
    return build.done()


def _swapped(terms: _Terms) -> _Terms:
    return terms._replace(left=terms.right, right=terms.left, rows=terms.columns, columns=terms.rows)


def _by_weight(
    network: Network, node: Any, terms: _Terms, left: str, right: str, types: Types, taken: Any
) -> Optional[List[Any]]:
    """A product with a constant: its summed axes as rows of a matrix, its others as columns."""
    import numpy as np

    weight, known = network.weights[right], types.get(left)
    summed = "".join(each for each in terms.left if each in terms.summed)
    if terms.batch or not terms.rows or not terms.columns or known is None or known.shape is None:
        return None
    sizes = dict(zip(terms.right, weight.array.shape))
    moved = weight.array.transpose([terms.right.index(each) for each in summed + terms.columns])
    rows = _product([sizes[each] for each in summed])
    columns = [sizes[each] for each in terms.columns]
    build = _Builder(network, node, taken)
    # The weight keeps its name where nobody else reads it.
    alone = sum(list(each.input).count(right) for each in network.nodes) == 1
    matrix = right if alone else unique_name(right, taken)
    network.weights[matrix] = Weight(weight.type, np.ascontiguousarray(moved.reshape(rows, -1)))
    data = build.transpose(left, terms.left, terms.rows + summed)
    if len(summed) > 1:
        data = build.reshape(data, [0] * len(terms.rows) + [rows])
    product = build.op("MatMul", data, matrix)
    if len(columns) > 1:
        product = build.reshape(product, [0] * len(terms.rows) + columns)
    build.transpose(product, terms.rows + terms.columns, terms.out)
    return build.done()


class _Builder:
    """Nodes in the place of one: MatMul takes its name, the last one its output."""

    def __init__(self, network: Network, node: Any, taken: Any) -> None:
        self.network, self.node, self.taken = network, node, taken
        self.names = {each.name for each in network.nodes}
        self.made: List[Any] = []

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        from onnx import helper

        name = self.node.name if kind == "MatMul" else unique_name(f"{self.node.name}/{kind}", self.names)
        output = unique_name(f"{name}/result", self.taken)
        self.made.append(helper.make_node(kind, list(inputs), [output], name=name, **attributes))
        return output

    def transpose(self, tensor: str, before: str, after: str) -> str:
        """The tensor with its axes in another order; itself where that is the one it has."""
        return tensor if before == after else self.op("Transpose", tensor, perm=[before.index(each) for each in after])

    def reshape(self, tensor: str, target: Sequence[int]) -> str:
        import numpy as np

        name = unique_name(f"{self.node.name}/shape", self.taken)
        self.network.weights[name] = Weight(INT64, np.array(target, np.int64))
        return self.op("Reshape", tensor, name)

    def done(self) -> List[Any]:
        self.made[-1].output[0] = self.node.output[0]
        return self.made


def _biases_before_reshapes(network: Network) -> int:
    """Adds of one value for each column behind a Reshape that takes the columns apart, before it: there a bias belongs."""
    import numpy as np

    producers = {name: node for node in network.nodes for name in node.output}
    readers = _readers(network)
    taken = network.tensor_names()
    count = 0
    for add in network.nodes:
        constants = [name for name in add.input if name in network.weights]
        data = [name for name in add.input if name not in network.weights]
        if add.op_type != "Add" or add.domain or len(constants) != 1 or len(data) != 1:
            continue
        reshape = producers.get(data[0])
        product = producers.get(reshape.input[0]) if reshape is not None and reshape.op_type == "Reshape" else None
        target = network.weights.get(reshape.input[1]) if product is not None else None
        if target is None or product.op_type != "MatMul" or product.input[1] not in network.weights:
            continue
        if readers.get(data[0]) != [add.name] or readers.get(reshape.input[0]) != [reshape.name]:
            continue
        sizes = [int(each) for each in target.array]
        kept = len([each for each in sizes if each == 0])
        columns, bias = sizes[kept:], network.weights[constants[0]].array
        matrix = network.weights[product.input[1]].array
        if any(sizes[:kept]) or matrix.ndim != 2 or _product(columns) != matrix.shape[1] or list(bias.shape) != columns:
            continue
        vector = unique_name(constants[0], taken)
        network.weights[vector] = Weight(network.weights[constants[0]].type, np.ascontiguousarray(bias.reshape(-1)))
        inner, output = unique_name(f"{add.name}/result", taken), add.output[0]
        # The two change places in the graph's order as well: Add becomes the Reshape, and the other way round.
        new_add, new_reshape = type(add)(), type(reshape)()
        new_add.CopyFrom(add)
        new_reshape.CopyFrom(reshape)
        new_add.input[:] = [reshape.input[0], vector]
        new_add.output[0] = inner
        new_reshape.input[0] = inner
        new_reshape.output[0] = output
        reshape.CopyFrom(new_add)
        add.CopyFrom(new_reshape)
        count += 1
    return count


def _products_on_sequences(network: Network, types: Types) -> int:
    """``Reshape(x, [-1, C]), MatMul, Reshape`` back to x's own sizes: MatMul of x itself."""
    producers = {name: node for node in network.nodes for name in node.output}
    readers = _readers(network)
    values = evaluate(network, types)
    removed = set()
    for product in network.nodes:
        weight = network.weights.get(product.input[1]) if product.op_type == "MatMul" and not product.domain else None
        flatten = producers.get(product.input[0]) if weight is not None and weight.array.ndim == 2 else None
        known = types.get(flatten.input[0]) if flatten is not None and flatten.op_type == "Reshape" else None
        after = readers.get(product.output[0], [])
        restore = next((node for node in network.nodes if [node.name] == after and node.op_type == "Reshape"), None)
        if known is None or known.shape is None or len(known.shape) < 3 or restore is None:
            continue
        rows, columns = weight.array.shape
        flat = types.get(flatten.output[0])
        if known.shape[-1] != rows or flat is None or flat.shape is None or len(flat.shape) != 2 or flat.shape[1] != rows:
            continue
        target = network.weights.get(restore.input[1])
        sizes = list(values.get(restore.input[1], [])) if target is None else [int(each) for each in target.array]
        if not _restores(sizes, [*known.shape[:-1], columns]):
            continue
        product.input[0] = flatten.input[0]
        product.output[0] = restore.output[0]
        removed.add(restore.name)
    if removed:
        network.replace_nodes([node for node in network.nodes if node.name not in removed])
    return len(removed)


def _restores(target: Sequence[Any], wanted: Sequence[Any]) -> bool:
    """Whether a Reshape's target says the wanted sizes; one of them may be -1, and symbols must be the same."""
    if len(target) != len(wanted) or len([each for each in target if each == -1]) > 1:
        return False
    return all(a == -1 or (a is not None and a == b) for a, b in zip(target, wanted))


def _readers(network: Network) -> Dict[str, List[str]]:
    """Names of the nodes that read each tensor; graph outputs have one more reader, called ``""``."""
    found: Dict[str, List[str]] = {name: [""] for name in network.output_names()}
    for node in network.nodes:
        for name in reads(node):
            found.setdefault(name, []).append(node.name)
    return found


def _product(sizes: Sequence[int]) -> int:
    count = 1
    for size in sizes:
        count *= size
    return count

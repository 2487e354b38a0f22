"""The PyTorch door: a .py with weights, or TorchScript, as ONNX; and back as weights on the integer grid."""

from typing import Any, Dict, Iterator, List, Optional, Tuple

from dopt.errors import DoptError, in_a_line

_FROZEN = (
    "An `if` or a loop over values of tensors is exported as the one way that was taken: write it with torch.where, or "
    "take it out of forward()."
)


def import_framework() -> None:
    """Imports what every use of this door needs."""
    import onnx  # noqa: F401
    import onnxruntime  # noqa: F401
    import torch  # noqa: F401


def convert(params: Dict[str, Any], events: Any) -> Dict[str, Any]:
    """Method ``convert``: exports the network and compares it on inputs other than the traced one.

    Raises DoptError: those of ``open_network`` and ``input_specs``, MODEL_RUN_FAILED, MODEL_EXPORT, PARITY_FAILED.
    """
    import onnx
    import torch

    from dopt.doors.common.files import source_of
    from dopt.doors.torch.border import chosen_outputs, input_specs
    from dopt.doors.torch.network import open_network
    from dopt.doors.torch.owners import computed_weights
    from dopt.doors.torch.runner import Runner, with_dtypes

    model, weights = params["model"], params["weights"]
    events.progress(0, 3, "reading the network")
    opened = open_network(params)
    specs, given = with_dtypes(opened.network, input_specs(opened.network, model, params["inputShapes"]), model)
    names = [spec.name for spec in specs]
    outputs = chosen_outputs(model, list(given), params["outputs"])
    events.progress(1, 3, "exporting")
    runner = Runner(opened.network, names, outputs)
    notes = list(opened.notes)
    path, parity = _export(opened, specs, outputs, params, runner, notes)
    events.progress(3, 3, "converted")
    return {
        "model": path,
        "inputs": [{"name": name, "frameworkName": name} for name in names],
        "outputs": [{"name": name, "frameworkName": name} for name in outputs],
        "frontEnd": None,
        "notes": notes,
        "computedWeights": computed_weights(path, opened.network.state_dict()),
        "parity": parity,
        "versions": {"torch": torch.__version__, "onnx": onnx.__version__},
        "source": source_of(model, *([weights] if weights else [])),
    }


def check_parity(params: Dict[str, Any], events: Any) -> Dict[str, Any]:
    """Method ``checkParity``. Raises as ``convert`` and ``open_source``."""
    from dopt.data.source import open_source

    runner = _runner(params)
    samples = (sample.feeds for sample in open_source(params["source"]))
    return _compare(params, runner, params["onnx"], samples)


def compute_features(params: Dict[str, Any], events: Any) -> Dict[str, Any]:
    """PyTorch networks have no part outside ONNX."""
    raise DoptError("METHOD_UNKNOWN", "PyTorch models have no front end.", kind="bug", place=params["model"])


def run_framework(params: Dict[str, Any], events: Any) -> Dict[str, Any]:
    """Method ``runFramework``: with the quantizers of a file that dopt wrote, where the weights are such a file."""
    import torch

    from dopt.doors.common.runs import run_over

    return run_over(params, events, f"torch {torch.__version__} CPU", _runner(params))


def write_back(params: Dict[str, Any], events: Any) -> Dict[str, Any]:
    """Method ``writeBack``: see write_back.py."""
    from dopt.doors.torch.write_back import write_back as write

    return write(params, events)


def _runner(params: Dict[str, Any]) -> Any:
    from dopt.doors.torch.network import open_network
    from dopt.doors.torch.quantized import attach_quantizers
    from dopt.doors.torch.runner import Runner

    opened = open_network(params)
    if opened.quantization is not None:
        attach_quantizers(opened.network, opened.quantization, params["weights"])
    borders = params["borders"]
    inputs = [each["frameworkName"] for each in borders["inputs"]]
    return Runner(opened.network, inputs, [each["frameworkName"] for each in borders["outputs"]])


def _export(
    opened: Any, specs: Any, outputs: List[str], params: Dict[str, Any], runner: Any, notes: List[str]
) -> Tuple[str, Dict[str, Any]]:
    """Path and parity of the ONNX form: with an open batch when that computes what the network does; else with the given
    sizes. Every run of a large network counts here: one over each sample."""
    from dopt.doors.torch.export import export

    arguments = (opened.network, specs, outputs, params["model"], params["out"])
    try:
        path = export(*arguments, open_batch=True)
        return path, _compare(params, runner, path, _samples(specs, params["seed"], open_batch=True))
    except Exception as error:  # noqa: BLE001 - the same with a fixed batch tells what is really wrong.
        notes.append(f"The batch is fixed at {specs[0].shape[0]}: with an open one, {in_a_line(error, 200)}")
    path = export(*arguments, open_batch=False)
    return path, _compare(params, runner, path, _samples(specs, params["seed"], open_batch=False))


def _samples(specs: Any, seed: int, open_batch: bool) -> Iterator[Dict[str, Any]]:
    """Inputs other than the traced one: other seeds, sizes of values and batches, so that frozen branches show."""
    from dopt.doors.torch.runner import random_feeds

    for place, scale in enumerate((3.0, 1.0, 0.1, 0.0)):
        yield random_feeds(specs, 100 + 10 * seed + place, 2 if open_batch and place == 0 else None, scale)


def _compare(params: Dict[str, Any], runner: Any, onnx_path: str, samples: Any) -> Dict[str, Any]:
    import onnxruntime
    import torch

    from dopt.doors.common.parity import Converted, compare_outputs

    session = Converted(onnx_path, params["model"])

    def onnx(feeds: Dict[str, Any]) -> Dict[str, Any]:
        return dict(zip(runner.outputs, session.run(runner.outputs, feeds)))

    executor = f"torch {torch.__version__} against onnxruntime {onnxruntime.__version__}, optimizations off"
    return compare_outputs(
        params["model"],
        executor,
        runner,
        onnx,
        samples,
        lambda feeds: _first_difference(runner, onnx_path, feeds),
        [_FROZEN, "Report the network when it has no such branch."],
    )


def _first_difference(runner: Any, onnx_path: str, feeds: Dict[str, Any]) -> Optional[str]:
    """The first module with weights, in the order of computation, whose result is another one in the ONNX form."""
    import onnx

    from dopt.capture.parity import compare
    from dopt.capture.runner import Session
    from dopt.doors.common.parity import TOLERANCE

    model = onnx.load(onnx_path)
    owners = {}
    for node in model.graph.node:
        for name in node.input:
            if name.endswith(".weight"):
                owners.setdefault(name[: -len(".weight")], node.output[0])
    try:
        expected = runner.modules(feeds)
        common = [name for name in owners if name in expected]
        del model.graph.output[:]
        model.graph.output.extend(onnx.ValueInfoProto(name=owners[name]) for name in common)
        found = Session(model.SerializeToString()).run([owners[name] for name in common], feeds)
    except Exception:  # noqa: BLE001 - this only refines a message.
        return None
    return next((name for name, value in zip(common, found) if compare(expected[name], value).exceeds(TOLERANCE)), None)

"""How sessions of onnxruntime are opened."""

from typing import Any, List, Optional


def session_options(threads: int) -> Any:
    """Options of every session that observes: all optimizations, ``threads`` threads that sleep between runs.

    Threads that went on spinning would hold the cores that the observers and the readers need.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return options


def providers_for(gpu: Optional[int]) -> List[Any]:
    """onnxruntime's execution providers: the processor, or a GPU and the processor for what that does not know."""
    if gpu is None:
        return ["CPUExecutionProvider"]
    return [("CUDAExecutionProvider", {"device_id": gpu, "use_tf32": 0}), "CPUExecutionProvider"]

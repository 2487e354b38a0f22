"""What ``dopt plugin check`` sees of TensorFlow: models and graphs that are quantized, and runs of them."""

import contextlib
from typing import Any, Callable, Iterator

from dopt.plugin.probe import Description, Enough, described, replace_function


@contextlib.contextmanager
def watch(found: Callable[[Description], None], called: Callable[[], None]) -> Iterator[None]:
    """See dopt/plugin/probe.py."""
    from dopt.doors.tensorflow.load import quiet_tensorflow

    quiet_tensorflow()
    import dopt.dopt_tf.opt_main  # noqa: F401 - it holds a name of the function, too.
    from dopt.tf import api
    from dopt.tf.build import build
    from dopt.tf.session.build import build as build_session

    def watched_build(*args: Any, **kwargs: Any) -> Any:
        network = build(*args, **kwargs)
        found(lambda: described(network.name, api.layers(network)))
        return network

    def watched_session(*args: Any, **kwargs: Any) -> Any:
        plan = build_session(*args, **kwargs)
        found(lambda: described("graph", plan.layers()))
        return plan

    replace_function(build, watched_build)
    replace_function(build_session, watched_session)
    try:
        with _watched_models(called), _watched_sessions(called):
            yield
    finally:
        replace_function(watched_build, build)
        replace_function(watched_session, build_session)


@contextlib.contextmanager
def _watched_models(called: Callable[[], None]) -> Iterator[None]:
    import tensorflow as tf

    from dopt.tf.network import QuantizedModel

    call = QuantizedModel.call

    def count() -> None:
        try:
            called()
        except Enough as enough:
            # What leaves a compiled function must be an ordinary error.
            raise RuntimeError("enough steps") from enough

    def watched(model: Any, *args: Any, **kwargs: Any) -> Any:
        result = call(model, *args, **kwargs)
        if model.dopt_plan.mode == "export":
            return result
        if tf.executing_eagerly():
            called()
        else:
            tf.numpy_function(count, [], [])
        return result

    QuantizedModel.call = watched
    try:
        yield
    finally:
        QuantizedModel.call = call


@contextlib.contextmanager
def _watched_sessions(called: Callable[[], None]) -> Iterator[None]:
    import tensorflow as tf

    run = tf.compat.v1.Session.run

    def watched(sess: Any, fetches: Any, feed_dict: Any = None, *args: Any, **kwargs: Any) -> Any:
        result = run(sess, fetches, feed_dict, *args, **kwargs)
        # Runs of ours feed nothing.
        if feed_dict and getattr(sess.graph, "_dopt_plan", None) is not None:
            called()
        return result

    tf.compat.v1.Session.run = watched
    try:
        yield
    finally:
        tf.compat.v1.Session.run = run

"""``torch.distributed.run``, which PyTorch 1.13 cannot start under Python 3.11 by itself: ``python -m dopt.nas.torch_launch …``."""

from typing import Any


def mend_streams() -> None:
    """Lets "0" mean again that no stream of a worker goes elsewhere: PyTorch looks for it among the members of a flag, where Python
    3.11 has no longer the one that is zero."""
    from torch.distributed.elastic.multiprocessing import Std

    read = Std.from_str
    if read("0") is None:

        def from_str(text: str) -> Any:
            found = read(text)
            return Std.NONE if found is None else found

        Std.from_str = from_str


if __name__ == "__main__":
    mend_streams()
    from torch.distributed.run import main

    main()

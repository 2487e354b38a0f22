"""Hands the command line of a dopt_so.py on to ``dopt compat notrain``."""

import os
import shutil
import sys
from typing import List, Optional

_EXIT_USAGE = 2
_EXIT_ENVIRONMENT = 4


def forward(arguments: List[str]) -> int:
    """Runs ``dopt compat notrain`` with the same arguments, in place of this process: its exit code is the answer.

    The command is the one of this checkout or package, else ``dopt`` on PATH. Returns only when it cannot be started
    (4), or for an option of the original that another command serves (2).
    """
    if arguments[:1] == ["-c"]:
        return _fail("dopt_so.py -c searches network structures; quantization takes -m 0 and --cal_conf.", _EXIT_USAGE)
    command = _command()
    if command is None:
        return _fail(
            "dopt_so.py needs Node.js 20 or newer (node on PATH) with dopt beside this folder, or dopt on PATH.",
            _EXIT_ENVIRONMENT,
        )
    command += ["compat", "notrain"] + arguments
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        os.execv(command[0], command)
    except OSError as error:
        return _fail(f"Cannot start {command[0]}: {error.strerror}.", _EXIT_ENVIRONMENT)


def _command() -> Optional[List[str]]:
    # realpath: the scripts may be linked into the folder where the original lay.
    root = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
    entry = os.path.join(root, "bin", "run.js")
    node = shutil.which("node")
    if node and os.path.isfile(entry):
        return [node, entry]
    dopt = shutil.which("dopt")
    return [dopt] if dopt else None


def _fail(message: str, code: int) -> int:
    sys.stderr.write(f"Error: {message}\n")
    return code

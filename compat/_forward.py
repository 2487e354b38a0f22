"""Hands the command line of a script of the original on to ``dopt compat``."""

import os
import shutil
import sys
from typing import List, Optional

_EXIT_ENVIRONMENT = 4


def forward(arguments: List[str], command: str = "notrain") -> int:
    """Runs ``dopt compat COMMAND`` with the same arguments, in place of this process: its exit code is the answer.

    The command is the one of this checkout or package, else ``dopt`` on PATH. Returns only when it cannot be started
    (4).
    """
    program = _program()
    if program is None:
        return _fail(
            "This script needs Node.js 20 or newer (node on PATH) with dopt beside this folder, or dopt on PATH.",
            _EXIT_ENVIRONMENT,
        )
    # With a scenario the original searches network structures.
    program += ["search"] if command == "notrain" and arguments[:1] == ["-c"] else ["compat", command]
    program += arguments
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        os.execv(program[0], program)
    except OSError as error:
        return _fail(f"Cannot start {program[0]}: {error.strerror}.", _EXIT_ENVIRONMENT)


def _program() -> Optional[List[str]]:
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

"""Language models with the command line of the original tool; see ``dopt compat llm --help``."""

import os
import sys

if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
    from _forward import forward

    sys.exit(forward(sys.argv[1:], "llm"))

"""Runs a program of this package that is more than one module, wherever the package lies:

python3 -I -S program.py MODULE ARGUMENT...
"""

from __future__ import annotations

import importlib
import os
import sys

if __name__ == "__main__":
    package = os.path.dirname(os.path.realpath(__file__))
    # At the end: what is beside the package has names that the standard library has as well.
    sys.path.append(os.path.dirname(package))
    found = importlib.import_module(f"{os.path.basename(package)}.{sys.argv[1]}")
    sys.exit(found.main(*sys.argv[2:]))

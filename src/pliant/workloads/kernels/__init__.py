"""The built-in MPI programs: stand-alone scripts that need Python's standard library and mpi4py, nothing of pliant.

They run inside nodes that may have a fifth of a core, so they import little. They take the command lines of IOR and
mdtest, and their output is read by the same parsers as that of the real programs.
"""

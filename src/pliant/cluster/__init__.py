"""A cluster that runs: a composition deployed on nodes, mounted, worked on, broken and removed.

Begin with `cluster`. `steps` carries out a composition's steps, `mpi` finds what starts ranks, `logs` what daemons say;
`injection` carries out faults, `survival` and `proof` show that data, or nothing, is left.
It sees its hosts through `platforms.interface` only, and does not know what a study is.
"""

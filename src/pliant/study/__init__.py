"""The study file: read, checked as a whole, and as frozen models. Pure: it touches nothing but that file.

Begin with `model` (`Study`, what follows from a file) and `reading` (`load`, how it is checked); `tables` has each
table and key, `registry` finds drivers, `catalogue` the figures of real clusters, `problems` the words for mistakes.
It may import what compositions and workloads are, and knows nothing of hosts, of trials, or of what comes of them.
"""

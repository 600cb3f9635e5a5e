"""Runs for notebooks and scripts: what was measured and concluded, as plain columns, numbers and figures.

Begin with `run`; `pliant.open_run` is the way in. A face, as `cli` and `driver`: it may import what judges and reports,
and nothing imports it. Tables are dictionaries of lists, which pandas, polars and pyarrow take as they are.
"""

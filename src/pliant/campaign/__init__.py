"""A study carried out: prepared, deployed, measured trial by trial, interrupted, and resumed.

Begin with `engine`; `preparation` is what must be known before, `measuring` one trial, `determinants` what makes two
trials the same, `kept_trials` where they go, `rundir` who works in a directory, `workplace` a cluster left up.
It may import everything but faces (`cli`, `driver`, `report`, `export`), and reaches hosts through `platforms` only.
"""

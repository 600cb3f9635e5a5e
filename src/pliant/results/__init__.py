"""What was measured, kept: the database of a run, the store of trials that runs share, archives, tables.

Begin with `store` and `run_info`; `artefacts` keeps trials by the digest of what determines them, `verifying` shows
that they are as they were written, `archive` makes one file of a run.
It may import the words of the root and what a metric is; it knows no statistics, and no machine.
"""

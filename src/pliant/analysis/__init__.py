"""What a run says, from its store: verdicts with what explains them, as numbers and sentences. Pure.

Begin with `conclusions` (`analyse`); `limits`, `disturbances`, `faults` and `provenance` are its parts, `words` how
numbers are written.
It may import results, statistics and telemetry, and knows nothing of how it will be shown.
"""

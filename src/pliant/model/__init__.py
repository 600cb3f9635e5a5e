"""Models of what folding does, calibrated on what was measured: from curves that are known to curves that are not.

Pure: numbers in, numbers out. May import the root's vocabulary alone; must not know where numbers come from,
nor how they are shown. A prediction is never evidence: no verdict rests on one. Begin with `calibration`, and with
`transfer` for the experiment of 2023.
"""

"""What the emulation promises and costs, measured: `python -m benchmarks.bench` runs all of it, `make bench` too."""

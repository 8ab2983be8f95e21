"""Benchmarks: ``python -m benchmarks.tape`` from the root of the repository."""

"""Programs that learn something real: ``python -m tapegrad.examples.NAME``.

They need more than NumPy: ``pip install "tapegrad[examples]"``.
"""

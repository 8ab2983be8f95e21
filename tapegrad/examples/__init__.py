"""Programs that learn something real: ``python -m tapegrad.examples.NAME``.

digits: a network learns to read; heat: what a plate consists of, from how it warms up; gp: a Gaussian process
learns its hyperparameters; orbit: thrust from Earth to Mars; logistic: Newton's method without the Hessian.
They need more than NumPy: ``pip install "tapegrad[examples]"``.
"""

"""Mixed Nash equilibria of GANs (Hsieh, Liu & Cevher, ICML 2019) in TensorFlow.

Start at `tf_mixed_nash.algorithms`.
"""

__version__ = "0.1.0"

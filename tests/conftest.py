"""Set before TensorFlow is imported: no advice about the CPU on every run."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

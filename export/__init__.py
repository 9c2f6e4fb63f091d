"""Publishing a trained strategy, and drawing from what was published.

`publish` (files and versions) and `runtime` (a version behind TensorFlow's C++ session) know
nothing of this project's models; only `strategy` does, on the writing side, and its command,
`saved_model`.
"""

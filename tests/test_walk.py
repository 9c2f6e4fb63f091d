"""What the walk of a stranger counts as said; the walk itself is `make walk`."""

from tests import walk


def test_lines_of_tensorflow_and_the_bar_are_not_ours():
    stderr = (
        "WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\n"
        "I0000 00:00:17957.5  13 port.cc:153] oneDNN custom operations are on.\n"
        "To enable the following instructions: AVX2, rebuild TensorFlow\n"
        "sgd:  0%| | 0/5 [00:00<?, ?batch/s]I0000 00:00:17 1 service.cc:1] XLA service\n"
        "sgd:  0%| | 0/5 [00:00<?, ?batch/s]\rsgd: 100%|##| 5/5 [00:23<00:00, 2.03batch/s]\n"
    )
    assert walk.unexpected(stderr) == ""
    assert walk.unexpected(stderr + "note: x\nerror: y\n") == "note: x\nerror: y"


def test_the_ten_lines_are_the_readme_s_but_for_their_length():
    code = walk.ten_lines(7)
    assert "num_batches=7," in code
    compile(code, "README.md", "exec")

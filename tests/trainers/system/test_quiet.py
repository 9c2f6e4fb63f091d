"""TensorFlow's import by the commands: without what nobody here uses, and nothing is broken."""

import os
import subprocess
import sys

import pytest

_CODE = """
import sys
from trainers.system import quiet
with quiet.hidden("json", "no_such_package", "wave"):
    assert "json" in sys.modules and sys.modules["json"] is not None, "imported before: stays"
    try:
        import wave
    except ImportError:
        pass
    else:
        raise AssertionError("wave was not hidden")
import json, wave
tf = quiet.import_tensorflow()
assert "sklearn" not in sys.modules
import sklearn, keras
assert keras.layers.Dense(1)(tf.zeros([1, 2])).shape == (1, 1)
print("fine")
"""


@pytest.mark.parametrize("chosen", [{}, {"TF_CPP_MIN_LOG_LEVEL": "3"}], ids=["", "chosen"])
def test_what_is_hidden_comes_back_and_the_rest_is_there(chosen):
    environment = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"} | chosen
    code = [sys.executable, "-c", "import json" + _CODE]
    done = subprocess.run(code, env=environment, capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("fine\n", 0), done.stderr
    assert chosen or "oneDNN" not in done.stderr

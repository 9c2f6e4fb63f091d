"""What the documentation renders: nothing is stale, nothing public is left out."""

import json
import re

import pytest

from benchmarks.pages import algorithms, code, everything, notebooks, reference, regions
from tf_mixed_nash.algorithms import ALGORITHMS

ROOT = code.ROOT


def test_no_page_is_stale():
    """If this fails: make pages, and look at what changed."""
    stale = [path.relative_to(ROOT).as_posix() for path in everything.stale()]
    assert stale == []


def test_a_changed_number_is_found(monkeypatch, tmp_path):
    page = tmp_path / "page.md"
    text = (ROOT / "README.md").read_text()
    page.write_text(text.replace("| Adam | 0.1", "| Adam | 0.9"))
    assert page.read_text() != text
    monkeypatch.setattr(everything, "with_regions", lambda: iter([page]))
    assert everything.stale() == {page: text}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("<!-- rendered: nothing -->\n<!-- /rendered -->", "No region is called 'nothing'"),
        ("<!-- rendered: a -->\nno end", "begins and does not end"),
    ],
)
def test_a_region_that_is_wrong_is_an_error(text, says):
    with pytest.raises(ValueError, match=says):
        regions.rendered(text, {"a": lambda: "b"})


def test_regions_are_replaced_and_the_rest_is_kept():
    text = "x\n<!-- rendered: a -->\nold\n<!-- /rendered -->\ny"
    made = regions.rendered(text, {"a": lambda: "new"})
    assert made == "x\n<!-- rendered: a -->\n\nnew\n\n<!-- /rendered -->\ny"
    assert regions.rendered(made, {"a": lambda: "new"}) == made


def test_every_algorithm_has_a_page_with_its_code():
    algorithms.check_names()
    for name in ALGORITHMS:
        text = algorithms.page(name)
        assert f"def {name}(h" in text
        for heading in ("paper's letters", "code that runs", "it needs", "it is tested", "study"):
            assert heading in text
    pieces, keys = code.pieces_of("mirror_prox_gan")
    assert {"mirror_prox", "langevin_mean", "langevin", "rms"} <= {p.name for p in pieces}
    assert {"damping", "temperature", "num_inner_steps"} <= keys
    assert "decay_1" not in keys
    assert "decay_1" in code.pieces_of("extra_adam")[1]


@pytest.mark.parametrize(
    ("name", "batches", "vectors"),
    [("sgd", 1, 1), ("rmsprop", 1, 2), ("adam", 1, 3), ("mirror_prox_gan", 2, 3)],
)
def test_what_an_algorithm_needs_is_counted(name, batches, vectors):
    assert algorithms._costs(name) == (batches, vectors)


def test_every_public_module_is_in_the_reference():
    pages = "".join(text for path, text in reference.pages().items())
    documented = set(re.findall(r"^::: (\S+)", pages, re.MULTILINE))
    for name, path in reference.modules().items():
        if reference._defines(path):
            assert name in documented, name
    for name in reference.public(ROOT / "tf_mixed_nash/__init__.py"):
        assert f"tf_mixed_nash.{name}" in documented


def test_a_notebook_holds_the_cells_of_its_script():
    script = '"""Of a script."""\n\n# %% [markdown]\n# # Title\n#\n# Text.\n\n# %%\nx = 1\n'
    assert notebooks.cells(script) == [(True, "# Title\n\nText."), (False, "x = 1")]
    made = json.loads(notebooks.notebook(script))
    assert [c["cell_type"] for c in made["cells"]] == ["markdown", "code", "code"]
    assert made["cells"][1]["source"][-1].startswith("%pip install")
    assert made["cells"][2]["source"] == ["x = 1"]
    assert "```python\nx = 1\n```" in notebooks.markdown(script, "one")

"""The parts of the documentation that are rendered: from records, from the registry, from the code.

    python -m benchmarks.pages            writes what is stale
    python -m benchmarks.pages --check    names it, and exits with 1

Two kinds. A region of a page stands between `<!-- rendered: NAME -->` and `<!-- /rendered -->`;
everything outside is written by hand (regions.py, tables.py). A whole page of docs/algorithms/, of
docs/reference/ and every notebook is rendered (algorithms.py, reference.py, notebooks.py). A test
runs the check.
"""

"""A GPU's work as a profiler's trace has it."""

from types import SimpleNamespace as Some

import pytest

from benchmarks.trace import read, table
from tf_mixed_nash.errors import InputError


def line(name, *events, timestamp_ns=1_000):
    """Events of (kernel, start in us after the line's timestamp, length in us)."""
    made = [Some(metadata_id=k, offset_ps=s * 10**6, duration_ps=d * 10**6) for k, s, d in events]
    return Some(name=name, timestamp_ns=timestamp_ns, events=made)


def space(*lines, name="/device:GPU:0"):
    names = {1: Some(name="product"), 2: Some(name="copy")}
    host = Some(name="/host:CPU", lines=[line("python", (1, 0, 99))], event_metadata=names)
    return Some(planes=[host, Some(name=name, lines=list(lines), event_metadata=names)])


def test_time_that_two_streams_share_counts_once():
    compute = line("Stream #1(Compute)", (1, 0, 10), (1, 20, 10))
    # Its clock begins 5 us later: it runs from 5 to 12.
    copies = line("Stream #2(MemcpyH2D)", (2, 0, 7), timestamp_ns=6_000)
    ignored = line("XLA Ops", (1, 0, 500))
    seen = read(space(compute, copies, ignored))
    assert seen.span == pytest.approx(30)
    assert seen.busy == pytest.approx(22)
    assert seen.kernels == {"product": (2, pytest.approx(20)), "copy": (1, pytest.approx(7))}
    first, second, third = table(seen, 2).splitlines()
    assert first == ("a mini-batch: 15.0 us, of which the GPU works 11.0; 1.5 kernels and copies")
    assert second.split() == ["10.00", "us", "1.00", "x", "product"]
    assert third.split() == ["3.50", "us", "0.50", "x", "copy"]


def test_a_trace_without_a_gpu_is_said():
    for nothing in (space(name="/device:TPU:0"), space(line("Stream #1"))):
        with pytest.raises(InputError, match="no work of a GPU"):
            read(nothing)

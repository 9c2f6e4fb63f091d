"""What XLA's text of a compiled program says: the instructions of its loop, and how often it turns.

A parser of the text alone, so that programs of TensorFlow and of JAX are counted alike. It knows
computations, instructions with type, opcode and operands, and who calls whom.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import NamedTuple

__all__ = ["Computation", "Instruction", "Loop", "chain", "counts", "main_loop", "parse"]

_HEADER = re.compile(r"^(ENTRY\s+)?%?([\w.\-]+)\s*(\(.*)?\{\s*$")
_INSTRUCTION = re.compile(r"^\s+(?:ROOT\s+)?%?([\w.\-]+) = (.*)$")
_OPCODE = re.compile(r"\s*([\w\-]+)\(")
_CALLED = re.compile(
    r"(calls|to_apply|body|condition|true_computation|false_computation)=%?([\w.\-]+)"
)
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')
_NAME = re.compile(r"%([\w.\-]+)")
_COMMENT = re.compile(r"/\*.*?\*/")

# They are no work of their own: names of values, or calls whose insides are counted.
_NO_WORK = {
    *("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "while", "call"),
    *("conditional", "after-all", "opt-barrier", "partition-id", "replica-id"),
}
# Whose computations run for every element, inside the instruction.
_SCALAR = {
    *("reduce", "reduce-window", "scatter", "select-and-scatter", "sort", "map", "all-reduce"),
    "topk",
}


class Instruction(NamedTuple):
    """One line of a computation.

    Attributes:
      name: unique in the program.
      type: of its value, such as f32[64,512]{1,0}.
      opcode: such as dot.
      calls: the computations that it names, as (role, name).
      trips: of a while, how often it turns, if XLA knows.
      operands: names of the instructions that it reads.
    """

    name: str
    type: str
    opcode: str
    calls: tuple[tuple[str, str], ...] = ()
    trips: int | None = None
    operands: tuple[str, ...] = ()


class Computation(NamedTuple):
    """A list of instructions.

    Attributes:
      name: unique in the program.
      entry: whether the program begins there.
      instructions: in order.
    """

    name: str
    entry: bool
    instructions: list[Instruction]


class Loop(NamedTuple):
    """A loop of a program.

    Attributes:
      body: the name of its computation.
      trips: how often it turns, if XLA knows.
    """

    body: str
    trips: int | None


def parse(text: str) -> dict[str, Computation]:
    """The computations of a program by name.

    Args:
      text: of an HLO module.

    Raises:
      ValueError: if it has no entry.
    """
    found: dict[str, Computation] = {}
    now: Computation | None = None
    for raw in text.splitlines():
        line = _COMMENT.sub("", raw)
        if now is None:
            # A header stands at the margin; the module's own line has no brace at its end.
            if not line.startswith((" ", "HloModule")) and (m := _HEADER.match(line)):
                now = Computation(m[2], bool(m[1]), [])
        elif line.startswith("}"):
            found[now.name] = now
            now = None
        elif m := _INSTRUCTION.match(line):
            now.instructions.append(_instruction(m[1], m[2]))
    if not any(c.entry for c in found.values()):
        raise ValueError("the text is no HLO module: it has no entry computation")
    return found


def _instruction(name: str, rest: str) -> Instruction:
    end = _end_of_type(rest)
    opcode = _OPCODE.match(rest, end)
    calls = [(m[1], m[2]) for m in _CALLED.finditer(rest, end)]
    for group in _BRANCHES.finditer(rest, end):
        calls += [("branch", part.strip().lstrip("%")) for part in group[1].split(",")]
    trips = _TRIPS.search(rest, end)
    return Instruction(
        name,
        rest[:end],
        opcode[1] if opcode else "?",
        tuple(calls),
        int(trips[1]) if trips else None,
        _operands(rest, opcode.end() - 1) if opcode else (),
    )


def _operands(text: str, begin: int) -> tuple[str, ...]:
    """The names in the brackets that open at `begin`."""
    depth = 0
    for end in range(begin, len(text)):
        depth += (text[end] in "([{") - (text[end] in ")]}")
        if depth == 0:
            break
    return tuple(_NAME.findall(text[begin:end]))


def _end_of_type(text: str) -> int:
    """Where the type ends that `text` begins with: at a blank, or the tuple's last bracket."""
    depth = 0
    for i, character in enumerate(text):
        depth += (character in "([{") - (character in ")]}")
        if depth == 0 and (character == " " or (character == ")" and text[0] == "(")):
            return i + (character == ")")
    return len(text)


def _inside(program: Mapping[str, Computation], name: str, fusions: bool) -> Iterator[Instruction]:
    """The instructions of a computation and of those that it calls.

    Args:
      program: of `parse`.
      name: of the computation.
      fusions: whether the insides of fusions, too.
    """
    for instruction in program[name].instructions:
        yield instruction
        if instruction.opcode in _SCALAR or instruction.opcode.startswith("custom"):
            continue
        if instruction.opcode == "fusion" and not fusions:
            continue
        for _, called in instruction.calls:
            if called in program:
                yield from _inside(program, called, fusions)


def main_loop(program: Mapping[str, Computation]) -> Loop:
    """The loop that holds the most work, of those in the entry.

    Raises:
      ValueError: if there is none.
    """
    entry = next(c.name for c in program.values() if c.entry)
    loops = [
        Loop(dict(i.calls)["body"], i.trips)
        for i in _outside_of_loops(program, entry)
        if i.opcode == "while"
    ]
    if not loops:
        raise ValueError("the program has no loop")
    return max(loops, key=lambda loop: counts(program, loop.body)["kernels"])


def _outside_of_loops(program: Mapping[str, Computation], name: str) -> Iterator[Instruction]:
    for instruction in program[name].instructions:
        yield instruction
        if instruction.opcode == "call":
            for _, called in instruction.calls:
                yield from _outside_of_loops(program, called)


def counts(program: Mapping[str, Computation], name: str) -> dict[str, int]:
    """The work of a computation and of those that it calls; an inner loop's body counts once.

    Args:
      program: of `parse`.
      name: of the computation.

    Returns:
      By name. `kernels`: all instructions that do work, each of which is launched, with a fusion
      as one. Of these: `fusions`, `dots`, `convolutions`, `custom_calls`, `generators` (random
      bits), `copies`. Beside them `whiles` and, fusions' insides included, `f64`, the instructions
      that compute float64 numbers.
    """
    of = Counter(i.opcode for i in _inside(program, name, fusions=False))
    f64 = sum(
        i.opcode not in _NO_WORK and "f64[" in i.type for i in _inside(program, name, fusions=True)
    )
    return {
        "kernels": sum(n for opcode, n in of.items() if opcode not in _NO_WORK),
        "fusions": of["fusion"],
        "dots": of["dot"],
        "convolutions": of["convolution"],
        "custom_calls": of["custom-call"],
        "generators": of["rng-bit-generator"],
        "copies": of["copy"],
        "whiles": of["while"],
        "f64": f64,
    }


def chain(program: Mapping[str, Computation], name: str) -> int:
    """The most kernels of a computation of which each reads what the one before wrote.

    A GPU that runs what does not wait for each other side by side takes as long at least. What an
    instruction calls counts as one kernel.
    """
    length: dict[str, int] = {}
    for instruction in program[name].instructions:
        before = max((length.get(operand, 0) for operand in instruction.operands), default=0)
        length[instruction.name] = before + (instruction.opcode not in _NO_WORK)
    return max(length.values(), default=0)

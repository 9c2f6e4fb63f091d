"""The parser of XLA's text, and how much the steps of some algorithms may be."""

import dataclasses
import json

import pytest

from benchmarks import hlo, kernels
from benchmarks.pages.code import ROOT
from benchmarks.peers import gpu_compiler
from benchmarks.step import MODELS
from tests.trainers.conftest import command
from tf_mixed_nash.algorithms import ALGORITHMS
from tf_mixed_nash.errors import InputError

PROGRAM = """HloModule jit_many, entry_computation_layout={(f32[8]{0})->f32[8]{0}}

%inner_fusion (p.0: f32[8]) -> f32[8] {
  %p.0 = f32[8]{0} parameter(0)
  %wide = f64[8]{0} convert(%p.0)
  %more = f64[8]{0} multiply(%wide, %wide)
  ROOT %narrow = f32[8]{0} convert(%more)
}

%add (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %sum = f32[] add(%a, %b)
}

%parallel (q: f32[8]) -> f32[8] {
  %q = f32[8]{0} parameter(0)
  ROOT %f.2 = f32[8]{0} fusion(%q), kind=kLoop, calls=%inner_fusion
}

%small_body (s.1: (s32[], f32[8])) -> (s32[], f32[8]) {
  %s.1 = (s32[], f32[8]{0}) parameter(0)
  %i.1 = s32[] get-tuple-element(%s.1), index=0
  %x.1 = f32[8]{0} get-tuple-element(%s.1), index=1
  %c.1 = f32[8]{0} copy(%x.1)
  ROOT %t.1 = (s32[], f32[8]{0}) tuple(%i.1, %c.1)
}

%small_condition (s.2: (s32[], f32[8])) -> pred[] {
  %s.2 = (s32[], f32[8]{0}) parameter(0)
  %i.2 = s32[] get-tuple-element(%s.2), index=0
  %n.2 = s32[] constant(3)
  ROOT %less.2 = pred[] compare(%i.2, %n.2), direction=LT
}

%yes (y: f32[8]) -> f32[8] {
  %y = f32[8]{0} parameter(0)
  ROOT %e = f32[8]{0} rng-bit-generator(%y), algorithm=rng_default
}

%no (z: f32[8]) -> f32[8] {
  ROOT %z = f32[8]{0} parameter(0)
}

%body (s.3: (s32[], f32[8], /*index=2*/f32[2,4])) -> (s32[], f32[8], f32[2,4]) {
  %s.3 = (s32[], f32[8]{0}, /*index=2*/f32[2,4]{1,0}) parameter(0)
  %x.3 = f32[8]{0} get-tuple-element(%s.3), index=1, metadata={op_name="a = b(c)"}
  %f.1 = f32[8]{0} fusion(%x.3), kind=kLoop, calls=%inner_fusion
  %called = f32[8]{0} call(%f.1), to_apply=%parallel
  %zero = f32[] constant(0)
  %total = f32[] reduce(%called, %zero), dimensions={0}, to_apply=%add
  %d.1 = f32[2,2]{1,0} dot(%x.3, %x.3), lhs_contracting_dims={1}, rhs_contracting_dims={1}
  %cc.1 = (f32[8]{0}, s8[4]{0}) custom-call(%d.1), custom_call_target="__cublas$gemm"
  %w.1 = (s32[], f32[8]{0}) while(%s.3), condition=%small_condition, body=%small_body
  %p.1 = pred[] constant(true)
  %cond = f32[8]{0} conditional(%p.1, %x.3, %x.3), branch_computations={%yes, %no}
  ROOT %t.3 = (s32[], f32[8]{0}, f32[2,4]{1,0}) tuple(%total, %cond, %d.1)
}

ENTRY %main (arg: f32[8]) -> f32[8] {
  %arg = f32[8]{0} parameter(0)
  %first = (s32[], f32[8]{0}) while(%arg), condition=%small_condition, body=%small_body, SHORT
  %m.1 = (s32[], f32[8]{0}, f32[2,4]) while(%first), condition=%small_condition, body=%body, LONG
  ROOT %out = f32[8]{0} get-tuple-element(%m.1), index=1
}
"""
SHORT = 'backend_config={"known_trip_count":{"n":"3"}}'
LONG = 'backend_config={"known_trip_count":{"n":"25"},"known_init_step":{"init":"0","step":"1"}}'
PROGRAM = PROGRAM.replace("SHORT", SHORT).replace("LONG", LONG)


def test_work_is_counted_in_the_loop_that_has_most_of_it():
    program = hlo.parse(PROGRAM)
    loop = hlo.main_loop(program)
    assert loop == hlo.Loop("body", 25)
    assert hlo.counts(program, "body") == {
        # Two fusions, reduce, dot, custom call, the inner loop's copy and comparison, a generator.
        "kernels": 8,
        "fusions": 2,
        "dots": 1,
        "convolutions": 0,
        "custom_calls": 1,
        "generators": 1,
        "copies": 1,
        "whiles": 1,
        "f64": 4,  # two in each of the fusions
    }
    assert hlo.counts(program, "small_body")["kernels"] == 1


def test_the_chain_is_what_must_wait_for_each_other():
    program = hlo.parse(PROGRAM)
    total = next(i for i in program["body"].instructions if i.name == "total")
    assert total.operands == ("called", "zero")
    # f.1, then reduce; or the product, then the library's call. A call is no kernel of its own.
    assert hlo.chain(program, "body") == 2
    assert hlo.chain(program, "small_body") == 1
    assert kernels.count(PROGRAM, per_step=2)["chain"] == 1


def test_copies_that_a_dialect_does_not_know_are_left_out():
    text = "\n".join(
        ("  %1 = add %0, %0", "  %2 = mhlo.copy %1 : f32", '  %3 = "mhlo.copy"(%1) : f32',
         "  return %2, %3, %22")
    )  # fmt: skip
    assert gpu_compiler._without_copies(text) == "  %1 = add %0, %0\n  return %1, %1, %22"


def test_a_compiler_that_is_not_there_is_said(monkeypatch, tmp_path):
    monkeypatch.setattr(kernels, "_ROOT", tmp_path)
    with pytest.raises(InputError, match="make gpu-compiler"):
        kernels.for_h100(b"")


def test_a_stage_before_the_device_is_none_of_a_device():
    done = command("benchmarks.kernels", "--device=h100", "--stage=hlo")
    assert done.returncode == 2
    assert "Leave out --device=h100" in done.stderr


def test_a_loop_whose_length_is_an_argument_is_of_unknown_length():
    text = PROGRAM.replace('"known_trip_count":{"n":"25"},', "")
    assert hlo.main_loop(hlo.parse(text)).trips is None
    assert kernels.count(text, per_step=2)["kernels"] == 4


def test_what_is_no_program_is_said():
    with pytest.raises(ValueError, match="no HLO module"):
        hlo.parse("Traceback")
    with pytest.raises(ValueError, match="no loop"):
        hlo.main_loop(hlo.parse(PROGRAM.replace("while(", "tuple(")))


# Of every algorithm and three networks at batch 64; docs/speed.md has the command.
RECORD = json.loads((ROOT / "docs/results/kernels.json").read_text())["results"]
COUNTS = {(row["algorithm"], row["model"]): row for row in RECORD}
# The row of the history that an iterate is drawn from is a float64 scalar.
OF_64_BITS = {"sample_mp"}
QUICK = {("mirror_gan", "mlp")}


def test_the_record_is_of_every_algorithm_and_model():
    assert {*COUNTS} == {(a, model) for a in ALGORITHMS for model in MODELS}
    for one in COUNTS.values():
        assert one["trips"], "the loop asks the host whether to go on"
        assert one["generators"] == 0, one
        assert bool(one["f64"]) == (one["algorithm"] in OF_64_BITS), one


@pytest.mark.parametrize(
    "which",
    [w if w in QUICK else pytest.param(w, marks=pytest.mark.slow) for w in COUNTS],
    ids=lambda which: "-".join(which),
)
def test_a_step_is_no_more_work_than_it_was(which, tmp_path):
    algorithm, model = which
    known = COUNTS[which]
    work = dataclasses.replace(MODELS[model], algorithm=algorithm, batch_size=8, width=16)
    found = kernels.count(*kernels.of_ours(work, tmp_path))
    assert found["trips"] == known["trips"]
    assert found["generators"] == 0
    assert found["f64"] <= known["f64"], "of the networks' entries, too?"
    # Of smaller networks XLA fuses a little otherwise.
    assert found["kernels"] <= 1.08 * known["kernels"], found


def test_each_set_is_a_row(tmp_path):
    done = command(
        *("benchmarks.kernels", "--algorithms=rmsprop", "--batch_sizes=8", "--width=16"),
        *("--set=", "--set=game.gradient_penalty=0,game.r1=0.1", f"--output={tmp_path / 'k.json'}"),
    )
    assert done.returncode == 0, done.stderr
    plain, r1 = json.loads((tmp_path / "k.json").read_text())["results"]
    assert (plain["set"], r1["set"]) == ("", "game.gradient_penalty=0,game.r1=0.1")
    assert plain["kernels"] != r1["kernels"]
    assert done.stdout.splitlines()[-1].endswith("  game.gradient_penalty=0,game.r1=0.1")

"""Tests that are left to the slow ones, and what covers them.

Of a parametrised test `make test` runs the named cases, one of each kind of code that the others
run through as well; `make test-slow` runs the rest. A test without cases here is slow as a whole.
The suite checks that every name here is a test's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["FIRST", "is_repetition", "unknown"]

LIBRARY, TRAINERS, EXPORT = "tests/tf_mixed_nash/", "tests/trainers/", "tests/export/"

# test -> the ids that are not slow; * stands for anything.
FIRST: dict[str, tuple[str, ...]] = {
    # Sampling and RMSProp are transcribed one by one, with particles as well (test_sampled.py,
    # test_a_run_is_that_of_the_transcription here).
    LIBRARY + "test_particles_gan.py::test_it_is_algorithm_4_without_a_past": (),
    # The transcription has a mirror step of its own for each player, neither of them 1.
    LIBRARY
    + "methods/test_sampled.py::test_only_the_ratio_of_temperature_and_mirror_step_counts": (),
    # A play of 2 draws is the transcription's (test_sampled.py).
    LIBRARY + "methods/test_histories.py::test_the_subsampled_play_is_a_mean_of_b_draws": (),
    # Each with one discriminator step and the settings of most; more steps of one of each scheme.
    LIBRARY + "test_algorithms.py::test_trajectory_on_a_nonlinear_game": (
        *("*--1", "*-growing-rms-1", "mirror_gan-constant-identity-1", "alt_extra_adam--3"),
        *("alt_mirror_prox_gan-growing-rms-3", "past_extra_adam--3"),
    ),
    # Every algorithm is transcribed on the nonlinear game; the fields of GANs by test_gan.py.
    LIBRARY + "test_algorithms.py::test_trajectory_of_a_gan": (
        *("rmsprop", "optimistic_adam", "alt_mirror_gan", "alt_mirror_prox_gan"),
    ),
    # sample_md resumes exactly in test_checkpoints.py; several chains are the transcription's.
    TRAINERS
    + "session/test_sampled.py::test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit": (),
    # The client and the comparison are the same; one framework is started.
    "tests/benchmarks/test_peers.py::test_a_peers_update_is_ours": ("jax",),
    # One of each scheme with a state of its own kind.
    TRAINERS + "workdir/test_checkpoints.py::test_nothing_of_the_state_is_missing": (
        *("mirror_prox_gan", "sample_md", "images"),
    ),
    # The steps are the schemes' own, which TensorFlow rewrites; one way to be refused.
    LIBRARY + "training/test_population.py::test_a_run_of_a_population_is_the_run_alone": (
        *("mirror_gan", "sample_md"),
    ),
    LIBRARY + "test_contract.py::test_a_compiled_step_keeps_its_contract": ("mirror_prox_gan",),
    LIBRARY + "test_contract.py::test_num_batches_counts_the_mini_batches_that_are_read": (
        *("1-mirror_prox_gan", "2-chambolle_pock", "2-adam", "2-sample_md"),
    ),
    LIBRARY + "methods/test_sampled.py::test_trajectory_is_the_transcription": (
        *("sample_md-True-num_chains3-reservoir-3-0", "sample_mp-True-num_chains4-full-50-2"),
    ),
    LIBRARY + "methods/test_sampled.py::test_without_memory_it_is_langevin_descent_ascent": (
        "subsampled",
    ),
    LIBRARY + "methods/test_sampled.py::test_the_samples_follow_the_exact_mirror_descent_iterate": (
        "sample_md",
    ),
    LIBRARY + "test_particles_gan.py::test_a_compiled_step_keeps_its_contract": (
        *("past_extra_adam",),
    ),
    LIBRARY + "test_particles_gan.py::test_a_run_is_that_of_the_transcription": (
        *("mirror_prox_gan-learnt-split", "rmsprop-learnt-full"),
    ),
    LIBRARY + "test_particles_gan.py::test_a_block_of_equal_atoms_is_the_point": (
        *("theta-alt_extra_adam", "w-mirror_prox_gan", "theta-adam"),
    ),
    LIBRARY + "test_particles_gan.py::test_permuting_the_atoms_permutes_the_run": (
        "mirror_prox_gan",
    ),
    LIBRARY + "test_particles_gan.py::test_rebirth_takes_all_of_the_state_along": (
        *("mirror_prox_gan", "past_extra_adam"),
    ),
    LIBRARY + "training/test_keras_models.py::test_stopping_and_going_on_changes_no_bit": (
        "mirror_prox_gan-1",
    ),
    # Both ways back to Keras are tried by test_convert.py, sampling by MixedNashGAN's tests.
    LIBRARY + "training/test_keras_models.py::test_the_published_mixture_and_keras_models_are_the_"
    "same_function": (),
    LIBRARY + "training/test_loop.py::test_the_loop_is_the_scheme_stepped_by_hand": (
        "mirror_prox_gan",
    ),
    LIBRARY + "training/test_run.py::test_the_loop_needs_no_config": ("mirror_gan",),
    # The others are games of the same kinds, smaller or larger.
    LIBRARY + "solvers/test_certificates.py::test_the_exact_equilibrium_has_no_gap": (
        *("bilinear", "circle", "parrilo"),
    ),
    LIBRARY + "solvers/test_particles.py::test_every_method_returns_measures_inside_the_sets": (
        *("conic_mirror_prox", "langevin"),
    ),
    LIBRARY + "solvers/test_particles.py::test_descent_ascent_is_the_transcription": (
        *("0.3-0.02-False", "0.0-0.02-True"),
    ),
    LIBRARY + "solvers/test_matrix.py::test_slopes": ("30-15-2",),
    LIBRARY + "metrics/test_nash.py::test_best_responses_of_a_gan_improve_on_held_out_data": (
        "wgan",
    ),
    LIBRARY + "metrics/test_nash.py::test_the_payoff_of_a_gan_is_minus_the_discriminators_loss": (
        *("wgan", "nonsaturating"),
    ),
    # All penalties together, and none; each alone by the slow ones.
    LIBRARY + "games/test_gan.py::test_shards_average_to_the_whole_mini_batch": (
        *("both-*", "none-*"),
    ),
    # The other way's draws are test_draws_of_particles'.
    LIBRARY + "games/test_gan.py::test_the_critics_field_of_a_sampled_mixture_has_the_exact_mean": (
        "split",
    ),
    # All penalties together, and none; each alone by the slow ones.
    LIBRARY + "games/test_gan.py::test_gan_field_is_the_gradient_by_hand": (
        *("both-*", "zero-centred-*", "none-wgan-*"),
    ),
    # Every objective with every penalty is differentiated by hand as well.
    LIBRARY + "games/test_gan.py::test_gan_field_is_the_slope_of_the_loss": ("both-*",),
    LIBRARY + "games/test_gan.py::test_the_fields_of_a_block_are_those_of_its_rows": (
        *("wgan-*", "cubic-*", "conditional-*", "images-w"),
    ),
    LIBRARY + "solvers/test_matrix.py::test_gaps_are_within_the_theorem": (
        *("20-40-0-*-False", "1-9-3-*-True"),
    ),
    LIBRARY
    + "solvers/test_particles.py::test_descent_ascent_spirals_out_where_mirror_prox_converges"
    "": (),
    LIBRARY
    + "solvers/test_particles.py::test_the_same_seed_gives_the_same_answer_and_another_does_"
    "not": (),
    LIBRARY + "methods/test_histories.py::test_the_subsampled_play_is_unbiased": ("5-True-2.0",),
    LIBRARY + "methods/test_schemes.py::test_a_step_of_no_length_ends_at_the_anchor": (
        *("alt_mirror_prox_gan", "past_extra_adam"),
    ),
    LIBRARY + "test_particles_gan.py::test_one_particle_is_the_point": (
        *("alt_extra_adam", "chambolle_pock"),
    ),
    LIBRARY + "training/test_loop.py::test_the_number_of_outer_steps": (
        *("mirror_prox_gan-1-0.0-11-6", "mirror_gan-4-1.0-7-3"),
    ),
    # One whose draw TensorFlow makes by rejection; the others' rows are test_latents'. What is
    # published of it passes the checks and gates of every strategy (test_verify.py).
    EXPORT + "test_latents.py::test_a_published_model_draws_the_latents_that_its_strategy_draws": (
        "student-saved",
    ),
    # One number of each field, and of each message.
    EXPORT + "serving/test_page.py::test_bad_input_is_a_message_and_no_request": (
        *("values1-*", "values4-*", "values6-*", "values7-*"),
    ),
    # It needs the whole story of the page, whose examples are slow tests.
    EXPORT + "serving/test_docs.py::test_the_signatures_it_lists_are_those_of_the_models": (),
    LIBRARY + "training/test_reservoir.py::test_what_is_kept_is_what_the_slots_say": (
        *("0", "8", "9007"),
    ),
    LIBRARY + "methods/test_schemes.py::test_on_bilinear_games_both_extrapolations_agree": ("0.5",),
    # Those on sets are solved by particles, as the payoff of test_a_payoff_with_sets; the circle's
    # certificate is test_certificates'.
    TRAINERS + "test_solve.py::test_the_examples_have_the_values_that_they_claim": (
        "polynomial-1.0",
    ),
    # Faults of the same kind, at another place or moment.
    TRAINERS + "test_faults.py::test_a_signal_stops_at_the_next_step_and_loses_nothing": (
        "15-143",
    ),
    TRAINERS + "test_faults.py::test_a_disk_that_fills_up_elsewhere_is_no_stack_trace": (),
    TRAINERS + "test_faults.py::test_killed_inside_a_checkpoint": (),
    TRAINERS + "test_faults.py::test_a_clock_that_jumps": (),
    TRAINERS + "test_faults.py::test_a_damaged_newest_checkpoint": ("truncated",),
    # Every call of a publisher fails in test_a_disk_that_fails_at_any_call.
    EXPORT + "test_refusals.py::test_a_full_disk_while_the_version_is_written": (),
    # The disk is full at each file by injection, too.
    EXPORT + "test_refusals.py::test_a_disk_that_is_really_full": ("half",),
    # The command with a disk that is full at each file: test_refusals.py.
    EXPORT + "test_saved_model.py::test_command_reports_a_full_disk": (),
    # The gate `isolated` does the same, and test_verify.py runs it.
    EXPORT + "test_strategy.py::test_draws_the_same_without_keras_and_this_project": (),
    EXPORT + "test_strategy.py::test_a_model_that_is_not_the_strategy_is_refused": (
        # Other answers are refused by test_refusals.py (test_a_graph_that_fails_a_check, other).
        "unpinned",
    ),
    EXPORT + "serving/test_server.py::test_a_broken_version_leaves_the_served_one_alone": (
        "truncated",
    ),
    # A study that is killed, and a sweep that is stopped, are taken up again by test_kills.py and
    # test_search.py.
    TRAINERS + "campaigns/test_search.py::test_a_killed_sweeps_trial_is_taken_up_where_it_was": (),
    TRAINERS
    + "campaigns/test_kills.py::test_who_comes_at_once_waits_for_the_trainers_of_the_one_that_was_"
    + "killed": (),
    TRAINERS + "campaigns/test_study.py::test_a_signal_stops_cleanly": ("15",),
    TRAINERS + "campaigns/test_kills.py::test_kills_leave_nobody_and_lose_nothing": (
        "reproduce-SIGKILL",
    ),
    # Every command imports TensorFlow so.
    TRAINERS + "system/test_quiet.py::test_what_is_hidden_comes_back_and_the_rest_is_there": (),
    # Two replicas in one process are tried by make test; workers need a process each.
    TRAINERS
    + "system/test_devices.py::test_two_workers_are_bitwise_equal_after_50_mini_batches": (),
    TRAINERS + "system/test_devices.py::test_what_a_batch_is_split_over_changes_only_rounding": (
        "mirror_gan-mirrored",
    ),
    TRAINERS + "system/test_devices.py::test_another_config_on_one_worker_is_refused_by_both": (),
    # The same source without data is refused by test_imaging.py, and importing TFDS takes seconds.
    TRAINERS + "tasks/test_features.py::test_bad_commands_exit_2": ("arguments0-*", "arguments1-*"),
    # It builds the whole of Inception to find that a file is not of it.
    TRAINERS + "tasks/test_features.py::test_inception_weights_of_another_network_are_refused": (),
    # Tools of the maintainers: chaos, load, the study of particles.
    "tests/test_chaos.py::test_a_resumed_run_removes_what_a_kill_left": (),
    EXPORT + "serving/test_load.py::test_a_swap_under_load": (),
    "tests/benchmarks/test_examples.py::test_the_page_is_of_the_records": (),
    # Both ways share what finds a divergence but for one table, which test_loop.py compares.
    LIBRARY + "training/test_loop.py::test_divergence_names_the_step_and_the_player": ("parts",),
    LIBRARY + "models/test_residual.py::test_images_of_every_size_and_one_logit": ("28-*",),
    LIBRARY + "models/test_residual.py::test_without_normalisation_the_scale_is_kept": ("4",),
    # The networks are committed; each is tried by one test that reads data, these by others too.
    TRAINERS + "tasks/test_features.py::test_the_committed_networks_recognise_their_test_data": (
        "cifar10",
    ),
    TRAINERS + "session/test_train.py::test_every_planar_config_runs_two_outer_steps_when_tiny": (
        "swissroll_md",
    ),
}


def _split(node_id: str) -> tuple[str, str]:
    """A test's name and the id of its case, "" without one."""
    found = re.fullmatch(r"([^\[]+)(?:\[(.*)\])?", node_id, re.DOTALL)
    assert found is not None
    return found[1], found[2] or ""


def _is_one_of(case: str, patterns: tuple[str, ...]) -> bool:
    return any(re.fullmatch(re.escape(p).replace(r"\*", ".*"), case) for p in patterns)


def is_repetition(node_id: str) -> bool:
    """Whether the test or case of this id is left to the slow tests."""
    name, case = _split(node_id)
    return name in FIRST and not _is_one_of(case, FIRST[name])


def unknown(node_ids: Iterable[str]) -> list[str]:
    """What FIRST names and no test of its file is: "TEST" or "TEST[CASE]" each."""
    cases: dict[str, list[str]] = {}
    for name, case in map(_split, node_ids):
        cases.setdefault(name, []).append(case)
    files = {name.split("::")[0] for name in cases}
    missing = []
    for name, patterns in FIRST.items():
        if name.split("::")[0] in files:
            there = cases.get(name, [])
            missing += [] if there else [name]
            missing += [
                f"{name}[{p}]" for p in patterns if not any(_is_one_of(c, (p,)) for c in there)
            ]
    return missing

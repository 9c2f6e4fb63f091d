"""Pictures: who stands where."""

from trainers.tasks.pictures import panel_order


def test_panels_are_in_the_places_of_figure_1():
    six = ["sgd", "adam", "optimistic_adam", "extra_adam", "mirror_gan", "mirror_prox_gan"]
    assert panel_order(six) == [
        ["sgd", "optimistic_adam", "mirror_gan"],
        ["adam", "extra_adam", "mirror_prox_gan"],
    ]
    assert panel_order(["adam", "rmsprop"]) == [[None, "rmsprop"], ["adam", None]]

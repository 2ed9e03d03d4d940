"""What moves between zones take that no situation has told: bounded by those that were, and by what is near by name."""

import pytest

from sky_core.facts.geography import region_of
from sky_core.recovery.beliefs.distances import Distances

FAR, NEAR = 1.6, 0.2
ZONES = ["europe-west1-c", "europe-west3-c", "us-central1-a", "us-central1-b", "us-west1-a"]
USD = dict(zip(ZONES, (0.0, 40.0, 80.0, 80.0, 80.0), strict=True))
HOURS = dict(zip(ZONES, (0.0, NEAR, FAR, FAR, FAR), strict=True))


def between(told=(("europe-west1-c", USD, HOURS),), names=ZONES):
    distances = Distances()
    for row in told:
        distances.tell(*row)
    usd, hours = distances.between(names, (told[-1][1], told[-1][2]) if told else ({}, {}))
    at = {name: number for number, name in enumerate(names)}
    return lambda one, other: (usd[at[one], at[other]], hours[at[one], at[other]])


def test_what_was_told_is_taken_as_it_is():
    assert between()("europe-west1-c", "us-west1-a") == (80, FAR)


def test_zones_of_another_continent_are_as_near_to_each_other_as_those_of_ours():
    move = between()
    assert move("us-central1-a", "us-west1-a") == (40, NEAR)
    assert move("us-central1-a", "europe-west3-c") == (80, FAR)


def test_within_a_region_moving_takes_nothing():
    assert between()("us-central1-a", "us-central1-b") == (0, 0)


def test_a_second_place_to_tell_from_makes_guesses_no_dearer():
    usd = {"europe-west1-c": 80, "europe-west3-c": 80, "us-central1-a": 10, "us-central1-b": 10, "us-west1-a": 0}
    hours = {zone: {80: FAR, 10: 0.1, 0: 0}[cost] for zone, cost in usd.items()}
    move = between((("europe-west1-c", USD, HOURS), ("us-west1-a", usd, hours)))
    assert move("us-central1-a", "us-west1-a") == (10, 0.1)  # no dearer than both ends were from there
    assert move("us-central1-a", "europe-west3-c") == (80, FAR)


def test_zones_whose_names_say_nothing_keep_that_bound():
    move = between((("x", {"x": 0, "y": 1, "z": 3}, {"x": 0, "y": 0.5, "z": 2}),), ["x", "y", "z"])
    assert move("y", "z") == (3, 2)


def test_nothing_is_known_before_the_first_start():
    assert between(())("us-central1-a", "europe-west1-c") == (0, 0)


@pytest.mark.parametrize(
    ("zone", "region"),
    [
        ("us-east-1a", "us-east-1"),
        ("us-east-1", "us-east-1"),
        ("us-gov-west-1b", "us-gov-west-1"),
        ("us-east4-a", "us-east4"),
        ("us-east4", "us-east4"),
        ("eastus-1", "eastus"),
        ("westus2-3", "westus2"),
        ("eastus", "eastus"),
    ],
)
def test_regions_of_zones(zone, region):
    assert region_of(zone) == region

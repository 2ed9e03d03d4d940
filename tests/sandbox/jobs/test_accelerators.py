"""A machine has to show the accelerators that it was rented for before a task runs there."""

from __future__ import annotations

import pytest

from sky_core import Resources, Task
from tests.sandbox.driving import home_of

pytestmark = pytest.mark.slow
SANDBOX = {"hours_per_second": 0.1}
PLAIN = "/aws/service/canonical/ubuntu/server/22.04/stable/current/amd64/hvm/ebs-gp2/ami-id"
IMPATIENT = "accelerator_timeout_s = 0.5"
PLACES = {
    "aws": {"cloud": "aws", "accelerators": "T4:4"},
    "azure": {"cloud": "azure", "accelerators": "A100-80GB"},
    "gcp": {"cloud": "gcp", "accelerators": "V100:2"},
    "neuron": {"cloud": "aws", "accelerators": "Inferentia2"},
}
LISTED = {"aws": "T4", "azure": "A100-80GB", "gcp": "V100", "neuron": "neuron_device"}


@pytest.fixture
def tidy(world):
    yield world
    world.control.reset()


def task(name: str, run: str, setup: str | None = None, **resources) -> Task:
    return Task(name=name, run=run, setup=setup, hours=0.1, resources=Resources(**resources))


def test_the_images_that_are_chosen_serve_the_accelerators_that_were_asked_for(tidy, tmp_path):
    with home_of(tidy, tmp_path, IMPATIENT) as home:
        list_them = "if command -v neuron-ls; then neuron-ls; else nvidia-smi -L; fi"
        asked = {name: home.submit(task(name, list_them, **place), key=name) for name, place in PLACES.items()}
        for name, job in zip(asked, home.drive(*asked.values()), strict=True):
            assert job.state == "succeeded", (name, job.result)
            assert [outcome for outcome, _ in home.outcomes(job)] == ["succeeded"], name
            assert LISTED[name] in home.store.log(job.id).decode()


def test_an_image_without_the_driver_ends_before_the_command_runs_and_is_that_jobs_affair(tidy, tmp_path):
    with home_of(tidy, tmp_path, IMPATIENT) as home:
        (job,) = home.drive(home.submit(task("m", "echo i ran", cloud="aws", accelerators="T4", image=PLAIN)))
        assert job.state == "failed"
        assert "T4: nvidia-smi:" in job.result["error"]
        assert "choose an image with its driver" in job.result["error"]
        assert [outcome for outcome, _ in home.outcomes(job)] == ["invalid"], "the image is the same everywhere"
        assert b"i ran" not in home.store.log(job.id)
        assert {seen.kind for seen in home.store.observations(0)} == {"launched", "released"}
        assert tidy.live() == []


def test_setup_may_bring_the_driver(tidy, tmp_path):
    bring = "printf '#!/bin/sh\\necho GPU 0: of mine\\n' > ~/.local/bin/nvidia-smi; chmod +x ~/.local/bin/nvidia-smi"
    with home_of(tidy, tmp_path, IMPATIENT) as home:
        place = {"cloud": "aws", "accelerators": "T4", "image": PLAIN}
        brought, forgot = (
            home.submit(task(name, "echo i ran", setup, **place), key=name)
            for name, setup in (("brought", bring), ("forgot", "true"))
        )
        brought, forgot = home.drive(brought, forgot)
        assert brought.state == "succeeded", brought.result
        assert forgot.state == "failed"
        assert "T4: nvidia-smi:" in forgot.result["error"]

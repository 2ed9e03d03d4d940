"""A pipeline in plain Python: what the plug-in's engine reads."""

from sky_core import Checkpoint, Pipeline, Resources, Task

PIPELINE = Pipeline(
    name="pasture",
    tasks=(
        Task(
            name="graze",
            run="echo grazing",
            hours=0.1,
            deadline=8,
            checkpoint=Checkpoint(interval=0.05),
            resources=Resources(cloud="meadow", cpus="2+", use_spot=True),
        ),
    ),
)

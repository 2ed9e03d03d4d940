"""The vision pipeline as an Airflow DAG: on more than one cloud, because that is cheapest.

The same stages and estimates as ``example_flows/vision_pipeline.py``: two as shell tasks whose files travel as
artifacts, one as a Python function.
"""

import os
from datetime import datetime
from pathlib import Path

from airflow.sdk import DAG, task

from sky_airflow.operators.sky import SkyOperator
from sky_core import Artifact

STAGES = str(Path(__file__).parent.parent / "example_flows" / "vision")

with DAG("vision_pipeline", schedule=None, start_date=datetime(2026, 1, 1), default_args={"sky": {"minimize": "cost"}}):
    process = SkyOperator(
        task_id="process",
        run="python stages.py process",
        workdir=STAGES,
        requires={"cpus": "16+", "memory": "64+"},
        hours=0.6,
        outputs={"images": Artifact(size_gb=1)},
    )
    train = SkyOperator(
        task_id="train",
        run="python stages.py train",
        workdir=STAGES,
        requires={"accelerators": ["A100:4", "H100", "tpu-v5litepod-8"], "use_spot": True},
        hours={"A100:4": 3.9, "H100": 6.4, "tpu-v5litepod-8": 6.4},
        checkpoint="3m",
        envs={"VISION_EPOCH_S": os.environ.get("VISION_EPOCH_S", "0")},
        inputs={"images": process.outputs["images"]},
        outputs={"model": Artifact(size_gb=0.1)},
    )

    @task.sky(requires={"accelerators": ["L4", "Inferentia2"]}, hours={"L4": 1.9, "Inferentia2": 1.1})
    def infer(model: Path, images: Path) -> float:
        import pickle

        import numpy as np

        trained = pickle.loads((model / "model.pkl").read_bytes())
        data = np.load(images / "images.npz")
        predictions = trained["model"].predict(data["held_out_x"])
        accuracy = float((predictions == data["held_out_y"]).mean())
        print(f"accuracy {accuracy:.4f}")
        return accuracy

    infer(train.outputs["model"], process.outputs["images"])

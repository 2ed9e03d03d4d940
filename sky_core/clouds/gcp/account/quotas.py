"""A look at Compute Engine's quotas before a launch: a new project has none for GPUs.

GPUs are counted by kind and market in each region, and those on demand in all regions together
(https://cloud.google.com/compute/resource-usage#gpu_quota).
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any

from google.cloud import compute_v1 as compute

from sky_core.clouds.gcp.errors import RETRY, cloud_errors
from sky_core.errors import CloudError, QuotaError
from sky_core.facts.gcp import FACTS

CALL_S = 60.0
KEPT_S = 600.0
EVERYWHERE = "GPUS_ALL_REGIONS"
SIZE = re.compile(r"(?<!a100)-\d+gb$")  # of memory: only the A100's tells two kinds apart


def metric_of(gpu: str, use_spot: bool) -> str:
    """The metric that counts a GPU, in Google's spelling, in a region: ``nvidia-h100-80gb`` by ``NVIDIA_H100_GPUS``."""
    kind = SIZE.sub("", gpu.removeprefix("nvidia-").removeprefix("tesla-")).upper().replace("-", "_")
    return f"{'PREEMPTIBLE_' if use_spot else ''}NVIDIA_{kind}_GPUS"


class Quotas:
    """What each region lets the project have. ``reach`` are the keyword arguments of Google's clients."""

    def __init__(self, project: str, reach: Mapping[str, Any]) -> None:
        self._project = project
        self._regions, self._projects = compute.RegionsClient(**reach), compute.ProjectsClient(**reach)
        self._known: dict[str, Mapping[str, float]] = {}
        self._asked_at = 0.0

    def limits(self, region: str) -> Mapping[str, float]:
        """Limits by metric.

        Raises:
            CloudError: if they cannot be had.
        """
        if not self._known or time.monotonic() > self._asked_at + KEPT_S:
            with cloud_errors("list regions"):
                found = list(self._regions.list(project=self._project, retry=RETRY, timeout=CALL_S))
            whole = self._of_the_project()
            self._known = {one.name: {quota.metric: quota.limit for quota in one.quotas} | whole for one in found}
            self._asked_at = time.monotonic()
        return self._known.get(region, {})

    def _of_the_project(self) -> dict[str, float]:
        """What all regions have together, nothing where that may not be seen."""
        try:
            with cloud_errors("get the project"):
                found = self._projects.get(project=self._project, retry=RETRY, timeout=CALL_S)
        except CloudError:
            return {}
        return {quota.metric: quota.limit for quota in found.quotas if quota.metric == EVERYWHERE}

    def refuse_none(self, region: str, gpu: str, use_spot: bool) -> None:
        """Refuse what there is a quota of none for; where that cannot be told, nothing.

        Args:
            gpu: In Google's spelling, ``nvidia-tesla-t4``.

        Raises:
            QuotaError: before anything is asked for.
        """
        metrics = [metric_of(gpu, use_spot), *(() if use_spot else (EVERYWHERE,))]
        try:
            limits = self.limits(region)
        except CloudError:
            self._known, self._asked_at = {region: {}}, time.monotonic()
            return
        for metric in metrics:
            if limits.get(metric) == 0:
                error = QuotaError(f"{region}: the quota {metric} is 0", scope="family", code="QUOTA_EXCEEDED")
                error.cure = f"ask for it: {FACTS.quotas}"
                error.elsewhere = tuple(other for other, limits in self._known.items() if limits.get(metric) == 0)
                raise error

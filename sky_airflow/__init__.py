"""Skyloom for Airflow: operators whose tasks run on the cloud where the whole DAG run is cheapest."""

from __future__ import annotations

from typing import Any

from sky_core import __version__

# Extras of our connection, and what its form calls them: what it allows, and which others log in to the clouds.
ALLOWED = {
    "clouds": "Clouds allowed, e.g. aws, gcp", "regions": "Regions allowed, e.g. eu-*, gcp/europe-*",
    "usd_per_job": "USD a job may cost", "usd_per_run": "USD a DAG run may cost",
    "usd_per_day": "USD a day that all jobs of the store may cost",
}  # fmt: skip
LOGINS = {"aws_conn_id": "AWS", "gcp_conn_id": "Google Cloud", "azure_conn_id": "Azure"}


def __getattr__(name: str) -> Any:
    """``Artifact`` (its fields may be templates) and ``load``; looked up only when used, so that imports stay cheap."""
    if name == "Artifact":
        from sky_airflow.exchange import Templated

        return Templated
    if name == "load":
        from sky_airflow.values import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def get_provider_info() -> dict[str, Any]:
    """What Airflow asks of a provider (airflow/provider_info.schema.json)."""
    return {
        "package-name": "skyloom",
        "name": "Skyloom",
        "description": "Tasks placed over AWS, GCP and Azure as one plan per DAG run.",
        "versions": [__version__],
        "integrations": [
            {
                "integration-name": "Skyloom",
                "how-to-guide": ["/docs/airflow.md"],
                "tags": ["service"],
            }
        ],
        "operators": [
            {
                "integration-name": "Skyloom",
                "python-modules": [
                    "sky_airflow.operators.sky",
                    "sky_airflow.operators.cluster",
                    "sky_airflow.operators.plan",
                    "sky_airflow.operators.gc",
                ],
            }
        ],
        "sensors": [{"integration-name": "Skyloom", "python-modules": ["sky_airflow.sensors.sky"]}],
        "hooks": [{"integration-name": "Skyloom", "python-modules": ["sky_airflow.hooks.sky"]}],
        "triggers": [
            {
                "integration-name": "Skyloom",
                "python-modules": ["sky_airflow.triggers.sky", "sky_airflow.triggers.watch"],
            }
        ],
        "connection-types": [
            {
                "connection-type": "skyloom",
                "hook-class-name": "sky_airflow.hooks.sky.SkyHook",
                "hook-name": "Skyloom",
                "ui-field-behaviour": {
                    "hidden-fields": ["schema", "port", "login"],
                    "relabeling": {"host": "Skyloom home", "password": "Store URL"},
                },
                "conn-fields": {
                    "profile": {
                        "label": "Profile (default or sandbox)",
                        "schema": {"type": ["string", "null"], "default": "default"},
                    },
                    **{
                        field: {"label": label, "schema": {"type": ["string", "null"]}}
                        for field, label in ALLOWED.items()
                    },
                    **{
                        field: {"label": f"Connection to {name}", "schema": {"type": ["string", "null"]}}
                        for field, name in LOGINS.items()
                    },
                },
            }
        ],
        "config": {
            "skyloom": {
                "description": "Skyloom, which places tasks on the clouds.",
                "options": {
                    "sky_conn_id": {
                        "description": "The skyloom connection of operators that name none. Without it the environment "
                        "counts (SKYLOOM_HOME, SKYLOOM_STORE, SKYLOOM_PROFILE, SKYLOOM_CLOUDS).",
                        "version_added": "0.1.0",
                        "type": "string",
                        "example": "skyloom_default",
                        "default": "",
                    },
                    "deferrable": {
                        "description": "Whether tasks that do not say so wait in the triggerer (true) or in their "
                        "worker's slot. AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE counts, too, where it is set.",
                        "version_added": "0.1.0",
                        "type": "boolean",
                        "example": "false",
                        "default": "true",
                    },
                },
            }
        },
        "notifications": ["sky_airflow.notifications.sky.SkyCostNotifier"],
        "extra-links": ["sky_airflow.links.sky.SkyPlanLink", "sky_airflow.links.sky.SkyJobLink"],
        "task-decorators": [{"name": "sky", "class-name": "sky_airflow.decorators.sky.sky_task"}],
    }

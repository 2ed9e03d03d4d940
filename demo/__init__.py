"""The demonstration: the example pipeline from Prefect and from Airflow, in the sandbox, with things going wrong."""

"""The schema that this version works with."""

HEAD = "0008"  # the newest revision; told here, so that a store in order is opened without importing Alembic
VERSION_TABLE = "skyloom_version"  # Airflow and Prefect have an alembic_version each

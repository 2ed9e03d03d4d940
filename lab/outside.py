"""Other people's clients of object stores, by which tests and benchmarks judge ours."""

from __future__ import annotations

import sys
from pathlib import Path

JUDGES = Path(sys.prefix) / "judges" / "bin"
"""Where ``make setup`` puts their programs: an environment of its own, for their versions are not ours."""
RCLONE = JUDGES / "rclone"
REMOTES = """
[s3]
type = s3
provider = Other
access_key_id = k
secret_access_key = s
endpoint = {url}
force_path_style = true
[gs]
type = google cloud storage
access_token = x
endpoint = {url}/storage/v1/
project_number = 1
bucket_policy_only = true
[abfs]
type = azureblob
account = sky
key = c2t5
endpoint = {url}/sky
"""
"""rclone's configuration for the sandbox's stores at ``url``."""

"""SSH keys of a home."""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor

from sky_core.clouds.userdata import public_key
from sky_core.remote import keys


def test_the_client_key_is_made_once_and_private(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        made = set(pool.map(lambda _: keys.client_key(tmp_path).read_bytes(), range(16)))
    assert len(made) == 1
    path = keys.client_key(tmp_path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["id_ed25519"]
    assert keys.client_public_key(tmp_path) == public_key(path.read_text())


def test_a_host_key_is_the_same_for_the_same_token(tmp_path):
    first = keys.host_key(tmp_path / "one", "job-1")
    assert first == keys.host_key(tmp_path / "one", "job-1")
    others = {keys.host_key(tmp_path / "one", "job-2"), keys.host_key(tmp_path / "two", "job-1")}
    assert len(others | {first}) == 3
    seed = tmp_path / "one/ssh/host_seed"
    assert seed.stat().st_mode & 0o777 == 0o600


def test_openssh_reads_the_host_key(tmp_path):
    path = tmp_path / "key"
    for number in range(3):
        path.write_text(keys.host_key(tmp_path, f"job-{number}"))
        path.chmod(0o600)
        told = subprocess.run(["ssh-keygen", "-y", "-f", str(path)], check=True, capture_output=True, text=True)
        assert told.stdout.split()[:2] == public_key(path.read_text()).split()

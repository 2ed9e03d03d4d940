"""The key of a team, and what derives from it."""

from __future__ import annotations

import hashlib
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from sky_core.clouds.userdata import public_key
from sky_core.config import Settings
from sky_core.errors import SealBroken, SpecError
from sky_core.remote import keys
from sky_core.remote.keys import TeamKey, team_key


def settings(home, **environ):
    return Settings.load({"SKYLOOM_HOME": str(home), **environ})


def test_the_key_is_made_once_and_private(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        made = set(pool.map(lambda _: team_key(settings(tmp_path)).id, range(16)))
    assert len(made) == 1
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    assert [file.name for file in tmp_path.iterdir()] == ["key"]


def test_two_homes_with_one_key_are_one_team(tmp_path):
    key = TeamKey.new()
    (tmp_path / "team.key").write_text(f"{key.text}\n")
    (tmp_path / "two").mkdir()
    (tmp_path / "two/config.toml").write_text(f'key_file = "{tmp_path / "team.key"}"\n')
    one = team_key(settings(tmp_path / "one", SKYLOOM_KEY=key.text))
    two = team_key(settings(tmp_path / "two"))
    assert (one.id, one.client_key, one.host_key("t")) == (two.id, two.client_key, two.host_key("t"))
    assert two.unseal(one.seal({"A": "ä\n"}, "job-1"), "job-1") == {"A": "ä\n"}
    assert not (tmp_path / "one/key").exists()


def test_a_seal_holds_for_one_job_and_one_key():
    key = TeamKey.new()
    sealed = key.seal({"TOKEN": "a secret value"}, "job-1")
    assert "secret" not in sealed
    assert sealed != key.seal({"TOKEN": "a secret value"}, "job-1")
    with pytest.raises(SealBroken):
        key.unseal(sealed, "job-2")
    with pytest.raises(SealBroken, match="cannot be opened with the key"):
        TeamKey.new().unseal(sealed, "job-1")


def test_a_key_is_not_printed():
    key = TeamKey.new()
    assert key.text not in f"{key!r} {key}"
    assert key.text not in repr(settings("/nowhere", SKYLOOM_KEY=key.text))


@pytest.mark.parametrize("text", ["", "c2hvcnQ=", "not base64 at all", "é"])
def test_what_is_no_key_is_refused_in_one_line(text):
    with pytest.raises(SpecError, match=r"^SKYLOOM_KEY: not a key.*openssl rand") as refused:
        TeamKey.parse(text, "SKYLOOM_KEY")
    assert text == "" or text not in str(refused.value)


def test_a_key_file_that_is_not_there_is_named(tmp_path):
    (tmp_path / "config.toml").write_text('key_file = "/nowhere/key"\n')
    with pytest.raises(SpecError, match="key_file: /nowhere/key"):
        team_key(settings(tmp_path))


def test_openssl_makes_keys():
    made = subprocess.run(["openssl", "rand", "-base64", "32"], check=True, capture_output=True, text=True).stdout
    assert TeamKey.parse(made, "file").text.replace("-", "+").replace("_", "/") == made.strip()


def test_a_host_key_is_the_same_for_the_same_token():
    one, two = TeamKey.new(), TeamKey.new()
    assert one.host_key("job-1") == one.host_key("job-1")
    assert len({one.host_key("job-1"), one.host_key("job-2"), two.host_key("job-1"), one.client_key}) == 4


def test_openssh_reads_the_host_key(tmp_path):
    path, key = tmp_path / "key", TeamKey.new()
    for number in range(3):
        path.write_text(key.host_key(f"job-{number}"))
        path.chmod(0o600)
        told = subprocess.run(["ssh-keygen", "-y", "-f", str(path)], check=True, capture_output=True, text=True)
        assert told.stdout.split()[:2] == public_key(path.read_text()).split()


class TestHomesOfAnEarlierVersion:
    """They drew a client key and a seed of their own; machines launched then bear those keys."""

    @pytest.fixture
    def home(self, tmp_path):
        client = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
        (tmp_path / "ssh").mkdir()
        (tmp_path / "ssh/id_ed25519").write_bytes(client)
        (tmp_path / "ssh/host_seed").write_bytes(hashlib.sha256(b"seed").digest())
        return tmp_path

    def test_jobs_without_a_key_id_keep_their_keys(self, home):
        older = keys.identity(settings(home), None)
        assert older.client_key == (home / "ssh/id_ed25519").read_text()
        # As the earlier version derived it: the user data of a launch under way must not change.
        then = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJSix83GUsEwf64wIHTbZDSt8yFihIshPspFRy30OY02"
        assert public_key(older.host_key("sky-1")) == then

    def test_new_jobs_bear_the_team_key(self, home):
        key = team_key(settings(home))
        assert keys.identity(settings(home), key.id).client_key == key.client_key

    def test_both_keys_are_tried_on_machines(self, home):
        assert keys.client_keys(settings(home)) == (
            team_key(settings(home)).client_key,
            (home / "ssh/id_ed25519").read_text(),
        )

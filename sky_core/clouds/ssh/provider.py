"""Machines of one's own as a cloud: a launch claims slots of hosts, an end gives them back.

Nobody but the hosts themselves knows what runs on them. Each keeps the claims on its slots (:mod:`.slots`, brought
along with every call), with the tags of whoever made them: that is what this provider finds machines by, so that no
host is booked twice, by however many drivers and stores.
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sky_core.clouds.at_once import at_once
from sky_core.clouds.base import (
    TAG_CLUSTER,
    Cloud,
    Found,
    Instance,
    LaunchRequest,
    Leftover,
    Leftovers,
    Loan,
    Reach,
    Storage,
)
from sky_core.config import CloudConfig
from sky_core.errors import (
    AuthError,
    CapacityError,
    CloudError,
    HostKeyMismatch,
    InvalidRequest,
    LinkLost,
    LoginRefused,
    MachineError,
    NotConnected,
    UnknownOutcome,
)
from sky_core.inventory import Host
from sky_core.ssh.link import Link

log = logging.getLogger(__name__)

PROGRAM = (Path(__file__).parent / "slots.py").read_bytes()
CALL_S = 30.0
RELEASE_S = 120.0  # the end of a job included
SETTLE_S = 60.0

Claim = Mapping[str, Any]


class Silent(Exception):
    """A host does not answer; the message says how."""


class Ssh:
    """The hosts of one cloud of one's own. Thread-safe; connections are kept."""

    def __init__(self, config: CloudConfig) -> None:
        self.name = config.hosts[0].cloud
        self.settle_s = SETTLE_S if config.settle_s is None else config.settle_s
        self._config = config
        self._hosts = {host.name: host for host in config.hosts}
        self._links: dict[str, Link] = {}
        self._silent_since: dict[str, float] = {}  # by host, monotonic seconds
        self._lock = threading.Lock()

    def check(self) -> None:
        """Ask every host for its claims; one that answers is enough.

        Raises:
            AuthError: if none lets us in, with the first one's reason.
        """
        answers = self._ask_all(list(self._hosts.values()))
        reasons = [answer for answer in answers.values() if isinstance(answer, str | CloudError)]
        if len(reasons) == len(answers):
            raise _as_auth_error(reasons[0])

    def launch(self, request: LaunchRequest) -> list[Instance]:
        """Claim a slot on as many hosts as the request has nodes; what was claimed in vain is given back.

        Raises:
            CapacityError: if too few slots are free.
            AuthError: if no host lets us in, or the keys of none are pinned.
            NotConnected: if no host answers.
            InvalidRequest: for what these hosts will never give: spot, an image, more nodes than there are.
            UnknownOutcome: if a claim may or may not have been made.
        """
        hosts = self._fitting(request)
        claimed: list[Instance] = []
        refusals: list[str | CloudError] = []
        left = self._in_turn(hosts, request.token)
        while left and len(claimed) < request.num_nodes:
            lacking = request.num_nodes - len(claimed)
            asked, left = left[:lacking], left[lacking:]
            for answer in at_once(lambda host: self._claim(host, request), asked):
                if isinstance(answer, Instance):
                    claimed.append(answer)
                elif answer is not None:
                    refusals.append(answer)
        if len(claimed) == request.num_nodes:
            return claimed
        self.terminate([instance.id for instance in claimed])
        raise self._refusal(request, hosts, refusals)

    def _claim(self, host: Host, request: LaunchRequest) -> Instance | str | CloudError | None:
        """A slot of a host; None if all are taken, or why that cannot be told: it is silent (a text), or it refuses."""
        try:
            answer = self._call(host, "claim", request.token, str(host.slots), json.dumps(dict(request.tags)))
        except Silent as silence:
            return str(silence)
        except CloudError as error:
            return error
        return None if answer["claim"] is None else self._instance(host, answer["claim"])

    def find(
        self, tags: Mapping[str, str], *, regions: Sequence[str] | None = None, instance_type: str | None = None
    ) -> Found:
        """The claims with these tags; a host that was silent for long counts as having none.

        Raises:
            AuthError: if no host lets us in.
        """
        hosts = [
            host
            for host in self._hosts.values()
            if (regions is None or host.region in regions) and instance_type in (None, host.instance_type)
        ]
        found: list[Instance] = []
        unreachable: dict[str, str] = {}
        answers = self._ask_all(hosts)
        for host in hosts:
            answer = answers[host.name]
            if isinstance(answer, str | CloudError):
                if not self._given_up(host):
                    unreachable[host.name] = str(answer)
                continue
            ours = (claim for claim in answer if tags.items() <= claim["tags"].items())
            found += [self._instance(host, claim) for claim in ours]
        refused = [answer for answer in answers.values() if isinstance(answer, AuthError)]
        if refused and len(refused) == len(hosts):
            raise refused[0]
        return Found(tuple(found), unreachable)

    def describe(self, ids: Sequence[str]) -> list[Instance]:
        """A machine for each id: running while its claim stands; gone without, or if its host is silent for long.

        Raises:
            UnknownOutcome: if a host does not answer, and has not for long enough to be given up.
        """
        wanted = _by_host(ids)
        answers = self._ask_all([self._hosts[name] for name in wanted if name in self._hosts])
        described = []
        for id in ids:
            name, _, token = id.rpartition("/")
            answer = answers.get(name, "it is not in catalog.toml any more")
            host = self._hosts.get(name)
            if isinstance(answer, str | CloudError):
                if host is not None and not self._given_up(host):
                    raise UnknownOutcome(f"{name}: {answer}")
                described.append(self._gone(id, host, f"{name}: {answer}"))
                continue
            assert host is not None
            claim = next((claim for claim in answer if claim["token"] == token), None)
            described.append(
                self._gone(id, host, "its slot was given back") if claim is None else self._instance(host, claim)
            )
        return described

    def terminate(self, ids: Sequence[str]) -> None:
        """End what runs under these claims, remove its files, and give the slots back.

        Raises:
            UnknownOutcome: if a host does not answer, and has not for long enough to be given up.
        """
        held = [(self._hosts[name], tokens) for name, tokens in _by_host(ids).items() if name in self._hosts]
        at_once(lambda of: self._release(*of), held)

    def _release(self, host: Host, tokens: Sequence[str]) -> None:
        try:
            for token in tokens:
                self._call(host, "release", token, timeout_s=RELEASE_S)
        except Silent as silence:
            if not self._given_up(host):
                raise UnknownOutcome(f"{host.name}: {silence}") from None
            log.warning("%s is given up; should it come back, a sweep ends what still runs there", host.name)

    def leftovers(self, tags: Mapping[str, str]) -> Leftovers:
        """None: hosts have nothing that costs money."""
        return Leftovers(())

    def remove(self, leftover: Leftover) -> None:
        """Nothing is ever listed to be removed."""

    def storage(self, region: str) -> Storage:
        """The bucket that the settings name.

        Raises:
            InvalidRequest: if they name none.
        """
        if self._config.bucket is None:
            cure = f"set bucket in [clouds.{self.name}] of config.toml"
            raise InvalidRequest(f"{self.name} has no object store of its own", scope="cloud", cure=cure)
        return Storage(self._config.bucket, region)

    def storage_options(self) -> Mapping[str, Any]:
        """None of its own: the bucket is another cloud's, and so are the options that open it."""
        return {}

    def lend(self, reaches: Sequence[Reach], machine: str) -> Loan:
        """Nothing, for the same reason."""
        return Loan({})

    # --- hosts -----------------------------------------------------------------------------------------------

    def _fitting(self, request: LaunchRequest) -> list[Host]:
        hosts = [
            host
            for host in self._hosts.values()
            if (host.instance_type, host.region) == (request.instance_type, request.region)
            and request.zone in (None, host.zone)
        ]
        if request.use_spot:
            raise InvalidRequest(f"{self.name} has no spot market")
        if request.image:
            raise InvalidRequest(f"{self.name}: image: a host runs what is installed there", scope="cloud")
        if len(hosts) < request.num_nodes:
            raise InvalidRequest(f"{self.name} has {len(hosts)} hosts {request.instance_type} in {request.region}")
        return hosts

    def _refusal(
        self, request: LaunchRequest, hosts: Sequence[Host], refusals: Sequence[str | CloudError]
    ) -> CloudError:
        """Why a claim came to nothing: taken slots count before hosts that refuse, these before silent ones."""
        errors = [refusal for refusal in refusals if isinstance(refusal, CloudError)]
        if len(refusals) < len(hosts):
            what = f"{request.instance_type} in {request.region}"
            few = f"too few slots of {what} are free: {len(refusals)} of {len(hosts)} hosts give none: "
            error: CloudError = CapacityError(few + str(refusals[0]) if refusals else f"all slots of {what} are taken")
        elif errors:
            error = errors[0]
        else:
            error = NotConnected(f"{self.name}: no host answers: {'; '.join(map(str, refusals))}")
        # A silent host may have heard us, and what it then holds is not known.
        error.settled = len(errors) == len(refusals)
        return error

    def _in_turn(self, hosts: Sequence[Host], token: str) -> list[Host]:
        """The hosts in an order of the token's own: the same each time, and different ones do not crowd the first."""
        return sorted(hosts, key=lambda host: hashlib.sha256(f"{token} {host.name}".encode()).digest())

    def _ask_all(self, hosts: Sequence[Host]) -> dict[str, list[Claim] | str | CloudError]:
        """Each host's claims by its name, or why they are not known: it is silent (a text), or it refuses."""

        def ask(host: Host) -> list[Claim] | str | CloudError:
            try:
                claims: list[Claim] = self._call(host, "list")["claims"]
                return claims
            except Silent as silence:
                return str(silence)
            except CloudError as error:
                return error

        return dict(zip((host.name for host in hosts), at_once(ask, hosts), strict=True))

    def _call(self, host: Host, *command: str, timeout_s: float = CALL_S) -> dict[str, Any]:
        """Run a command of :mod:`.slots` there.

        Raises:
            Silent: if it does not answer.
            AuthError: if it does not let us in, or is not known to be the host that is meant.
            InvalidRequest: if it cannot run the program.
        """
        try:
            output = self._link(host).run(["python3", "-", *command], PROGRAM, timeout_s)
            answer: dict[str, Any] = json.loads(output)
        except LoginRefused as error:
            cure = f"add the public key of {self._config.login_key} to its ~/.ssh/authorized_keys"
            raise AuthError(f"{host.name} does not let us in: {error}", scope="type", cure=cure) from None
        except LinkLost as error:
            with self._lock:
                self._silent_since.setdefault(host.name, time.monotonic())
            raise Silent(str(error)) from None
        except HostKeyMismatch as error:
            raise AuthError(str(error), scope="type") from None
        except (MachineError, ValueError) as error:
            raise InvalidRequest(f"{host.name} cannot keep its slots: {error}", cure="it needs Python 3.10+") from None
        with self._lock:
            self._silent_since.pop(host.name, None)
        return answer

    def _link(self, host: Host) -> Link:
        """The connection to a host.

        Raises:
            AuthError: if its key is not pinned: to believe whoever answers would hand over secrets.
        """
        machine = self._config.machine(host.name, "")
        if not machine.host_key:
            port = "" if machine.port == 22 else f"-p {machine.port} "
            raise AuthError(
                f"the host key of {host.name} is not known",
                scope="type",
                cure=f"compare what `ssh-keyscan {port}{machine.ip}` prints with the host's own, and add it to"
                f" {self._config.known_hosts}, or to host_keys in catalog.toml",
            )
        with self._lock:
            link = self._links.get(host.name)
            if link is None or link.machine != machine:
                link = self._links[host.name] = Link(machine, ())
            return link

    def _given_up(self, host: Host) -> bool:
        with self._lock:
            since = self._silent_since.get(host.name)
        return since is not None and time.monotonic() - since > self._config.lost_after_s

    def _instance(self, host: Host, claim: Claim) -> Instance:
        return Instance(
            id=f"{host.name}/{claim['token']}",
            cloud=self.name,
            region=host.region,
            zone=host.zone,
            instance_type=host.instance_type,
            use_spot=False,
            state="running",
            ip=host.name,
            private_ip=host.address,
            launched_at=claim["claimed_at"],
            tags=claim["tags"],
        )

    def _gone(self, id: str, host: Host | None, reason: str) -> Instance:
        return Instance(
            id=id,
            cloud=self.name,
            region=host.region if host else "",
            zone=host.zone if host else None,
            instance_type=host.instance_type if host else "",
            use_spot=False,
            state="gone",
            reason=reason,
            tags={TAG_CLUSTER: id.rpartition("/")[2]},
        )


def _by_host(ids: Sequence[str]) -> dict[str, list[str]]:
    """Tokens by the name of their host."""
    found: dict[str, list[str]] = defaultdict(list)
    for id in ids:
        name, _, token = id.rpartition("/")
        found[name].append(token)
    return found


def _as_auth_error(reason: str | CloudError) -> AuthError:
    return reason if isinstance(reason, AuthError) else AuthError(str(reason))


if TYPE_CHECKING:
    _keeps_the_contract: type[Cloud] = Ssh

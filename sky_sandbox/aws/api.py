"""The emulated AWS: moto behind a door that checks credentials, injects faults and keeps the audit log.

Names of calls in faults and the audit log are the API's actions, e.g. ``RunInstances``; they can be matched by
``region``, ``service``, ``zone``, ``type``, ``market``, ``token`` and ``caller``. Object storage is in ``storage``.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from sky_sandbox.accounts.quotas import aws_quotas
from sky_sandbox.accounts.refusals import Refusal, aws_refusal
from sky_sandbox.accounts.rights import aws_needs
from sky_sandbox.aws.ec2 import ACCOUNT, Ec2
from sky_sandbox.aws.iam import ANSWERED, iam_reply
from sky_sandbox.aws.refusal import AwsError
from sky_sandbox.aws.reservations import PREFERS, TARGET, TARGETS, describe
from sky_sandbox.aws.sso import Sso
from sky_sandbox.aws.sts import LENDS, TELLS, sts_reply, whoami
from sky_sandbox.images import images
from sky_sandbox.logins import Login, Logins, allows_s3
from sky_sandbox.world import CALLER, Fault, World

from sky_sandbox.aws.emr import Emr  # isort: skip
from moto.ec2.models import ec2_backends  # isort: skip - after ec2, which tells moto not to load 1,300 AMIs a region
from moto.ec2.models.amis import Ami  # isort: skip
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app  # isort: skip
from moto.ssm.models import Parameter, ssm_backends  # isort: skip

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

ACCESS_KEY = "AKIASKYLOOMSANDBOX00"
SECRET_KEY = "skyloom-sandbox-secret"  # noqa: S105 - a throw-away of the sandbox, known to everybody

BEARER = "sandbox.bearer"  # the token of IAM Identity Center that a request shows
AUDITED = re.compile(r"^(Run|Terminate|Stop|Start|Create|Delete|Request|Cancel|Import|Authorize)[A-Z]")
SIGNATURE = re.compile(r"Credential=(?P<key>[^/]+)/[^/]+/(?P<region>[^/]+)/(?P<service>[^/]+)/")
ERROR_CODE = re.compile(rb"<Code>([^<]+)</Code>")
INSTANCE_ID = re.compile(rb"<instanceId>(i-[0-9a-f]+)</instanceId>")
ABOUT = {
    "zone": "Placement.AvailabilityZone",
    "type": "InstanceType",
    "token": "ClientToken",
    "count": "MinCount",
    "reservation": TARGETS,
}


class RequestHandler(MotoRequestHandler):
    """For the server that runs :class:`Aws`: hands on the header that werkzeug leaves out for its underscores."""

    def make_environ(self) -> WSGIEnvironment:
        return {**super().make_environ(), BEARER: self.headers.get("x-amz-sso_bearer_token", "")}


@dataclass(frozen=True)
class Call:
    """One API call as it came in; ``parameters`` of the query protocol (EC2, STS), empty for others."""

    key: str
    region: str
    service: str
    action: str
    parameters: dict[str, str]

    @classmethod
    def read(cls, environ: WSGIEnvironment) -> Call:
        """Read a request and leave its body to be read again."""
        signature = SIGNATURE.search(environ.get("HTTP_AUTHORIZATION", ""))
        signed = signature.groupdict() if signature else {"key": "", "region": "us-east-1", "service": ""}
        parameters: dict[str, str] = {}
        if environ.get("CONTENT_TYPE", "").startswith("application/x-www-form-urlencoded"):
            body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            environ["wsgi.input"] = io.BytesIO(body)
            parameters = dict(parse_qsl(body.decode()))
        action = parameters.get("Action") or environ.get("HTTP_X_AMZ_TARGET", "").rpartition(".")[2]
        return cls(**signed, action=action, parameters=parameters)

    def about(self) -> dict[str, str]:
        """What faults are matched against and the audit log tells."""
        values = {name: self.parameters[parameter] for name, parameter in ABOUT.items() if parameter in self.parameters}
        if self.action == "RunInstances":
            values["market"] = self.parameters.get("InstanceMarketOptions.MarketType", "on-demand")
        return {"region": self.region, "service": self.service, **values}


@dataclass
class Answer:
    """A response that is not sent yet."""

    status: str
    headers: list[tuple[str, str]]
    body: bytes

    @classmethod
    def of(cls, app: Any, environ: WSGIEnvironment) -> Answer:
        """The whole response of a WSGI application."""
        started: list[Any] = []
        body = b"".join(app(environ, lambda status, headers, error=None: started.extend((status, headers))))
        return cls(started[0], started[1], body)

    @property
    def outcome(self) -> str:
        """``ok``, or the code of the error."""
        if self.status.startswith("2"):
            return "ok"
        code = ERROR_CODE.search(self.body)
        return code[1].decode() if code else self.status


class Aws:
    """AWS over a world, as a WSGI application. One per process, since moto keeps its state in globals."""

    def __init__(self, world: World, logins: Logins | None = None) -> None:
        self.world = world
        self.logins = logins or Logins()
        self.sso = Sso(self.logins)
        self.ec2 = Ec2(world)
        self.emr = Emr(world)
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._stocked: set[str] = set()  # regions that have their images

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        call = Call.read(environ)
        CALLER.set(call.key)
        answer = self._answer(call, environ)
        if AUDITED.match(call.action):
            ids = [found.decode() for found in INSTANCE_ID.findall(answer.body)]
            self.world.record("api", cloud="aws", action=call.action, outcome=answer.outcome, ids=ids, **call.about())
        start_response(answer.status, answer.headers)
        return [answer.body]

    def _answer(self, call: Call, environ: WSGIEnvironment) -> Answer:
        if self.sso.knows(path := environ.get("PATH_INFO", "")):
            status, body = self.sso.answer(path, environ.get("QUERY_STRING", ""), environ.get(BEARER, ""))
            return Answer(status, [("Content-Type", "application/json")], body)
        caller = self._caller(call, environ.get("HTTP_X_AMZ_SECURITY_TOKEN", ""))
        if isinstance(caller, Fault):
            return _injected(caller, call, environ)
        if refusal := self._refused_to_account(call):
            return _injected(Fault("aws", call.action, "error", refusal[0], message=refusal[1]), call, environ)
        fault = self.world.fault("aws", call.action, **call.about())
        if fault and fault.kind == "slow":
            time.sleep(fault.seconds)
        if fault and fault.kind == "error":
            return _injected(fault, call, environ)
        if (call.service == "sts" and call.action in LENDS) or call.action in ANSWERED:
            try:
                if call.service == "sts":
                    told = sts_reply(call.action, call.parameters, self.logins, caller)
                else:
                    told = iam_reply(call.action, call.parameters, self.world.account)
            except AwsError as error:
                return Answer.of(error, environ)
            return Answer("200 OK", [("Content-Type", "text/xml")], told)
        if (about := self._of_reservations(call, environ)) is not None:
            return about
        if call.action == TELLS and caller is not None:
            return Answer("200 OK", [("Content-Type", "text/xml")], whoami(caller))
        if call.service == "servicequotas":
            quotas = json.dumps(aws_quotas(self.world.account, call.region)).encode()
            return Answer("200 OK", [("Content-Type", "application/x-amz-json-1.1")], quotas)
        self._stock(call.region)
        self.ec2.refresh()
        self.emr.refresh()
        if call.action == "DescribeVpcs":
            self._keep_default_network(call.region)
        answer = Answer.of(self._moto, environ)
        if call.action.endswith("Ingress"):
            self.world.mind_the_gates()
        if fault and fault.kind == "lost":
            return _injected(fault, call, environ)
        return answer

    def _of_reservations(self, call: Call, environ: WSGIEnvironment) -> Answer | None:
        """What is said of reservations without moto, which knows none; a launch's is noted for what then asks."""
        TARGET.set(call.parameters.get(TARGETS, ""))
        if call.action == "DescribeCapacityReservations":
            try:
                told = describe(self.world, call.region, call.parameters)
                return Answer("200 OK", [("Content-Type", "text/xml")], told)
            except AwsError as error:
                return Answer.of(error, environ)
        if TARGETS in call.parameters and PREFERS in call.parameters:
            both = "The request can include either a CapacityReservationId or a CapacityReservationPreference"
            return Answer.of(AwsError("InvalidParameterCombination", f"{both} but not both."), environ)
        return None

    def _caller(self, call: Call, token: str) -> Login | Fault | None:
        """The session that a call is signed by, None for one's own keys, or as what AWS refuses others."""
        if call.key.startswith(ACCESS_KEY) and self.world.account.access_keys:
            return None
        login = self.logins.find(call.key)
        if login == "expired":
            code = {"ec2": "RequestExpired", "sts": "ExpiredToken"}.get(call.service, "ExpiredTokenException")
            return Fault(
                "aws", call.action, "error", code, message="The security token included in the request is expired"
            )
        if not isinstance(login, Login) or login.secret != token:
            why = "AWS was not able to validate the provided access credentials"
            return Fault("aws", call.action, "error", "AuthFailure", message=why)
        if call.action != TELLS and not allows_s3(login, f"{call.service}:{call.action}", "*"):
            why = f"no session policy allows the {call.service}:{call.action} action"
            return Fault("aws", call.action, "error", "UnauthorizedOperation", message=why)
        return login

    def _keep_default_network(self, region: str) -> None:
        """Let the region's own VPC be its default one, or not, as the account has it."""
        for vpc in ec2_backends[ACCOUNT][region].vpcs.values():
            if vpc.cidr_block == "172.31.0.0/16":
                vpc.is_default = self.world.account.default_network

    def _refused_to_account(self, call: Call) -> Refusal | None:
        market = call.parameters.get("InstanceMarketOptions.MarketType", "")
        names_subnet = any(name.endswith("SubnetId") for name in call.parameters)
        needs = aws_needs(call.service, call.action, call.parameters)
        return aws_refusal(self.world.account, call.service, call.region, call.action, market, names_subnet, needs)

    def _stock(self, region: str) -> None:
        """Publish the region's images, the first time it is used."""
        with self.ec2.lock:
            if region in self._stocked or region not in ec2_backends[ACCOUNT]:
                return
            self._stocked.add(region)
            ec2, ssm = ec2_backends[ACCOUNT][region], ssm_backends[ACCOUNT][region]
            for name, documented in images("aws").items():
                image = f"ami-{hashlib.sha256(f'{region}{name}'.encode()).hexdigest()[:17]}"
                ec2.amis[image] = Ami(
                    ec2,
                    image,
                    name=name.strip("/"),
                    owner_alias="amazon",
                    public=True,
                    virtualization_type="hvm",
                    architecture=documented.arch,
                    root_device_type="ebs",
                    region_name=f"{region}a",
                )
                ssm._parameters[name].append(_parameter(name, image))


def _parameter(name: str, value: str) -> Parameter:
    return Parameter(  # type: ignore[abstract]  # moto itself makes them so
        account_id=ACCOUNT,
        name=name,
        value=value,
        parameter_type="String",
        description="",
        allowed_pattern=None,
        keyid=None,
        last_modified_date=datetime.now(UTC),
        version=1,
        data_type="aws:ec2:image",
    )


def _injected(fault: Fault, call: Call, environ: WSGIEnvironment) -> Answer:
    """The fault in the form of the service that is called: XML of the query protocol, or JSON."""
    code, message = fault.code or "InternalError", fault.message or "injected by the sandbox"
    if call.parameters or call.service == "s3":
        return Answer.of(AwsError(code, message), environ)
    body = json.dumps({"__type": code, "message": message}).encode()
    return Answer("400 Bad Request", [("Content-Type", "application/x-amz-json-1.1")], body)

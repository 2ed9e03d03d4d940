"""Amazon Web Services."""

from __future__ import annotations

import re
from datetime import date

from sky_core.facts.base import CloudFacts, CpuMaker, Credentials
from sky_core.facts.managed import EMR
from sky_core.facts.reserved import Reservations

# "Amazon EC2 instance type naming conventions"
TYPE = re.compile(r"^(?P<series>[a-z]+?)(?P<generation>\d+)(?P<options>[a-z]*)(-[a-z0-9]+)?\.")
AMD_ACCELERATED = {"g4ad", "g5", "g6", "g6e", "g6f", "gr6", "gr6f", "p5", "inf2"}


def cpu_maker(instance_type: str) -> CpuMaker | None:
    match = TYPE.match(instance_type)
    if match is None:
        return None
    family = match["series"] + match["generation"] + match["options"]
    if "g" in match["options"] or family == "a1":
        return "arm"
    return "amd" if "a" in match["options"] or family in AMD_ACCELERATED else "intel"


FACTS = CloudFacts(
    name="aws",
    one_network=True,
    provider="sky_core.clouds.aws.provider:Aws",
    also_called=("amazon", "amazonaws", "ec2"),
    on_machine="sky_core.remote.agent.host.clouds.aws",
    sdk=("boto3", "s3fs"),
    extra="aws",
    embedded_spot=date(2025, 6, 28),
    schemes={"s3": "s3"},
    filesystem="s3fs",
    default_region="us-east-1",
    credentials=Credentials(
        variables=(
            "AWS_ACCESS_KEY_ID",
            "AWS_PROFILE",
            "AWS_WEB_IDENTITY_TOKEN_FILE",
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        ),
        files=(".aws/credentials", ".aws/config"),
        sessions=(".aws/sso/cache/*.json", ".aws/login/cache/*.json"),  # aws sso login, aws login
    ),
    quotas="https://console.aws.amazon.com/servicequotas/home/services/ec2/quotas",
    audit="sky_core.clouds.aws.account.audit:audit",
    prices="sky_core.catalog.refresh.sources.aws:source",
    zone=re.compile(r"^(.+-\d+)[a-z]$"),
    billed_gb_bytes=2**30,  # S3 FAQ
    gbit_out=5.0,  # a cap of the cloud's: Skyplane, NSDI'23, section 2
    least_billed_s=lambda _: 60.0,  # EC2 On-Demand price page, "Per Second Billing"; Linux, Ubuntu among others
    cpu_maker=cpu_maker,
    managed=(EMR,),
    # On-Demand Capacity Reservations and Capacity Blocks for ML have ids of one form.
    reservations=Reservations(
        called="Capacity Reservation",
        name=re.compile(r"^cr-[0-9a-f]{8}([0-9a-f]{9})?$"),
        example="cr-0123456789abcdef0",
        zonal=True,
        held="sky_core.clouds.aws.account.reservations:held",
    ),
)

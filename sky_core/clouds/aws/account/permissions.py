"""What the principal that drives needs on AWS: IAM's name of each call that is made, and what it is made for.

https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html
"""

from __future__ import annotations

from sky_core.clouds.needs import Need

NEEDS = (
    Need(
        "launching and ending machines",
        (
            "ssm:GetParameter",
            "ec2:DescribeImages",
            "ec2:DescribeVpcs",
            "ec2:DescribeSecurityGroups",
            "ec2:CreateSecurityGroup",
            "ec2:AuthorizeSecurityGroupIngress",
            "ec2:CreateTags",
            "ec2:RunInstances",
            "ec2:DescribeInstances",
            "ec2:TerminateInstances",
        ),
    ),
    Need("following this machine's address", ("ec2:RevokeSecurityGroupIngress",)),
    Need(
        "sweeping",
        (
            "ec2:DescribeRegions",
            "ec2:DescribeVolumes",
            "ec2:DescribeNetworkInterfaces",
            "ec2:DeleteVolume",
            "ec2:DeleteNetworkInterface",
            "ec2:DeleteSecurityGroup",
            "s3:ListAllMyBuckets",
        ),
    ),
    Need(
        "buckets, and what machines are lent of them: no more than this login has",
        (
            "s3:CreateBucket",
            "s3:ListBucket",
            "s3:GetObject",
            "s3:PutObject",
            "s3:DeleteObject",
            "s3:AbortMultipartUpload",
            "s3:ListMultipartUploadParts",
        ),
    ),
    Need("lending machines credentials, as an IAM user", ("sts:GetFederationToken",), "user"),
    Need("lending machines credentials, as a role or by SSO", ("sts:AssumeRole", "iam:GetRole"), "role"),
    Need("machines with an instance profile (machine_identity)", ("iam:PassRole",), "identity"),
    Need("quotas before launching", ("servicequotas:ListServiceQuotas",), "optional"),
    Need("reserved machines", ("ec2:DescribeCapacityReservations",), "optional"),
    Need("a subnet of one's own", ("ec2:DescribeSubnets",), "optional"),
    Need(
        "managed Spark on EMR, with the roles of `aws emr create-default-roles`",
        (
            "elasticmapreduce:RunJobFlow",
            "elasticmapreduce:AddTags",
            "elasticmapreduce:ListClusters",
            "elasticmapreduce:DescribeCluster",
            "elasticmapreduce:ListInstances",
            "elasticmapreduce:TerminateJobFlows",
            "iam:PassRole",
        ),
        "optional",
    ),
    Need("the first use of spot", ("iam:CreateServiceLinkedRole",), "optional"),
    Need("skyloom check --deep", ("iam:SimulatePrincipalPolicy",), "optional"),
)

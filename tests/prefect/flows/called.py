"""A flow that is called, and takes longer than its caller has patience."""

import time

from prefect import flow

from sky_prefect import sky


@sky(work_pool="left", cloud="aws", region="us-east-1", instance_type="t3.small", hours=0.1, environment=None)
@flow
def long():
    time.sleep(600)


if __name__ == "__main__":
    long()

"""The sandbox's object store through s3fs, gcsfs, adlfs, boto3 and azure-storage-blob."""

from __future__ import annotations

import hashlib
import os
import random
from concurrent.futures import ThreadPoolExecutor

import fsspec
import pytest

from sky_sandbox.storage import app
from sky_sandbox.storage.objects import Objects
from tests.sandbox.loopback import serve, store_options

os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")


def filesystem(service, endpoint):
    options = store_options(endpoint)[service]
    return fsspec.filesystem(service, **options, use_listings_cache=False, skip_instance_cache=True)


@pytest.fixture(params=["s3", "gs", "abfs"])
def fs(request, endpoint):
    return filesystem(request.param, endpoint)


@pytest.fixture
def bucket(fs, request):
    name = "b-" + hashlib.sha256(request.node.name.encode()).hexdigest()[:20]
    fs.mkdir(name)
    return name


class TestFilesystems:
    def test_writes_and_reads_whole_and_by_range(self, fs, bucket):
        fs.pipe_file(f"{bucket}/a", b"0123456789")
        assert fs.cat_file(f"{bucket}/a") == b"0123456789"
        assert fs.cat_file(f"{bucket}/a", start=2, end=5) == b"234"
        if "abfs" not in fs.protocol:  # adlfs cannot ask for the end of a blob
            assert fs.cat_file(f"{bucket}/a", start=-3) == b"789"
        assert fs.info(f"{bucket}/a")["size"] == 10

    def test_empty_file(self, fs, bucket):
        fs.pipe_file(f"{bucket}/empty", b"")
        assert fs.cat_file(f"{bucket}/empty") == b""

    def test_large_file_in_parts(self, fs, bucket, tmp_path):
        data = random.Random(1).randbytes(23_000_001)
        (tmp_path / "large").write_bytes(data)
        fs.put_file(str(tmp_path / "large"), f"{bucket}/large")
        with fs.open(f"{bucket}/streamed", "wb", block_size=5 << 20) as file:
            for start in range(0, len(data), 3_000_000):
                file.write(data[start : start + 3_000_000])
        fs.get_file(f"{bucket}/large", str(tmp_path / "back"))
        assert (tmp_path / "back").read_bytes() == data
        with fs.open(f"{bucket}/streamed", "rb") as file:
            assert hashlib.sha256(file.read()).digest() == hashlib.sha256(data).digest()

    def test_lists_prefixes_and_pages(self, fs, bucket):
        names = [f"{bucket}/d/{i % 3}/{i:04}" for i in range(30)] + [f"{bucket}/d.txt", f"{bucket}/e é+&<>'.txt"]
        fs.pipe({name: name.encode() for name in names})
        assert sorted(fs.find(bucket)) == sorted(names)
        assert sorted(path.rstrip("/") for path in fs.ls(f"{bucket}/d", detail=False)) == [
            f"{bucket}/d/{i}" for i in range(3)
        ]
        assert len(fs.ls(f"{bucket}/d/1", detail=False)) == 10
        assert fs.isdir(f"{bucket}/d")
        assert not fs.exists(f"{bucket}/x")
        assert fs.cat_file(names[-1]) == names[-1].encode()

    def test_copies_and_deletes(self, fs, bucket):
        fs.pipe({f"{bucket}/x/{i}": b"x" for i in range(5)})
        fs.copy(f"{bucket}/x/1", f"{bucket}/y")
        assert fs.cat_file(f"{bucket}/y") == b"x"
        fs.rm_file(f"{bucket}/y")
        assert not fs.exists(f"{bucket}/y")
        fs.rm(f"{bucket}/x", recursive=True)
        assert fs.find(bucket) == []

    def test_missing_object_and_bucket(self, fs, bucket):
        for path in (f"{bucket}/nothing", "no-such-bucket-here/x"):
            with pytest.raises(FileNotFoundError):
                fs.cat_file(path)

    def test_overwrite_is_atomic_for_readers(self, fs, bucket):
        versions = [bytes([i]) * 200_000 for i in range(20)]  # 10 and 13 are line ends, a trap
        fs.pipe_file(f"{bucket}/v", versions[0])
        with ThreadPoolExecutor(2) as pool:
            writer = pool.submit(lambda: [fs.pipe_file(f"{bucket}/v", version) for version in versions])
            seen = []
            while not writer.done():
                seen.append(fs.cat_file(f"{bucket}/v"))
        assert all(data in versions for data in seen)


class TestConditionalCreate:
    def test_s3(self, endpoint):
        import boto3
        from botocore.exceptions import ClientError

        client = s3_client(boto3, endpoint)
        client.create_bucket(Bucket="once")
        client.put_object(Bucket="once", Key="k", Body=b"first", IfNoneMatch="*")
        with pytest.raises(ClientError, match="PreconditionFailed"):
            client.put_object(Bucket="once", Key="k", Body=b"second", IfNoneMatch="*")
        assert client.get_object(Bucket="once", Key="k")["Body"].read() == b"first"

    def test_gcs(self, endpoint):
        fs = filesystem("gs", endpoint)
        fs.mkdir("once")
        fs.pipe_file("once/k", b"first", mode="create")
        with pytest.raises(FileExistsError):
            fs.pipe_file("once/k", b"second", mode="create")
        assert fs.cat_file("once/k") == b"first"

    def test_azure(self, endpoint):
        from azure.core.exceptions import ResourceExistsError
        from azure.storage.blob import BlobServiceClient

        account = store_options(endpoint)["abfs"]["connection_string"]
        container = BlobServiceClient.from_connection_string(account).create_container("once")
        container.upload_blob("k", b"first", overwrite=False)
        with pytest.raises(ResourceExistsError):
            container.upload_blob("k", b"second", overwrite=False)
        assert container.download_blob("k").readall() == b"first"


def s3_client(boto3, endpoint):
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id="k",
        aws_secret_access_key="s",
        region_name="us-east-1",
    )


class TestS3:
    def test_multipart_copy_and_resumed_upload(self, endpoint):
        import boto3

        client = s3_client(boto3, endpoint)
        client.create_bucket(Bucket="parts", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
        assert client.get_bucket_location(Bucket="parts")["LocationConstraint"] == "eu-west-1"
        data = random.Random(2).randbytes(12 << 20)
        upload = client.create_multipart_upload(Bucket="parts", Key="k")["UploadId"]
        client.upload_part(Bucket="parts", Key="k", UploadId=upload, PartNumber=1, Body=data[: 6 << 20])
        assert [u["UploadId"] for u in client.list_multipart_uploads(Bucket="parts")["Uploads"]] == [upload]
        sent = client.list_parts(Bucket="parts", Key="k", UploadId=upload)["Parts"]
        assert [(part["PartNumber"], part["Size"]) for part in sent] == [(1, 6 << 20)]
        second = client.upload_part(Bucket="parts", Key="k", UploadId=upload, PartNumber=2, Body=data[6 << 20 :])
        parts = [{"PartNumber": n, "ETag": tag} for n, tag in ((1, sent[0]["ETag"]), (2, second["ETag"]))]
        client.complete_multipart_upload(Bucket="parts", Key="k", UploadId=upload, MultipartUpload={"Parts": parts})
        client.copy({"Bucket": "parts", "Key": "k"}, "parts", "copy")
        assert client.get_object(Bucket="parts", Key="copy")["Body"].read() == data

    def test_pages_of_a_long_listing(self, endpoint):
        import boto3

        client = s3_client(boto3, endpoint)
        client.create_bucket(Bucket="pages")
        names = [f"{i % 7}/{i:03}" for i in range(50)]
        for name in names:
            client.put_object(Bucket="pages", Key=name, Body=b"")
        for version in ("list_objects", "list_objects_v2"):
            pages = client.get_paginator(version).paginate(Bucket="pages", PaginationConfig={"PageSize": 9})
            assert [o["Key"] for page in pages for o in page["Contents"]] == sorted(names)
            pages = client.get_paginator(version).paginate(
                Bucket="pages", Delimiter="/", PaginationConfig={"PageSize": 3}
            )
            found = [p["Prefix"] for page in pages for p in page.get("CommonPrefixes", [])]
            assert found == [f"{i}/" for i in range(7)]


def test_survives_a_restart(tmp_path):
    for content in (b"", b"kept"):
        with serve(app(tmp_path)) as url:
            fs = filesystem("s3", url)
            if content == b"":
                fs.mkdir("bucket")
                fs.pipe_file("bucket/k", b"kept")
            else:
                assert fs.cat_file("bucket/k") == content


def test_no_body_is_left_behind(tmp_path):
    with serve(app(tmp_path)) as url:
        fs = filesystem("s3", url)
        fs.mkdir("bucket")
        for i in range(5):
            fs.pipe_file("bucket/k", b"x" * i)
        fs.rm_file("bucket/k")
    assert list((tmp_path / "bodies").iterdir()) == []
    assert not Objects(tmp_path).list("s3", "bucket")

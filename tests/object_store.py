"""An object store on this machine, for what reads shards over s3: moto's server."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def storing(folder: Path, bucket: str) -> Iterator[dict[str, str]]:
    """Put a folder's files into a bucket while the block lasts; gives the environment in which s3fs finds them."""
    pytest.importorskip("s3fs", reason="s3fs is not installed")
    moto = pytest.importorskip("moto.server", reason="moto is not installed")
    import boto3

    server = moto.ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    try:
        endpoint = "http://{}:{}".format(*server.get_host_and_port())
        keys = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing", "region_name": "us-east-1"}
        store = boto3.resource("s3", endpoint_url=endpoint, **keys).create_bucket(Bucket=bucket)
        for path in filter(Path.is_file, folder.rglob("*")):
            store.upload_file(str(path), str(path.relative_to(folder)).replace(os.sep, "/"))
        yield {
            "AWS_ENDPOINT_URL": endpoint, "AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": "us-east-1",
        }  # fmt: skip
    finally:
        server.stop()

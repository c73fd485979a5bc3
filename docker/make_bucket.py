"""Make an S3 bucket if it is not there yet; keys and address come from the environment."""

import sys

import boto3

store, name = boto3.client("s3"), sys.argv[1]
if name not in {bucket["Name"] for bucket in store.list_buckets()["Buckets"]}:
    store.create_bucket(Bucket=name)

"""The platform's S3 with boto3: the environment is that of `macula env`, and S3_DOMAIN."""

import hashlib
import os
import socket
import sys
import urllib.error
import urllib.parse
import urllib.request

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.client import Config
from botocore.exceptions import ClientError

ENDPOINT = os.environ["AWS_ENDPOINT_URL"]
DOMAIN = os.environ["S3_DOMAIN"]
ADDRESS, PORT = urllib.parse.urlsplit(ENDPOINT).hostname, urllib.parse.urlsplit(ENDPOINT).port
BUCKET = "client-check"
OWNER = os.environ["AWS_ACCESS_KEY_ID"]

# Names below the domain are the server's own address here: the test starts no resolver.
system = socket.getaddrinfo
socket.getaddrinfo = lambda host, *rest, **more: system(ADDRESS if str(host).endswith(DOMAIN) else host, *rest, **more)


def client(endpoint=ENDPOINT, style="path", **keys):
    # the version by name: signed addresses would be of the second for this region
    settings = Config(signature_version="s3v4", s3={"addressing_style": style}, retries={"max_attempts": 1})
    return boto3.client("s3", endpoint_url=endpoint, config=settings, **keys)


def refused(what, code, call, *args, **more):
    try:
        call(*args, **more)
    except ClientError as error:
        assert error.response["Error"]["Code"] == code, f"{what}: {error}"
    else:
        sys.exit(f"{what}: it was let through")


def names(answer):
    return [row["Key"] for row in answer.get("Contents", [])], [row["Prefix"] for row in answer.get("CommonPrefixes", [])]


s3 = client()
present = [row["Name"] for row in s3.list_buckets()["Buckets"]]
assert {"backups", "loki", "tempo"} <= set(present), present
s3.create_bucket(Bucket=BUCKET)

# put, get, head, a missing one, a name that needs escaping
s3.put_object(Bucket=BUCKET, Key="a/one.txt", Body=b"one", ContentType="text/plain", Metadata={"colour": "blue"})
got = s3.get_object(Bucket=BUCKET, Key="a/one.txt")
assert got["Body"].read() == b"one" and got["ContentType"] == "text/plain" and got["Metadata"] == {"colour": "blue"}, got
assert got["ETag"] == f'"{hashlib.md5(b"one").hexdigest()}"', got["ETag"]
assert s3.get_object(Bucket=BUCKET, Key="a/one.txt", Range="bytes=1-")["Body"].read() == b"ne"
refused("a missing key", "NoSuchKey", s3.get_object, Bucket=BUCKET, Key="a/none")
refused("a missing bucket", "NoSuchBucket", s3.put_object, Bucket="never-made", Key="x", Body=b"")
odd = "a/ä b+c&d.txt"
s3.put_object(Bucket=BUCKET, Key=odd, Body=b"odd")
assert s3.get_object(Bucket=BUCKET, Key=odd)["Body"].read() == b"odd"
s3.put_object(Bucket=BUCKET, Key="top.txt", Body=b"top")

# a key is a name and no path: these differ, and none of them leads anywhere
strange = ["../backups/x", "a//b", "a/./b", "b/", "b", "/lead", "k" * 1024, "dir/" + "n" * 300, "\u65e5\u672c/\u00fc", "q?x#y;z&=+%20"]
for key in strange:
    s3.put_object(Bucket=BUCKET, Key=key, Body=key.encode())
for key in strange:
    assert s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() == key.encode(), key
    url = s3.generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": key}, ExpiresIn=60)
    assert urllib.request.urlopen(url).read() == key.encode(), key
assert {row["Key"] for row in s3.list_objects_v2(Bucket=BUCKET)["Contents"]} >= set(strange)
copied = {"Bucket": BUCKET, "Key": "../backups/x"}
s3.copy_object(Bucket=BUCKET, Key="copied", CopySource=copied)
assert s3.get_object(Bucket=BUCKET, Key="copied")["Body"].read() == b"../backups/x"
gone = s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": key} for key in [*strange, "copied"]]})
assert len(gone["Deleted"]) == len(strange) + 1, gone

# the frame of an upload is not kept as the object's encoding
s3.put_object(Bucket=BUCKET, Key="encoded", Body=b"x", ContentEncoding="gzip", ChecksumAlgorithm="SHA256")
assert s3.head_object(Bucket=BUCKET, Key="encoded")["ContentEncoding"] == "gzip"
s3.delete_object(Bucket=BUCKET, Key="encoded")

# a page of another origin asks first
asking = {"Origin": "https://shop.test", "Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "content-type"}
signed = s3.generate_presigned_url("put_object", Params={"Bucket": BUCKET, "Key": "page"}, ExpiresIn=60)
with urllib.request.urlopen(urllib.request.Request(signed, headers=asking, method="OPTIONS")) as answer:
    assert answer.headers["Access-Control-Allow-Origin"] in ("*", "https://shop.test"), answer.headers

# lists: all, by delimiter, by an empty delimiter (which is none), in pages
for listing in (s3.list_objects_v2, s3.list_objects):
    assert names(listing(Bucket=BUCKET)) == (["a/one.txt", odd, "top.txt"], []), listing(Bucket=BUCKET)
    assert names(listing(Bucket=BUCKET, Delimiter="/")) == (["top.txt"], ["a/"])
    assert names(listing(Bucket=BUCKET, Delimiter="")) == (["a/one.txt", odd, "top.txt"], [])
    assert names(listing(Bucket=BUCKET, Prefix="a/", Delimiter="/")) == (["a/one.txt", odd], [])
pages = s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, PaginationConfig={"PageSize": 1})
assert [row["Key"] for page in pages for row in page["Contents"]] == ["a/one.txt", odd, "top.txt"]

# 100 MiB in parts of 8
block = bytes(range(256)) * 4096
path = os.path.join(os.path.dirname(sys.executable), "large")
with open(path, "wb") as file:
    for number in range(100):
        file.write(number.to_bytes(4, "big") + block[4:])
digest = hashlib.sha256(open(path, "rb").read()).hexdigest()
s3.upload_file(path, BUCKET, "large", Config=TransferConfig(multipart_threshold=8 << 20, multipart_chunksize=8 << 20))
head = s3.head_object(Bucket=BUCKET, Key="large")
assert head["ContentLength"] == 100 << 20 and head["ETag"].endswith('-13"'), head
s3.download_file(BUCKET, "large", path)
assert hashlib.sha256(open(path, "rb").read()).hexdigest() == digest

# signed addresses, with a client that knows nothing of S3
url = s3.generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": odd}, ExpiresIn=60)
assert urllib.request.urlopen(url).read() == b"odd"
put = s3.generate_presigned_url("put_object", Params={"Bucket": BUCKET, "Key": "signed"}, ExpiresIn=60)
urllib.request.urlopen(urllib.request.Request(put, data=b"signed", method="PUT"))
assert s3.get_object(Bucket=BUCKET, Key="signed")["Body"].read() == b"signed"
forged = client(aws_access_key_id=OWNER, aws_secret_access_key="wrong").generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": odd})
for wrong in (url.split("?")[0], forged, url.replace("Expires=60", "Expires=600")):
    try:
        urllib.request.urlopen(wrong)
        sys.exit(f"{wrong} is let through")
    except urllib.error.HTTPError as error:
        assert error.code == 403, error

# who may what
refused("a wrong secret", "SignatureDoesNotMatch", client(aws_access_key_id=OWNER, aws_secret_access_key="wrong").list_buckets)
refused("an unknown key", "InvalidAccessKeyId", client(aws_access_key_id="nobody", aws_secret_access_key="wrong").list_buckets)

backups = client(aws_access_key_id="backups", aws_secret_access_key=os.environ["S3_BACKUPS_SECRET"])
backups.put_object(Bucket="backups", Key="mine", Body=b"mine")
backups.delete_object(Bucket="backups", Key="mine")
refused("the bucket of others", "AccessDenied", backups.get_object, Bucket=BUCKET, Key="top.txt")
refused("the list of all buckets", "AccessDenied", backups.list_buckets)
s3.put_object(Bucket=BUCKET, Key="x", Body=b"secret")
for key in (f"../{BUCKET}/x", f"..//{BUCKET}/x", f"./../{BUCKET}/x"):
    refused(f"{key} as a way out", "NoSuchKey", backups.get_object, Bucket="backups", Key=key)
    backups.put_object(Bucket="backups", Key=key, Body=b"evil")
    backups.delete_object(Bucket="backups", Key=key)
refused("a copy from others", "AccessDenied", backups.copy_object, Bucket="backups", Key="x", CopySource={"Bucket": BUCKET, "Key": "x"})
refused("a copy to others", "AccessDenied", backups.copy_object, Bucket=BUCKET, Key="y", CopySource={"Bucket": "backups", "Key": "x"})
refused("an upload in parts to others", "AccessDenied", backups.create_multipart_upload, Bucket=BUCKET, Key="x")
refused("the objects of others", "AccessDenied", backups.list_objects_v2, Bucket=BUCKET, Prefix="x")
refused("deleting what is others'", "AccessDenied", backups.delete_objects, Bucket=BUCKET, Delete={"Objects": [{"Key": "x"}]})
assert s3.get_object(Bucket=BUCKET, Key="x")["Body"].read() == b"secret"
s3.delete_object(Bucket=BUCKET, Key="x")

# the bucket in the name of the host
virtual = client(f"http://{DOMAIN}:{PORT}", "virtual")
assert virtual.get_object(Bucket=BUCKET, Key=odd)["Body"].read() == b"odd"
assert names(virtual.list_objects_v2(Bucket=BUCKET, Delimiter="/")) == (["large", "signed", "top.txt"], ["a/"])
assert f"//{BUCKET}.{DOMAIN}" in virtual.generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": odd})

# and away with it
refused("a bucket that is not empty", "BucketNotEmpty", s3.delete_bucket, Bucket=BUCKET)
rows = [{"Key": row["Key"]} for row in s3.list_objects_v2(Bucket=BUCKET)["Contents"]]
assert len(s3.delete_objects(Bucket=BUCKET, Delete={"Objects": rows})["Deleted"]) == len(rows)
s3.delete_bucket(Bucket=BUCKET)
print("all of it")

"""Proves the fake of Google Cloud Storage with clients that nobody of this project wrote.

Usage: gcs_proof.py READY_FILE

google-cloud-storage (Google's own) speaks the JSON API with service account tokens and signs addresses with
the service account's key; boto3 speaks the XML API with HMAC keys, as Google documents for moving from S3.
Each step asserts, so that a fake that is wrong ends this script with an error.
"""

import datetime
import hashlib
import io
import json
import sys
import urllib.error
import urllib.request

import boto3
import botocore
from botocore.config import Config
from google.api_core import exceptions
from google.cloud import storage
from google.oauth2 import credentials as user_credentials
from google.oauth2 import service_account

facts = dict(line.strip().split("=", 1) for line in open(sys.argv[1]))
endpoint, bucket_name = facts["endpoint"], facts["bucket"]
steps = 0


def step(text):
    global steps
    steps += 1
    print("proved:", text)


def refused(kind, call):
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"was not refused: {call}")


# The JSON API.
scopes = ["https://www.googleapis.com/auth/devstorage.read_write"]
account = service_account.Credentials.from_service_account_file(facts["service_account"], scopes=scopes)
client = storage.Client(project="p", credentials=account, client_options={"api_endpoint": endpoint})
bucket = client.bucket(bucket_name)

names = ["proof/a", "proof/b/1", "proof/b/2", "proof/c d+ü~", "proof/e"]
for name in names:
    bucket.blob(name).upload_from_string(name.encode())
blob = bucket.get_blob("proof/c d+ü~")
assert blob.size == len("proof/c d+ü~".encode())
assert bucket.blob("proof/c d+ü~").download_as_bytes() == "proof/c d+ü~".encode()
step("a service account's assertion is exchanged; objects are written, described and read")

assert bucket.blob("proof/a").download_as_bytes(start=2, end=4) == b"oof"
refused(exceptions.RequestRangeNotSatisfiable, lambda: bucket.blob("proof/a").download_as_bytes(start=100))
step("ranges")

pages = list(client.list_blobs(bucket_name, prefix="proof/", page_size=2).pages)
assert [[b.name for b in page] for page in pages] == [names[:2], names[2:4], names[4:]]
folders = client.list_blobs(bucket_name, prefix="proof/", delimiter="/", page_size=1)
assert [b.name for b in folders] == ["proof/a", "proof/c d+ü~", "proof/e"] and folders.prefixes == {"proof/b/"}
later = client.list_blobs(bucket_name, prefix="proof/", start_offset="proof/c")
assert [b.name for b in later] == names[3:]
step("listings by pages, with delimiter, from an offset")

refused(exceptions.PreconditionFailed, lambda: bucket.blob("proof/a").upload_from_string(b"x", if_generation_match=0))
bucket.blob("proof/new").upload_from_string(b"x", if_generation_match=0)
generation = bucket.get_blob("proof/a").generation
bucket.blob("proof/a").upload_from_string(b"second", if_generation_match=generation)
refused(
    exceptions.PreconditionFailed,
    lambda: bucket.blob("proof/a").upload_from_string(b"third", if_generation_match=generation),
)
assert bucket.blob("proof/a").download_as_bytes() == b"second"
step("generation preconditions")

content = bytes(range(256)) * 4096 * 2 + b"end"
large = bucket.blob("proof/large", chunk_size=256 * 1024)
large.metadata = {"mark": "m1"}
large.upload_from_string(content)
large.reload()
assert large.metadata == {"mark": "m1"} and large.download_as_bytes() == content
assert large.md5_hash and large.download_as_bytes(checksum="md5") == content
step("a resumable upload in chunks")

unknown = bucket.blob("proof/unknown", chunk_size=512 * 1024)
with unknown.open("wb") as writer:
    writer.write(content)
assert unknown.download_as_bytes() == content
step("a resumable upload of unknown size")

refused(
    exceptions.PreconditionFailed,
    lambda: bucket.blob("proof/large", chunk_size=256 * 1024).upload_from_file(
        io.BytesIO(content), if_generation_match=0
    ),
)
step("a resumable upload with a precondition")

copied = bucket.blob("proof/copied")
token, written, total = copied.rewrite(large)
assert token and written < total
while token:
    token, written, total = copied.rewrite(large, token=token)
assert written == total and copied.download_as_bytes() == content
assert copied.metadata == {"mark": "m1"}
step("rewrites until they are done")

with client.batch():
    bucket.blob("proof/new").delete()
    bucket.blob("proof/unknown").delete()
assert bucket.get_blob("proof/new") is None and bucket.get_blob("proof/unknown") is None
step("deletions in a batch")

refused(exceptions.NotFound, lambda: bucket.blob("proof/none").download_as_bytes())
refused(exceptions.NotFound, lambda: client.bucket("other-bucket").blob("x").upload_from_string(b"x"))
refused(exceptions.NotFound, lambda: bucket.blob("proof/none").delete())
step("what is absent is not found")


def signed(method="GET", **more):
    return bucket.blob("proof/c d+ü~").generate_signed_url(
        version="v4", method=method, expiration=datetime.timedelta(minutes=5), api_access_endpoint=endpoint, **more
    )


answer = urllib.request.urlopen(signed(response_type="text/x-proof", response_disposition="attachment"))
assert answer.read() == "proof/c d+ü~".encode() and answer.headers["content-type"] == "text/x-proof"
wrong = refused(urllib.error.HTTPError, lambda: urllib.request.urlopen(signed().replace("c%20d", "e").replace("%2B%C3%BC~", "")))
assert wrong.code == 403, wrong.code
refused(urllib.error.HTTPError, lambda: urllib.request.urlopen(signed(method="PUT")))
step("addresses that the service account's key signed")



def begun(name):
    address = bucket.blob(name).generate_signed_url(
        version="v4",
        method="RESUMABLE",
        expiration=datetime.timedelta(minutes=5),
        api_access_endpoint=endpoint,
        headers={"x-goog-if-generation-match": "0", "x-goog-meta-mark": "m4"},
    )
    headers = {"x-goog-resumable": "start", "x-goog-if-generation-match": "0", "x-goog-meta-mark": "m4"}
    start = urllib.request.Request(address, method="POST", data=b"", headers=headers)
    return urllib.request.urlopen(start).headers["location"]


def chunk(session, first, piece, total):
    headers = {"content-range": f"bytes {first}-{first + len(piece) - 1}/{total}", "x-guploader-no-308": "yes"}
    return urllib.request.urlopen(urllib.request.Request(session, method="PUT", data=piece, headers=headers)).headers


assert refused(urllib.error.HTTPError, lambda: begun("proof/large")).code == 412
session, half = begun("proof/xml session"), 512 * 1024
answer = chunk(session, 0, content[:half], "*")
assert answer["x-http-status-code-override"] == "308" and answer["range"] == f"bytes=0-{half - 1}"
answer = chunk(session, half, content[half:], len(content))
finished = bucket.get_blob("proof/xml session")
assert str(finished.generation) == answer["x-goog-generation"] and finished.metadata == {"mark": "m4"}
assert finished.download_as_bytes() == content
session = begun("proof/raced")
bucket.blob("proof/raced").upload_from_string(b"first")
assert refused(urllib.error.HTTPError, lambda: chunk(session, 0, content, len(content))).code == 412
assert bucket.blob("proof/raced").download_as_bytes() == b"first"
step("sessions of the XML API, and their precondition at both ends")

told = json.load(open(facts["authorized_user"]))
user = user_credentials.Credentials(
    None, **{name: told[name] for name in ("refresh_token", "token_uri", "client_id", "client_secret")}
)
by_user = storage.Client(project="p", credentials=user, client_options={"api_endpoint": endpoint})
assert by_user.bucket(bucket_name).blob("proof/a").download_as_bytes() == b"second"
step("a refresh token is exchanged")

urllib.request.urlopen(urllib.request.Request(f"{endpoint}/_fake/expire", method="POST"))
request = urllib.request.Request(f"{endpoint}/storage/v1/b/{bucket_name}/o", headers={"Authorization": "Bearer no"})
assert refused(urllib.error.HTTPError, lambda: urllib.request.urlopen(request)).code == 401
assert refused(urllib.error.HTTPError, lambda: urllib.request.urlopen(f"{endpoint}/{bucket_name}/proof/a")).code == 401
assert bucket.blob("proof/a").download_as_bytes() == b"second"
step("wrong and expired tokens are refused, and Google's client gets a new one")

metadata = f"{endpoint}/computeMetadata/v1/instance/service-accounts/default/token"
request = urllib.request.Request(metadata, headers={"Metadata-Flavor": "Google"})
token = json.load(urllib.request.urlopen(request))["access_token"]
listing = urllib.request.Request(
    f"{endpoint}/{bucket_name}?list-type=2", headers={"Authorization": f"Bearer {token}"}
)
assert b"proof/a" in urllib.request.urlopen(listing).read()
assert refused(urllib.error.HTTPError, lambda: urllib.request.urlopen(metadata)).code == 403
step("tokens of the metadata server, with the XML API")


# The XML API with HMAC keys.
def interoperable(access_key, secret_key):
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="auto",
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        config=Config(
            signature_version="s3v4",
            s3={"addressing_style": "path"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            retries={"max_attempts": 1},
        ),
    )


s3 = interoperable(facts["access_key"], facts["secret_key"])
failed = botocore.exceptions.ClientError


def code(call):
    return refused(failed, call).response["Error"]["Code"]


key = "hmac/a b+ü~=&"
s3.put_object(Bucket=bucket_name, Key=key, Body=b"hello", Metadata={"mark": "m2"})
got = s3.get_object(Bucket=bucket_name, Key=key, Range="bytes=1-2")
assert got["Body"].read() == b"el" and got["ContentRange"] == "bytes 1-2/5"
assert s3.head_object(Bucket=bucket_name, Key=key)["ETag"] == f'"{hashlib.md5(b"hello").hexdigest()}"'
step("objects by HMAC keys")

for stranger in [interoperable(facts["access_key"], "wrong"), interoperable("GOOG1EWRONG", facts["secret_key"])]:
    assert code(lambda: stranger.get_object(Bucket=bucket_name, Key=key)) in ("SignatureDoesNotMatch", "InvalidSecurity")
assert code(lambda: s3.get_object(Bucket=bucket_name, Key="none")) == "NoSuchKey"
assert code(lambda: s3.get_object(Bucket="other-bucket", Key="none")) == "NoSuchBucket"
assert code(lambda: s3.put_object(Bucket=bucket_name, Key="bad", Body=b"x", ContentMD5="1B2M2Y8AsgTpgAmY7PhCfg==")) == "BadDigest"
step("wrong keys, absent objects, wrong sums")

for name in "123":
    s3.put_object(Bucket=bucket_name, Key=f"hmac/folder {name}/x", Body=b"")
found, token = [], {}
while True:
    page = s3.list_objects_v2(Bucket=bucket_name, Prefix="hmac/", Delimiter="/", MaxKeys=2, **token)
    found += [entry["Key"] for entry in page.get("Contents", [])] + [p["Prefix"] for p in page.get("CommonPrefixes", [])]
    if not page["IsTruncated"]:
        break
    token = {"ContinuationToken": page["NextContinuationToken"]}
assert found == [key, "hmac/folder 1/", "hmac/folder 2/", "hmac/folder 3/"], found
after = s3.list_objects_v2(Bucket=bucket_name, Prefix="hmac/", StartAfter="hmac/folder 2/x")
assert [entry["Key"] for entry in after["Contents"]] == ["hmac/folder 3/x"]
step("listings by tokens and behind a name")

source = {"Bucket": bucket_name, "Key": key}
s3.copy_object(Bucket=bucket_name, Key="hmac/copy", CopySource=source)
assert s3.get_object(Bucket=bucket_name, Key="hmac/copy")["Body"].read() == b"hello"
assert code(lambda: s3.copy_object(Bucket=bucket_name, Key="hmac/copy", CopySource={**source, "Key": "none"})) == "NoSuchKey"
step("copies")

address = s3.generate_presigned_url("get_object", Params={**source, "ResponseContentType": "text/x-proof"}, ExpiresIn=60)
answer = urllib.request.urlopen(address)
assert answer.read() == b"hello" and answer.headers["content-type"] == "text/x-proof"
assert refused(urllib.error.HTTPError, lambda: urllib.request.urlopen(address + "0")).code == 403
step("addresses that the HMAC key signed")

for name in [entry["Key"] for entry in s3.list_objects_v2(Bucket=bucket_name)["Contents"]]:
    s3.delete_object(Bucket=bucket_name, Key=name)
assert s3.list_objects_v2(Bucket=bucket_name)["KeyCount"] == 0
step("deletions")
print(f"all {steps} steps hold")

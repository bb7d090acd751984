"""Proves the stand-in for Aliyun OSS with the official SDK, which was written by others than its author.

usage: oss_proof.py READY_FILE

READY_FILE is the file `ready` of oss.sh. Every call that the driver makes is made here with signatures of version 1
and 4, and what must be refused is refused. Prints one line for each version and ends with 0 when all holds.
Needs the package oss2.
"""

import hashlib
import sys
import time

import oss2
import requests


def check(condition, what):
    if not condition:
        raise SystemExit(f"oss_proof.py: {what}")


def refused(status, code, work):
    """Runs work, which must fail with this status and code."""
    try:
        work()
    except oss2.exceptions.OssError as error:
        text = f"expected {status} {code}, got {error.status} {error.code}: {error.details}"
        # Answers to HEAD have no document.
        check(error.status == status and error.code in (code, ""), text)
        check(error.request_id, "an error has no request id")
        return error
    raise SystemExit(f"oss_proof.py: expected {status} {code}, and it was allowed")


class Proof:
    def __init__(self, ready, version, session):
        self.ready = ready
        self.version = version
        self.session = session

    def auth(self, id, secret, token=None):
        if token is not None:
            return oss2.StsAuth(id, secret, token, auth_version=f"v{self.version}")
        return (oss2.AuthV4 if self.version == 4 else oss2.Auth)(id, secret)

    def bucket(self, auth=None, name=None, endpoint=None, region=None):
        ready = self.ready
        if auth is None and self.session:
            auth = self.auth(ready["session_id"], ready["session_key"], ready["session_token"])
        elif auth is None:
            auth = self.auth(ready["access_id"], ready["access_key"])
        return oss2.Bucket(
            auth,
            endpoint or ready["endpoint"],
            name or ready["bucket"],
            region=region or ready["region"],
            is_path_style=True,
        )

    def run(self):
        bucket = self.bucket()
        self.root = f"proof-{self.version}-{'sts' if self.session else 'key'}/"
        self.objects(bucket)
        self.listings(bucket)
        self.parts(bucket)
        self.appending(bucket)
        self.addresses(bucket)
        self.refusals(bucket)
        left = [item.key for item in oss2.ObjectIteratorV2(bucket, prefix=self.root)]
        for start in range(0, len(left), 1000):
            bucket.batch_delete_objects(left[start : start + 1000])
        check(not list(oss2.ObjectIteratorV2(bucket, prefix=self.root)), "something stays after the deletion")

    def objects(self, bucket):
        key = self.root + "plain"
        content = bytes(range(256)) * 4
        headers = {"x-oss-meta-mark": "m-1", "Content-Type": "application/json", "x-oss-forbid-overwrite": "true"}
        put = bucket.put_object(key, content, headers=headers)
        check(put.etag == hashlib.md5(content).hexdigest().upper(), "the tag is not the MD5")
        refused(409, "FileAlreadyExists", lambda: bucket.put_object(key, b"x", headers=headers))
        got = bucket.get_object(key)
        check(got.read() == content, "other content comes back")
        check(got.client_crc == got.server_crc, "the CRC differs")
        head = bucket.head_object(key)
        check(head.content_length == len(content) and head.headers["x-oss-meta-mark"] == "m-1", "HEAD differs")
        check(head.content_type == "application/json", "the content type is lost")
        check(bucket.get_object_meta(key).content_length == len(content), "the meta differs")
        check(bucket.object_exists(key) and not bucket.object_exists(key + "-absent"), "existence differs")

        check(bucket.get_object(key, byte_range=(10, 19)).read() == content[10:20], "a range differs")
        check(bucket.get_object(key, byte_range=(None, 5)).read() == content[-5:], "the end differs")
        check(bucket.get_object(key, byte_range=(1000, None)).read() == content[1000:], "a rest differs")
        whole = bucket.get_object(key, byte_range=(1000, 5000))
        check(whole.status == 200 and whole.read() == content, "a range beyond the end is not the whole object")
        standard = {"x-oss-range-behavior": "standard"}
        part = bucket.get_object(key, byte_range=(1000, 5000), headers=standard)
        check(part.status == 206 and part.read() == content[1000:], "a standard range differs")
        refused(416, "InvalidRange", lambda: bucket.get_object(key, byte_range=(5000, None), headers=standard))
        tag = {"If-Match": f'"{put.etag}"'}
        check(bucket.get_object(key, headers=tag).read() == content, "a right condition does not hold")
        refused(412, "PreconditionFailed", lambda: bucket.get_object(key, headers={"If-Match": '"0"'}))

        wrong = {"Content-MD5": oss2.utils.content_md5(b"other")}
        refused(400, "InvalidDigest", lambda: bucket.put_object(self.root + "wrong", content, headers=wrong))
        refused(404, "NoSuchKey", lambda: bucket.get_object(self.root + "absent"))

        strange = self.root + "a b+c&d=e/%2F~ü?#*'()!"
        bucket.put_object(strange, b"strange")
        check(bucket.get_object(strange).read() == b"strange", "a strange name is lost")
        copy = bucket.copy_object(bucket.bucket_name, strange, self.root + "copy of + it")
        check(copy.etag == hashlib.md5(b"strange").hexdigest().upper(), "a copy has another tag")
        check(bucket.get_object(self.root + "copy of + it").read() == b"strange", "a copy differs")
        forbid = {"x-oss-forbid-overwrite": "true"}
        again = lambda: bucket.copy_object(bucket.bucket_name, strange, key, headers=forbid)
        refused(409, "FileAlreadyExists", again)
        refused(404, "NoSuchKey", lambda: bucket.copy_object(bucket.bucket_name, self.root + "absent", key))
        bucket.delete_object(strange)
        bucket.delete_object(strange)
        check(not bucket.object_exists(strange), "a deleted object is there")
        bucket.put_object(self.root + "empty", b"")
        check(bucket.get_object(self.root + "empty").read() == b"", "an empty object differs")

    def listings(self, bucket):
        root = self.root + "list/"
        names = [f"{root}{number:03}" for number in range(25)] + [f"{root}folder/{number}" for number in range(5)]
        names.append(root + "z ü&<>+%")
        for name in names:
            bucket.put_object(name, b"1")
        names.sort(key=lambda name: name.encode())
        second = [item.key for item in oss2.ObjectIteratorV2(bucket, prefix=root, max_keys=7)]
        check(second == names, f"the second listing differs: {second}")
        first = [item.key for item in oss2.ObjectIterator(bucket, prefix=root, max_keys=7)]
        check(first == names, f"the first listing differs: {first}")
        page = bucket.list_objects_v2(prefix=root, delimiter="/", start_after=root + "020", max_keys=1000)
        check(page.prefix_list == [root + "folder/"], f"the folders differ: {page.prefix_list}")
        keys = [item.key for item in page.object_list]
        check(keys == [f"{root}{number:03}" for number in range(21, 25)] + [root + "z ü&<>+%"], f"{keys}")
        folders, token = [], ""
        while True:
            page = bucket.list_objects_v2(prefix=root, delimiter="/", continuation_token=token, max_keys=5)
            folders += page.prefix_list + [item.key for item in page.object_list]
            if not page.is_truncated:
                break
            token = page.next_continuation_token
        check(len(folders) == 27 and folders.count(root + "folder/") == 1, f"pages with folders differ: {folders}")
        deleted = bucket.batch_delete_objects([names[0], names[-1], root + "absent"]).deleted_keys
        check(set(deleted) == {names[0], names[-1], root + "absent"}, f"the deleted keys differ: {deleted}")
        check(not bucket.object_exists(names[-1]), "a deleted object is there")

    def parts(self, bucket):
        key = self.root + "large ü+"
        pieces = [b"a" * 102400, b"b" * 150000, b"c" * 10]
        upload = bucket.init_multipart_upload(key, headers={"x-oss-meta-mark": "m-2"}).upload_id
        listed = [(item.key, item.upload_id) for item in oss2.MultipartUploadIterator(bucket, prefix=self.root)]
        check(listed == [(key, upload)], f"the uploads differ: {listed}")
        bucket.put_object(self.root + "source", pieces[1] + b"more")
        parts = []
        for number in (3, 1):
            result = bucket.upload_part(key, upload, number, pieces[number - 1])
            parts.append(oss2.models.PartInfo(number, result.etag))
        source = (0, len(pieces[1]) - 1)
        result = bucket.upload_part_copy(bucket.bucket_name, self.root + "source", source, key, upload, 2)
        parts.append(oss2.models.PartInfo(2, result.etag))
        parts.sort(key=lambda part: part.part_number)
        listed = [part.part_number for part in oss2.PartIterator(bucket, key, upload, max_parts=2)]
        check(listed == [1, 2, 3], f"the parts differ: {listed}")
        complete = lambda order, headers=None: bucket.complete_multipart_upload(key, upload, order, headers=headers)
        # The SDK sorts parts itself, so this one is sent by what is below its calls.
        entries = (f"<Part><PartNumber>{p.part_number}</PartNumber><ETag>{p.etag}</ETag></Part>" for p in parts[::-1])
        document = f"<CompleteMultipartUpload>{''.join(entries)}</CompleteMultipartUpload>"
        send = bucket._Bucket__do_object
        refused(400, "InvalidPartOrder", lambda: send("POST", key, params={"uploadId": upload}, data=document))
        refused(400, "InvalidPart", lambda: complete([oss2.models.PartInfo(1, "0" * 32)]))
        fourth = oss2.models.PartInfo(4, bucket.upload_part(key, upload, 4, b"d").etag)
        refused(400, "EntityTooSmall", lambda: complete(parts + [fourth]))
        bucket.put_object(key, b"in the way")
        forbid = {"x-oss-forbid-overwrite": "true"}
        refused(409, "FileAlreadyExists", lambda: complete(parts, forbid))
        bucket.delete_object(key)
        complete(parts, forbid)
        check(bucket.get_object(key).read() == b"".join(pieces), "a large object differs")
        check(bucket.head_object(key).headers["x-oss-meta-mark"] == "m-2", "the mark of a large object is lost")
        refused(404, "NoSuchUpload", lambda: complete(parts))
        refused(404, "NoSuchUpload", lambda: bucket.upload_part(key, upload, 1, b"x"))
        upload = bucket.init_multipart_upload(key).upload_id
        bucket.upload_part(key, upload, 1, b"x")
        bucket.abort_multipart_upload(key, upload)
        refused(404, "NoSuchUpload", lambda: bucket.abort_multipart_upload(key, upload))
        check(not list(oss2.MultipartUploadIterator(bucket, prefix=self.root)), "an upload stays")

    def appending(self, bucket):
        key = self.root + "appended"
        first = bucket.append_object(key, 0, b"one")
        check(first.next_position == 3, "the next position differs")
        second = bucket.append_object(key, 3, b"two", init_crc=first.crc)
        check(second.next_position == 6, "the next position differs")
        refused(409, "PositionNotEqualToLength", lambda: bucket.append_object(key, 3, b"three"))
        check(bucket.get_object(key).read() == b"onetwo", "an appended object differs")
        refused(409, "ObjectNotAppendable", lambda: bucket.append_object(self.root + "plain", 1024, b"x"))

    def addresses(self, bucket):
        key = self.root + "plain"
        for slash_safe in (True, False):
            address = bucket.sign_url("GET", key, 60, slash_safe=slash_safe)
            answer = requests.get(address, timeout=30)
            check(answer.status_code == 200 and len(answer.content) == 1024, f"GET {answer.text}")
        params = {"response-content-type": "text/x-proof", "response-content-disposition": 'attachment; filename="a b"'}
        answer = requests.get(bucket.sign_url("GET", key, 60, params=params), timeout=30)
        check(answer.headers["content-type"] == "text/x-proof", f"the type is not replaced: {answer.text}")
        head = requests.head(bucket.sign_url("HEAD", key, 60), timeout=30)
        check(head.status_code == 200 and head.headers["content-length"] == "1024", "HEAD by address differs")
        address = bucket.sign_url("GET", key, 60)
        check(requests.head(address, timeout=30).status_code == 403, "an address for GET allows HEAD")
        check(requests.get(address.replace("plain", "empty"), timeout=30).status_code == 403, "another object")
        check(requests.get(address.split("?")[0], timeout=30).status_code == 403, "without a signature")
        changed = address[:-1] + ("0" if address[-1] != "0" else "1")
        check(requests.get(changed, timeout=30).status_code == 403, "a changed signature")
        short = bucket.sign_url("GET", key, 1)
        time.sleep(3)
        answer = requests.get(short, timeout=30)
        check(answer.status_code == 403 and "expired" in answer.text, f"an old address: {answer.text}")

    def refusals(self, bucket):
        ready, auth = self.ready, self.auth
        key = self.root + "plain"
        ask = lambda *arguments, **named: lambda: self.bucket(*arguments, **named).get_object(key)
        put = lambda *arguments, **named: lambda: self.bucket(*arguments, **named).put_object(key, b"x")
        for call in (ask, put):
            refused(403, "SignatureDoesNotMatch", call(auth(ready["access_id"], "wrong")))
            refused(403, "InvalidAccessKeyId", call(auth("nobody", ready["access_key"])))
            refused(403, "AccessDenied", call(auth(ready["stranger_id"], ready["stranger_key"])))
            refused(403, "RequestTimeTooSkewed", call(endpoint=ready["skewed_endpoint"]))
            refused(404, "NoSuchBucket", call(name="there-is-none"))
            elsewhere = refused(403, "AccessDenied", call(name=ready["other_region_bucket"]))
            check(elsewhere.details.get("Endpoint") == "oss-cn-other.aliyuncs.com", f"{elsewhere.details}")
            if self.version == 4:
                refused(400, "InvalidArgument", call(region="cn-wrong"))
        session = (ready["session_id"], ready["session_key"])
        refused(403, "SignatureDoesNotMatch", ask(auth(session[0], "wrong", ready["session_token"])))
        refused(403, "InvalidSecurityToken", ask(auth(*session, "wrong")))
        refused(403, "InvalidAccessKeyId", ask(auth(*session)))
        response = requests.get(f"{ready['endpoint']}/{ready['bucket']}/{key}", timeout=30)
        check(response.status_code == 403 and "x-oss-request-id" in response.headers, "anybody may read")
        versioned = self.bucket(name=ready["versioned_bucket"])
        for _ in range(2):
            versioned.put_object(key, b"x", headers={"x-oss-forbid-overwrite": "true"})
        check(versioned.get_bucket_versioning().status == "Enabled", "the versioning differs")
        check(bucket.get_bucket_info().name == ready["bucket"], "the bucket's name differs")


def own_name(ready):
    """A request as to a proxy reaches the bucket by a host name, as real ones do."""
    for version, auth in ((1, oss2.Auth), (4, oss2.AuthV4)):
        pair = auth(ready["access_id"], ready["access_key"])
        proxies = {"http": ready["endpoint"]}
        for endpoint, cname in (
            ("http://oss-cn-test.aliyuncs.com", False),
            ("http://oss-cn-test-internal.aliyuncs.com", False),
            ("http://oss-accelerate.aliyuncs.com", False),
            ("http://registry.example.test", True),
        ):
            bucket = oss2.Bucket(
                pair, endpoint, ready["bucket"], is_cname=cname, region=ready["region"], proxies=proxies
            )
            key = f"registry/by name {version}"
            bucket.put_object(key, b"named")
            check(bucket.get_object(key).read() == b"named", f"{endpoint} differs")
            bucket.delete_object(key)
        other = oss2.Bucket(
            pair, "http://oss-cn-other.aliyuncs.com", ready["bucket"], region=ready["region"], proxies=proxies
        )
        refused(403, "AccessDenied", lambda: other.get_object("x"))


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        ready = dict(line.rstrip("\n").split("=", 1) for line in file)
    for version in (1, 4):
        for session in (False, True):
            Proof(ready, version, session).run()
            print(f"oss2 {oss2.__version__}: signatures of version {version}, session {session}: all holds")
    own_name(ready)
    print("host names: all holds")


if __name__ == "__main__":
    main()

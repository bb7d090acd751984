#!/bin/sh
# Puts together the root folder of the image: collect.sh RELEASE TARGET
#
# Runs in the base image, as a step of the Dockerfile. RELEASE is an unpacked release archive.
set -eu
release=$1
target=$2
# The numbers are part of the image's interface: they own the files in the volumes.
user=5000

# A base that lacks these is on a network that has them.
if [ ! -e /etc/ssl/certs/ca-certificates.crt ] || [ ! -d /usr/share/zoneinfo ] || ! command -v setpriv >/dev/null; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends \
        ca-certificates tzdata util-linux >/dev/null
fi

# Copies a file under the path where programs look for it, and what a link points to instead of the link.
put() {
    mkdir -p "$target${1%/*}"
    cp -L "$1" "$target$1"
}

mkdir -p "$target"
cd "$target"
mkdir -p bin usr/bin usr/local/bin usr/local/lib/docker-registry/drivers usr/share etc/docker-registry etc/ssl/certs \
    var/lib/registry
mkdir -m 1777 tmp
mkdir -m 0700 root

cp "$release/bin/docker-registry" usr/local/bin/docker-registry
# Under this name it is called by those who know the image of distribution.
ln -s docker-registry usr/local/bin/registry
cp "$release"/lib/docker-registry/drivers/*.so usr/local/lib/docker-registry/drivers/
cp "$release/share/docker-registry/image/entrypoint.sh" usr/local/bin/docker-registry-entrypoint
chmod 0755 usr/local/bin/docker-registry usr/local/bin/docker-registry-entrypoint
chmod 0644 usr/local/lib/docker-registry/drivers/*.so
cp "$release/etc/docker-registry/config_sample.yml" etc/docker-registry/config_sample.yml
mkdir -p usr/share/doc/docker-registry
cp "$release/share/doc/docker-registry/LICENSE" usr/share/doc/docker-registry/LICENSE

# What the entrypoint calls.
cp -L "$(command -v sh)" bin/sh
for program in chown mkdir setpriv; do
    cp -L "$(command -v $program)" usr/bin/$program
done
# Libraries, the loader among them, by the paths that the loader itself finds.
needed=$(
    for file in bin/sh usr/bin/* usr/local/bin/docker-registry usr/local/lib/docker-registry/drivers/*.so; do
        ldd "$file" || exit 1
    done
)
case $needed in
    *"not found"*)
        echo "the base image lacks libraries:" "$needed" >&2
        exit 1
        ;;
esac
echo "$needed" | sed -n 's|^[^/]*\(/[^ ]*\) (0x.*|\1|p' | sort -u | while read -r library; do
    put "$library"
done
# Look-ups of names, which C libraries before 2.34 have in files of their own.
for library in /lib/*/libnss_files.so.2 /lib/*/libnss_dns.so.2 /lib/*/libresolv.so.2; do
    [ ! -e "$library" ] || put "$library"
done

put /etc/ssl/certs/ca-certificates.crt
cp -R /usr/share/zoneinfo usr/share/zoneinfo
# The same zones again, once with leap seconds and once without.
rm -rf usr/share/zoneinfo/posix usr/share/zoneinfo/right
[ ! -e /etc/os-release ] || put /etc/os-release

cat >etc/passwd <<END
root:x:0:0:root:/root:/bin/sh
registry:x:$user:$user:registry:/var/lib/registry:/bin/sh
nobody:x:65534:65534:nobody:/nonexistent:/bin/sh
END
cat >etc/group <<END
root:x:0:
registry:x:$user:
nogroup:x:65534:
END
echo 'hosts: files dns' >etc/nsswitch.conf
# A fresh volume takes over the owner of the folder that it is mounted on.
chown $user:$user var/lib/registry

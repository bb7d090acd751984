//! The Debian packages that tests and benchmark use: installed when missing, and only then.
//!
//! Daemons that come with a package are kept from starting: the tests start their own, with their own folders.

use std::fs;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use anyhow::{Context, Result, bail};
use xshell::{Shell, cmd};

/// A package and the program it is wanted for.
pub(crate) struct Package {
    name: &'static str,
    /// A name in one of the system's folders, or a whole path where the name alone is not telling.
    program: &'static str,
}

/// The registry that this one is compared with. Its program has the name of ours.
const PEER: Package = Package { name: "docker-registry", program: "/usr/bin/docker-registry" };
const REDIS: Package = Package { name: "redis-server", program: "redis-server" };

/// What the tests start.
pub(crate) const FOR_TESTS: &[Package] = &[
    Package { name: "apache2-bin", program: "apache2" },
    Package { name: "apache2-utils", program: "htpasswd" },
    Package { name: "buildah", program: "buildah" },
    Package { name: "ceph-common", program: "ceph" },
    Package { name: "ceph-mon", program: "ceph-mon" },
    Package { name: "ceph-osd", program: "ceph-osd" },
    Package { name: "curl", program: "curl" },
    Package { name: "debootstrap", program: "debootstrap" },
    PEER,
    Package { name: "docker.io", program: "dockerd" },
    Package { name: "faketime", program: "faketime" },
    Package { name: "haproxy", program: "haproxy" },
    Package { name: "make", program: "make" },
    Package { name: "nginx", program: "nginx" },
    Package { name: "nodejs", program: "node" },
    Package { name: "npm", program: "npm" },
    Package { name: "openssl", program: "openssl" },
    Package { name: "podman", program: "podman" },
    Package { name: "python3", program: "python3" },
    Package { name: "python3-venv", program: "/usr/lib/python3.11/ensurepip/__main__.py" },
    Package { name: "radosgw", program: "radosgw" },
    Package { name: "redis-sentinel", program: "redis-sentinel" },
    REDIS,
    Package { name: "skopeo", program: "skopeo" },
    Package { name: "systemd", program: "systemd-analyze" },
];

/// What the benchmark starts.
pub(crate) const FOR_BENCHMARK: &[Package] =
    &[Package { name: "curl", program: "curl" }, Package { name: "nginx", program: "nginx" }, PEER];

/// What the replay of traces needs.
pub(crate) const FOR_REPLAY: &[Package] = &[REDIS];

/// Debian asks this script before it starts a service; 101 means "must not be started".
const POLICY_SCRIPT: &str = "/usr/sbin/policy-rc.d";

/// Installs the packages that are missing.
///
/// # Errors
/// When something is missing and this user may not install it, with the command that would.
pub(crate) fn install_missing(shell: &Shell, packages: &[Package]) -> Result<()> {
    let missing: Vec<&str> =
        packages.iter().filter(|package| !is_present(package)).map(|package| package.name).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.join(" ");
    if !Path::new("/usr/bin/apt-get").exists() {
        bail!("these packages are needed, and this is no Debian to install them on: {names}");
    }
    if !is_root(shell)? {
        bail!(
            "packages are missing that only root can install: run this command as root once, \
             or first `apt-get install --no-install-recommends {names}`"
        );
    }

    eprintln!("xtask: installing {names}");
    let _policy = ServicePolicy::set()?;
    let _quiet = shell.push_env("DEBIAN_FRONTEND", "noninteractive");
    cmd!(shell, "apt-get update -qq").quiet().run().context("the package lists cannot be updated")?;
    cmd!(shell, "apt-get install -qq --yes --no-install-recommends {missing...}")
        .quiet()
        .ignore_stdout()
        .run()
        .with_context(|| format!("apt-get could not install {names}"))
}

/// Whether this process runs as root.
fn is_root(shell: &Shell) -> Result<bool> {
    Ok(cmd!(shell, "id -u").quiet().read()?.trim() == "0")
}

/// System programs live in these folders whether or not the user's path names them.
fn is_present(package: &Package) -> bool {
    ["/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin"]
        .iter()
        // Joining a whole path gives that path.
        .any(|folder| Path::new(folder).join(package.program).exists())
}

/// Forbids the start of services for as long as it lives, unless the machine has a policy of its own.
struct ServicePolicy {
    ours: bool,
}

impl ServicePolicy {
    fn set() -> Result<ServicePolicy> {
        use std::io::Write;
        match fs::OpenOptions::new().write(true).create_new(true).mode(0o755).open(POLICY_SCRIPT) {
            Ok(mut script) => {
                script.write_all(b"#!/bin/sh\nexit 101\n")?;
                script.set_permissions(fs::Permissions::from_mode(0o755))?;
                Ok(ServicePolicy { ours: true })
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                Ok(ServicePolicy { ours: false })
            }
            Err(error) => Err(error).context(format!("{POLICY_SCRIPT} cannot be written")),
        }
    }
}

impl Drop for ServicePolicy {
    fn drop(&mut self) {
        if self.ours && fs::remove_file(POLICY_SCRIPT).is_err() {
            eprintln!("xtask: {POLICY_SCRIPT} is left behind and keeps services from starting: remove it");
        }
    }
}

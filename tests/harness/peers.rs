//! The registries that this one is compared with: where their programs come from and what they are told.
//!
//! Each is told the same: this folder, this address, bodies without redirects, deletion allowed, no log of requests
//! while it is measured (one that cannot do without writes it to nowhere), and otherwise what it does by itself.

use std::env;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::artifacts;
use crate::process::try_run;
use crate::server::{Launch, Product};

/// The configuration of both generations of distribution; the words in capitals are filled in.
const DISTRIBUTION_CONFIGURATION: &str = include_str!("../servers/distribution.yml");
/// Where Debian's package puts distribution 2.8. The name is ours as well, so the path does not decide.
const DISTRIBUTION: &str = "/usr/bin/docker-registry";
/// Names a zot that somebody has built, for machines that cannot fetch its Go module.
const ZOT_VARIABLE: &str = "DOCKER_REGISTRY_BENCH_ZOT";

impl Product {
    /// The program of a registry of others, which is installed first where it is missing.
    ///
    /// # Errors
    /// What the installation wrote when it failed.
    ///
    /// # Panics
    /// For this server, which the workspace builds.
    pub fn peer_program(self) -> Result<PathBuf, String> {
        match self {
            Product::Ours => panic!("this server is not installed"),
            Product::Distribution => Ok(PathBuf::from(DISTRIBUTION)),
            Product::DistributionThree => installed("distribution-3"),
            Product::DockerRegistryPython => installed("docker-registry-0.9"),
            Product::Zot => match env::var_os(ZOT_VARIABLE) {
                Some(program) => Ok(PathBuf::from(program)),
                None => installed("zot"),
            },
        }
    }

    /// Whether it is measured on a folder only, and without a Redis.
    pub fn is_for_folders_only(self) -> bool {
        matches!(self, Product::Zot | Product::DockerRegistryPython)
    }

    /// The path that tells that it serves.
    pub(crate) fn ping(self) -> &'static str {
        match self {
            Product::DockerRegistryPython => "/v1/_ping",
            _ => "/v2/",
        }
    }

    /// Tells the command of a registry of others where its configuration is.
    pub(crate) fn tell(
        self,
        command: &mut Command,
        program: &Path,
        address: SocketAddr,
        configuration: &Path,
    ) {
        if self == Product::DockerRegistryPython {
            return tell_docker_registry_python(command, program, address, configuration);
        }
        // Nobody collects the traces that distribution 3 would send.
        command.arg("serve").arg(configuration).env("OTEL_TRACES_EXPORTER", "none");
    }

    /// The name of its configuration file and what stands in it. distribution is told of another storage than the folder,
    /// and of a Redis, where the launch names them.
    ///
    /// # Panics
    /// When one that is measured on a folder only is to store anywhere else, or to use a Redis.
    pub(crate) fn peer_configuration(
        self,
        address: SocketAddr,
        folder: &Path,
        launch: &Launch,
    ) -> (&'static str, String) {
        let (storage, redis, verbose) = (launch.peer_storage.as_deref(), launch.peer_redis, launch.verbose);
        if self.is_for_folders_only() {
            assert!(storage.is_none() && redis.is_none(), "{self:?} is measured on a folder only");
        }
        if self == Product::DockerRegistryPython {
            let level = if verbose { "info" } else { "error" };
            let flavor = json!({
                "loglevel": level, "standalone": true, "disable_token_auth": true, "storage": "local",
                "storage_path": folder,
            });
            // JSON is YAML as well.
            return ("docker-registry.yml", json!({"prod": flavor}).to_string());
        }
        if self == Product::Zot {
            let configuration = json!({
                "distSpecVersion": "1.1.1",
                // It waits for the disk, as the others do, only when told to.
                "storage": {"rootDirectory": folder, "gc": false, "dedupe": true, "commit": true},
                // It takes manifests of docker only when told to.
                "http": {
                    "address": address.ip(), "port": address.port().to_string(), "compat": ["docker2s2"],
                },
                "log": {"level": if verbose { "info" } else { "error" }},
            });
            return ("zot.json", configuration.to_string());
        }
        let in_folder = format!("filesystem:\n    rootdirectory: {}", folder.display());
        let redis = match (self, redis) {
            (_, None) => String::new(),
            (Product::DistributionThree, Some(redis)) => format!("redis:\n  addrs: [{redis}]\n"),
            (_, Some(redis)) => format!("redis:\n  addr: {redis}\n"),
        };
        let configuration = DISTRIBUTION_CONFIGURATION
            .replace("CACHE", if redis.is_empty() { "inmemory" } else { "redis" })
            .replace("ADDRESS", &address.to_string())
            .replace("STORAGE", storage.unwrap_or(&in_folder))
            .replace("LEVEL", if verbose { "info" } else { "error" })
            .replace("SILENT", if verbose { "false" } else { "true" });
        ("distribution.yml", configuration + &redis)
    }
}

/// How docker-registry of Python is told where it listens and what it serves: by variables. Its own launcher starts
/// four workers, as it does by itself. They are not replaced after a hundred requests, as they would be, because that closes
/// connections in the middle of the load.
fn tell_docker_registry_python(
    command: &mut Command,
    program: &Path,
    address: SocketAddr,
    configuration: &Path,
) {
    let programs = program.parent().expect("a program is in a folder");
    command
        .env("PATH", format!("{}:/usr/bin:/bin", programs.display()))
        .env("DOCKER_REGISTRY_CONFIG", configuration)
        // In any other its workers look for changes of their source all the time.
        .env("SETTINGS_FLAVOR", "prod")
        .env("REGISTRY_HOST", address.ip().to_string())
        .env("REGISTRY_PORT", address.port().to_string())
        // Its launcher always has a line written for each request.
        .env("GUNICORN_ACCESS_LOG_FILE", "/dev/null")
        .env("GUNICORN_OPTS", "[--max-requests, '0']");
}

/// Runs the script that installs a peer and says where.
fn installed(name: &str) -> Result<PathBuf, String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let path = folder.path().join("program");
    let script = artifacts::workspace().join("tests/servers/peer.sh");
    let mut command = Command::new("bash");
    command
        .args(["-c", r#"bash "$1" "$2" "$3" > "$4""#, "peer"])
        .arg(script)
        .arg(folder.path())
        .arg(name)
        .arg(&path);
    try_run(&mut command)?;
    let program = std::fs::read_to_string(&path).map_err(|error| error.to_string())?;
    Ok(PathBuf::from(program.trim()))
}

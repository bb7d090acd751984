//! A registry server with a storage folder of its own: ours, or the packaged distribution as the peer.

use std::env;
use std::fs;
use std::iter;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tempfile::TempDir;

use crate::artifacts;
use crate::http::Client;
use crate::process::{PATIENCE, Process, wait_for};

/// Which server a test or the benchmark runs against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    /// The server of this workspace.
    Ours,
    /// `docker-registry` as Debian 12 packages it: distribution 2.8.
    Distribution,
    /// distribution 3 from its Go module, for the benchmark.
    DistributionThree,
    /// zot without extensions, from its Go module or `DOCKER_REGISTRY_BENCH_ZOT`, for the benchmark.
    Zot,
    /// docker-registry 0.9.1 from its Python package, for the benchmark of V1.
    DockerRegistryPython,
}

impl Product {
    /// The server the tests are about: ours, unless `DOCKER_REGISTRY_TEST_SERVER` is `distribution`.
    pub fn under_test() -> Product {
        match env::var("DOCKER_REGISTRY_TEST_SERVER").as_deref() {
            Ok("distribution") => Product::Distribution,
            Ok(other) if !other.is_empty() => panic!("DOCKER_REGISTRY_TEST_SERVER={other}: no such server"),
            _ => Product::Ours,
        }
    }
}

/// A storage folder and the logs of the servers that ran on it. Dropping it deletes both.
#[derive(Debug)]
pub struct Place {
    folder: TempDir,
}

impl Place {
    /// An empty storage folder.
    pub fn new() -> Place {
        let folder =
            tempfile::Builder::new().prefix("docker-registry-test-").tempdir().expect("a temporary folder");
        fs::create_dir(folder.path().join("storage")).expect("a folder in it");
        Place { folder }
    }

    /// The storage root given to the server.
    pub fn storage(&self) -> PathBuf {
        self.folder.path().join("storage")
    }

    /// Bytes of all files in the storage. Files that vanish while it looks count as nothing.
    pub fn stored_bytes(&self) -> u64 {
        fn below(folder: &Path) -> u64 {
            let entries = fs::read_dir(folder).into_iter().flatten().flatten();
            entries
                .map(|entry| match entry.metadata() {
                    Ok(metadata) if metadata.is_dir() => below(&entry.path()),
                    Ok(metadata) => metadata.len(),
                    Err(_) => 0,
                })
                .sum()
        }
        below(&self.storage())
    }

    /// The folder that is deleted with it.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A file beside the storage.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl Default for Place {
    fn default() -> Place {
        Place::new()
    }
}

/// How a server is started.
#[derive(Clone, Debug)]
pub struct Launch {
    /// Which server.
    pub product: Product,
    /// The folder with our executable and drivers. The peer does not use it.
    pub artifacts: PathBuf,
    /// Whether requests are logged. Off for measurements.
    pub verbose: bool,
    /// What our server is started with instead of flavor `dev` of the sample.
    pub chosen: Option<Chosen>,
    /// Variables that our server is given besides.
    pub environment: Vec<(String, String)>,
    /// What the peer's configuration says below `storage:` of where it stores, instead of a folder.
    pub peer_storage: Option<String>,
    /// The Redis that the peer caches in, instead of its memory.
    pub peer_redis: Option<SocketAddr>,
}

/// A configuration and a driver folder of the test's own.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// The configuration file.
    pub configuration: PathBuf,
    /// The flavor in it.
    pub flavor: String,
    /// The one driver folder that is given to the server.
    pub drivers: PathBuf,
}

impl Launch {
    /// The server under test, from the debug build.
    pub fn under_test() -> Launch {
        let product = Product::under_test();
        let artifacts = match product {
            Product::Ours => artifacts::folder().to_owned(),
            _ => PathBuf::new(),
        };
        Launch { verbose: true, ..Launch::silent(product, artifacts) }
    }

    /// A server that is measured: no request is logged, and it stores in the folder of its place.
    pub fn silent(product: Product, artifacts: PathBuf) -> Launch {
        Launch {
            product,
            artifacts,
            verbose: false,
            chosen: None,
            environment: Vec::new(),
            peer_storage: None,
            peer_redis: None,
        }
    }

    /// Starts our server silently at an address, where it may not listen yet.
    pub fn begin_silently(&self, place: &Place, address: SocketAddr, log: &Path) -> Process {
        let mut command = self.command(place);
        command.arg("--bind").arg(address.to_string()).env("LOGLEVEL", "warn").env("REGISTRY_ADMIN", "off");
        Process::start("docker-registry", &mut command, log)
    }

    /// The command that serves with ours, but for the address and what is logged.
    fn command(&self, place: &Place) -> Command {
        let mut command = bare(&self.artifacts.join("docker-registry"), place);
        // The file is named because a machine with the peer's package has a configuration of the peer where ours
        // would be looked for.
        let sample = artifacts::workspace().join("config/config_sample.yml");
        command.arg("serve").env("STORAGE_PATH", place.storage());
        match &self.chosen {
            Some(Chosen { configuration, flavor, drivers }) => command
                .arg(configuration)
                .env("SETTINGS_FLAVOR", flavor)
                .env("DOCKER_REGISTRY_DRIVER_PATH", drivers),
            None => command
                .args(sample.exists().then_some(sample))
                .env("SETTINGS_FLAVOR", "dev")
                // Not the sample's, which all servers of the machine would share.
                .env("SQLALCHEMY_INDEX_DATABASE", format!("sqlite:///{}", place.file("search.db").display()))
                .env("DOCKER_REGISTRY_DRIVER_PATH", &self.artifacts),
        };
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }
}

/// A server that has answered its first request. Dropping it kills it.
#[derive(Debug)]
pub struct Server {
    launch: Launch,
    process: Process,
    address: SocketAddr,
    admin: Option<SocketAddr>,
    // After the process, so that the folder is deleted when nobody writes to it any more.
    place: Place,
}

impl Server {
    /// Starts the server under test on an empty storage.
    pub fn start() -> Server {
        Server::launch(Launch::under_test(), Place::new())
    }

    /// Starts a server on a storage, which may hold the work of an earlier one.
    pub fn launch(launch: Launch, place: Place) -> Server {
        // A port that was free can be taken before the server binds it; then another one is tried.
        for _ in 0..5 {
            if let Some((process, address, admin)) = try_start(&launch, &place) {
                return Server { launch, process, address, admin, place };
            }
        }
        panic!("{:?} found no free port in five tries", launch.product)
    }

    /// Which server this is.
    pub fn product(&self) -> Product {
        self.launch.product
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `127.0.0.1:PORT`, the registry part of an image name.
    pub fn registry(&self) -> String {
        self.address.to_string()
    }

    /// A client that opens a connection per request.
    pub fn client(&self) -> Client {
        Client::new(self.address)
    }

    /// A client of the admin listener.
    ///
    /// # Panics
    /// When this server has none: the peer, or ours when it is measured.
    pub fn admin(&self) -> Client {
        Client::new(self.admin.expect("this server has an admin listener"))
    }

    /// The running program.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// The storage it works on.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Ends the server at once, as a power cut would, and starts it again on the same storage.
    pub fn kill_and_restart(self) -> Server {
        self.process.kill();
        Server::launch(self.launch, self.place)
    }

    /// Ends the server in an orderly way.
    pub fn stop(self) -> (ExitStatus, Place) {
        (self.process.terminate(), self.place)
    }

    /// Fails the test if the server ever used more than `limit` bytes of memory.
    ///
    /// The limit is a promise of ours; for the peer the figure is only printed.
    pub fn assert_peak_memory(&self, limit: u64) {
        let peak = self.process.peak_memory();
        println!("{:?}: peak memory {:.1} MiB", self.launch.product, peak as f64 / f64::from(1 << 20));
        if self.launch.product == Product::Ours {
            assert!(peak < limit, "the server used {peak} bytes of memory, more than {limit}");
        }
    }
}

type Started = (Process, SocketAddr, Option<SocketAddr>);

/// Starts the server once. `None` when it ended because its port was taken.
fn try_start(launch: &Launch, place: &Place) -> Option<Started> {
    static STARTS: AtomicU32 = AtomicU32::new(0);
    let log = place.file(&format!("server-{}.log", STARTS.fetch_add(1, Ordering::Relaxed)));
    match launch.product {
        Product::Ours => start_ours(launch, place, &log),
        peer => start_peer(peer, launch, place, &log),
    }
}

fn start_ours(launch: &Launch, place: &Place, log: &Path) -> Option<Started> {
    if !launch.verbose {
        // Silent, so the port is chosen here.
        let address = free_address();
        return await_answer(Product::Ours, launch.begin_silently(place, address, log), address);
    }
    let mut command = launch.command(place);
    command.args(["--bind", "127.0.0.1:0"]).env("LOGLEVEL", "info").env("REGISTRY_ADMIN", "127.0.0.1:0");
    let mut process = Process::start("docker-registry", &mut command, log);
    let (address, admin) = wait_for("docker-registry says where it listens", PATIENCE, || {
        let text = process.log();
        match (announced(&text, false), announced(&text, true)) {
            (Some(address), Some(admin)) => Some((address, admin)),
            _ if !process.is_running() => process.fail("it ended instead of listening"),
            _ => None,
        }
    });
    let (process, address, _) = await_answer(Product::Ours, process, address)?;
    Some((process, address, Some(admin)))
}

fn start_peer(peer: Product, launch: &Launch, place: &Place, log: &Path) -> Option<Started> {
    let program = peer.peer_program().unwrap_or_else(|error| panic!("{peer:?} cannot be installed: {error}"));
    let address = free_address();
    let (name, configuration) = peer.peer_configuration(address, &place.storage(), launch);
    let file = place.file(name);
    fs::write(&file, configuration).expect("the configuration can be written");
    let mut command = bare(&program, place);
    command.env("HOME", place.folder.path());
    peer.tell(&mut command, &program, address, &file);
    await_answer(peer, Process::start("the peer", &mut command, log), address)
}

/// A command that inherits no settings: both servers read variables that begin with `REGISTRY_`.
fn bare(program: &Path, place: &Place) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("RUST_BACKTRACE", "1")
        .current_dir(place.folder.path());
    command
}

/// A port that nobody listens on at this moment. It is none of those that the kernel gives to connections by itself, so
/// that none of these takes it meanwhile.
pub fn free_address() -> SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Tests that run at the same time look in different places.
    let start = std::process::id().wrapping_mul(97);
    iter::repeat_with(|| start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)))
        .map(|number| SocketAddr::from((Ipv4Addr::LOCALHOST, 10_000 + (number % 22_000) as u16)))
        .take(22_000)
        .find(|address| TcpListener::bind(address).is_ok())
        .expect("a free port")
}

/// Waits for the first answer. `None` when the server ended because another process took its port.
fn await_answer(product: Product, mut process: Process, address: SocketAddr) -> Option<Started> {
    let client = Client::new(address).with_patience(Duration::from_secs(5));
    let answered = wait_for("the server answers", PATIENCE, || {
        if !process.is_running() {
            return Some(false);
        }
        // A server that asks for passwords answers, too.
        let answer = client.try_send("GET", product.ping(), &[], b"");
        answer.is_ok_and(|answer| matches!(answer.status, 200 | 401)).then_some(true)
    });
    if answered {
        return Some((process, address, None));
    }
    // gunicorn has words of its own.
    if ["address already in use", "Connection in use"].iter().any(|words| process.log().contains(words)) {
        return None;
    }
    process.fail("it ended at its start")
}

/// The address in the line `Listening at: http://HOST:PORT (PID)`, or in that of the admin listener.
pub fn announced(log: &str, admin: bool) -> Option<SocketAddr> {
    let phrase = if admin { "admin listening at http://" } else { "Listening at: http://" };
    log.match_indices(phrase).find_map(|(at, _)| {
        let rest = &log[at + phrase.len()..];
        let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == ':')).unwrap_or(rest.len());
        rest[..end].parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_announced_addresses_are_told_apart() {
        let log = "{\"message\":\"admin listening at http://127.0.0.1:4001\"}\n\
                   INFO Listening at: http://127.0.0.1:4000 (17)\n";
        assert_eq!(announced(log, false), Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 4000))));
        assert_eq!(announced(log, true), Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 4001))));
        assert_eq!(announced("INFO starting\n", false), None);
    }
}

//! The start scripts of the stand-in, and the proof of it by a client that another hand made of the packet format.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A guard against hangs.
const LIMIT: Duration = Duration::from_secs(120);

/// A server that ends with this value.
struct Server {
    process: Child,
    folder: tempfile::TempDir,
}

impl Server {
    fn start(script: &str, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let program = Path::new(env!("CARGO_BIN_EXE_docker-registry-fake-elliptics"));
        // The script becomes the program, so that it has one process id. It ends with this process as well.
        let process = Command::new("setpriv")
            .args(["--pdeathsig", "TERM", "bash"])
            .arg(servers().join(script))
            .arg(folder.path())
            .args(arguments)
            .env("DOCKER_REGISTRY_TEST_ARTIFACTS", program.parent().expect("it is in a folder"))
            .env("DOCKER_REGISTRY_TEST_CACHE", folder.path().join("cache"))
            .stdin(Stdio::null())
            .spawn()
            .expect("bash starts");
        let mut server = Self { process, folder };
        let begin = Instant::now();
        while !server.ready().exists() {
            assert_eq!(server.process.try_wait().expect("it can be asked"), None, "{script} ended");
            assert!(begin.elapsed() < LIMIT, "{script} is not ready");
            std::thread::sleep(Duration::from_millis(30));
        }
        server
    }

    fn ready(&self) -> PathBuf {
        self.folder.path().join("ready")
    }

    /// What the proof says of it.
    fn proof(&self) -> String {
        let output = Command::new("bash")
            .arg(servers().join("elliptics_proof.sh"))
            .args([self.folder.path().join("proof"), self.ready()])
            .env("DOCKER_REGISTRY_TEST_CACHE", self.folder.path().join("cache"))
            .output()
            .expect("bash starts");
        let errors = String::from_utf8_lossy(&output.stderr);
        let log = fs::read_to_string(self.folder.path().join("access.log")).unwrap_or_default();
        let end: Vec<_> = log.lines().rev().take(20).collect();
        assert!(output.status.success(), "{errors}\nthe last of the log, newest first: {end:#?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn servers() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../servers")
}

#[test]
fn a_cluster_of_2_26_with_indexes_holds_to_the_packet_format() {
    let said = Server::start("elliptics.sh", &[]).proof();
    assert_eq!(said.matches("all holds").count(), 7, "{said}");
    assert!(said.contains("\nindexes: all holds"), "{said}");
}

#[test]
fn a_cluster_as_old_as_the_original_driver_holds_to_the_packet_format() {
    let said = Server::start("elliptics.sh", &["--version", "2.26.3.37"]).proof();
    assert_eq!(said.matches("all holds").count(), 7, "{said}");
}

#[test]
fn a_cluster_of_other_nodes_holds_to_the_packet_format() {
    let nodes =
        ["--node", "7,9*3", "--node", "9@00+80", "--node", "1*2,1*5", "--node", "1,7", "--cookie", "secret"];
    let said = Server::start("elliptics.sh", &nodes).proof();
    assert_eq!(said.matches("all holds").count(), 7, "{said}");
}

#[test]
fn a_cluster_of_3_0_without_indexes_holds_to_the_packet_format() {
    let said = Server::start("elliptics-3.sh", &[]).proof();
    assert_eq!(said.matches("all holds").count(), 7, "{said}");
    assert!(said.contains("\nno indexes: all holds"), "{said}");
}

//! What the tests of every object store do in the same way.

use std::collections::BTreeMap;
use std::env;
use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use docker_registry_driver_conformance::cases;
use docker_registry_tests::artifacts;
use docker_registry_tests::content::{Content, digest};
use docker_registry_tests::fault_proxy::{Fault, FaultProxy, Seen};
use docker_registry_tests::flavor_variables::Variables;
use docker_registry_tests::process::run;
use docker_registry_tests::server::{Chosen, Launch, Place, Server};
use docker_registry_tests::store_server::StoreServer;
use docker_registry_tests::v1::{self, Image};
use docker_registry_tests::v2;
use serde_json::Value;
use tempfile::TempDir;

/// Processes that share the cases of a suite among them.
const AT_ONCE: usize = 8;

/// A driver with the settings of one store.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    /// `storage: NAME`.
    pub(crate) driver: &'static str,
    /// Keys of the driver and their values.
    pub(crate) settings: BTreeMap<String, String>,
    /// Keys with which the store cannot be reached.
    pub(crate) dead: BTreeMap<String, String>,
    /// How long a case may take, where that is more than it says itself.
    time_limit: Option<&'static str>,
    /// A setting whose value each process of the suite has for itself.
    apart: Option<&'static str>,
}

impl Subject {
    /// A driver with these settings.
    pub(crate) fn new(driver: &'static str, settings: &[(&str, &str)], dead: &[(&str, &str)]) -> Self {
        let map = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        Self { driver, settings: map(settings), dead: map(dead), time_limit: None, apart: None }
    }

    /// The same with one setting changed.
    pub(crate) fn with(&self, key: &str, value: &str) -> Self {
        let mut changed = self.clone();
        changed.settings.insert(key.to_owned(), value.to_owned());
        changed
    }

    /// The same for a store that keeps its callers waiting again and again: cases that make thousands of calls take
    /// minutes there.
    pub(crate) fn in_patience(&self) -> Self {
        Self { time_limit: Some("1500s"), ..self.clone() }
    }

    /// The same where the processes of the suite do not meet: each has this setting with a number of its own behind it.
    pub(crate) fn apart_by(&self, key: &'static str) -> Self {
        assert!(self.settings.contains_key(key), "there is a setting {key}");
        Self { apart: Some(key), ..self.clone() }
    }

    /// The real account in the variables `REGISTRY_TEST_DRIVER_KEY`, if there is one.
    pub(crate) fn from_environment(driver: &'static str) -> Option<Self> {
        let start = format!("REGISTRY_TEST_{}_", driver.to_uppercase());
        let settings: BTreeMap<String, String> = env::vars()
            .filter_map(|(name, value)| Some((name.strip_prefix(&start)?.to_lowercase(), value)))
            .collect();
        (!settings.is_empty()).then(|| Self {
            driver,
            settings,
            dead: BTreeMap::new(),
            time_limit: None,
            apart: None,
        })
    }

    fn check(&self, number: usize, names: &[&str], long: bool) -> Command {
        let mut command = Command::new(artifacts::folder().join("docker-registry"));
        command.env("DOCKER_REGISTRY_DRIVER_PATH", artifacts::folder()).args([
            "driver",
            "check",
            self.driver,
            "--json",
        ]);
        for (key, value) in &self.settings {
            let own = if self.apart == Some(key) { format!("-{number}") } else { String::new() };
            command.arg("--set").arg(format!("{key}={value}{own}"));
        }
        for (key, value) in &self.dead {
            command.arg("--dead").arg(format!("{key}={value}"));
        }
        for name in names {
            command.args(["--only", name]);
        }
        if let Some(limit) = self.time_limit {
            command.args(["--time-limit", limit]);
        }
        if long {
            command.arg("--long");
        }
        command
    }

    /// Runs the conformance suite through the library, several cases at a time, and expects that nothing fails.
    /// Returns how many passed and how many were skipped.
    pub(crate) fn conforms(&self) -> (usize, usize) {
        self.conforms_in(|_| true)
    }

    /// The same, behind a proxy that makes trouble: 503 for three calls of ten, lost and cut requests and answers,
    /// stalls of ten seconds, and more of what the store's answers can show.
    pub(crate) fn conforms_in_trouble(
        &self,
        proxy: &FaultProxy,
        more: &[(Fault, u32)],
        wanted: impl Fn(&str) -> bool,
    ) {
        let trouble = [
            (Fault::Busy, 30),
            (Fault::AnswerLost, 3),
            (Fault::RequestCut, 3),
            (Fault::AnswerCut, 3),
            (Fault::Stall(Duration::from_secs(10)), 1),
        ];
        let trouble: Vec<(Fault, u32)> = trouble.into_iter().chain(more.iter().copied()).collect();
        proxy.make_trouble(&trouble);
        self.with("attempt_timeout", "5").with("most_attempts", "20").in_patience().conforms_in(wanted);
        let met = proxy.take_seen().iter().filter(|seen| seen.fault.is_some()).count();
        assert!(met > 1_000, "only {met} requests met trouble");
    }

    /// The same for the cases whose names are wanted.
    pub(crate) fn conforms_in(&self, wanted: impl Fn(&str) -> bool) -> (usize, usize) {
        self.conforms_in_cases(wanted, false)
    }

    /// The same for cases that take minutes.
    pub(crate) fn conforms_in_long(&self, wanted: impl Fn(&str) -> bool) -> (usize, usize) {
        self.conforms_in_cases(wanted, true)
    }

    fn conforms_in_cases(&self, wanted: impl Fn(&str) -> bool, long: bool) -> (usize, usize) {
        let folder = tempfile::tempdir().expect("a folder");
        let wanted = cases().filter(|case| case.is_long() == long && wanted(case.name()));
        let names: Vec<&str> = wanted.map(|case| case.name()).collect();
        assert!(!names.is_empty(), "no case is wanted");
        let shards = (0..AT_ONCE).map(|shard| names.iter().copied().skip(shard).step_by(AT_ONCE));
        let shards: Vec<Vec<&str>> =
            shards.map(Iterator::collect).filter(|names: &Vec<_>| !names.is_empty()).collect();
        let reports: Vec<Value> = thread::scope(|scope| {
            let run = |(number, names): (usize, Vec<&str>)| {
                let errors = File::create(folder.path().join(format!("{number}.log"))).expect("a log");
                let mut command = self.check(number, &names, long);
                command.current_dir(folder.path()).stderr(errors).stdin(Stdio::null());
                let output = command.output().expect("the program starts");
                serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
                    let log = std::fs::read_to_string(folder.path().join(format!("{number}.log")));
                    panic!("{} is no report: {error}\n{}", output.status, log.unwrap_or_default())
                })
            };
            let running: Vec<_> =
                shards.into_iter().enumerate().map(|shard| scope.spawn(move || run(shard))).collect();
            running.into_iter().map(|thread| thread.join().expect("a shard ends")).collect()
        });
        // A name that begins another one's name brings that case along.
        let lines: BTreeMap<&str, &Value> = reports
            .iter()
            .flat_map(|report| report["cases"].as_array().expect("a list of cases"))
            .map(|line| (line["name"].as_str().expect("a case has a name"), line))
            .filter(|(name, _)| names.contains(name))
            .collect();
        assert_eq!(lines.len(), names.len(), "every case is in a report");
        let lines: Vec<&Value> = lines.into_values().collect();
        let with = |result: &str| lines.iter().filter(|line| line["result"] == result).copied().collect();
        let (passed, skipped): (Vec<&Value>, Vec<&Value>) = (with("passed"), with("skipped"));
        for line in &skipped {
            println!("{} skipped {}: {}", self.driver, line["name"], line["reason"]);
        }
        let failed: Vec<String> = lines
            .iter()
            .filter(|line| line["result"] != "passed" && line["result"] != "skipped")
            .map(|line| serde_json::to_string_pretty(line).unwrap_or_default())
            .collect();
        assert!(failed.is_empty(), "{} of {} failed:\n{}", failed.len(), names.len(), failed.join("\n"));
        println!("{}: {} passed, {} skipped", self.driver, passed.len(), skipped.len());
        (passed.len(), skipped.len())
    }
}

/// What a script says that proves a stand-in with clients that others wrote. It fails where they find a fault.
pub(crate) fn said_by_proof(server: &StoreServer, script: &str) -> String {
    let work = server.folder().join("work");
    let script = artifacts::workspace().join("tests/servers").join(script);
    run(Command::new("bash").arg(script).arg(&work).arg(work.join("ready")))
}

/// Variables with some of them changed or added; an empty value takes one away.
pub(crate) fn changed(variables: &[(String, String)], changes: &[(&str, &str)]) -> Variables {
    let is_changed = |name: &str| changes.iter().any(|(changed, _)| *changed == name);
    let kept = variables.iter().filter(|(name, _)| !is_changed(name)).cloned();
    let new = changes.iter().filter(|(_, value)| !value.is_empty());
    kept.chain(new.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))).collect()
}

/// The same for a server that takes the time for two hours earlier than it is.
pub(crate) fn with_a_late_clock(variables: &[(String, String)]) -> Variables {
    let library = ["x86_64", "aarch64"]
        .map(|machine| format!("/usr/lib/{machine}-linux-gnu/faketime/libfaketime.so.1"))
        .into_iter()
        .find(|path| Path::new(path).exists())
        .expect("the package faketime is installed");
    let late = [("LD_PRELOAD", library.as_str()), ("FAKETIME", "-2h"), ("FAKETIME_DONT_FAKE_MONOTONIC", "1")];
    changed(variables, &late)
}

/// A server with a flavor of the sample configuration, which is told everything else by variables.
pub(crate) fn serve(flavor: &str, environment: &[(String, String)]) -> Server {
    Server::launch(launch(flavor, environment), Place::new())
}

/// How [`serve`] starts its server.
pub(crate) fn launch(flavor: &str, environment: &[(String, String)]) -> Launch {
    let chosen = Chosen {
        configuration: artifacts::workspace().join("config/config_sample.yml"),
        flavor: flavor.to_owned(),
        drivers: artifacts::folder().to_owned(),
    };
    // One root in the store for all servers of a test; a folder of its own, which the harness gives, where it is one.
    let is_folder = matches!(flavor, "glance" | "openstack");
    let root = (!is_folder).then(|| ("STORAGE_PATH".to_owned(), "/registry".to_owned()));
    let environment = root.iter().chain(environment).cloned().collect();
    Launch { chosen: Some(chosen), environment, ..Launch::under_test() }
}

/// Starts `serve` with a flavor of the sample and variables, expects that it ends by itself without having listened,
/// and returns what it wrote.
pub(crate) fn refused(flavor: &str, environment: &[(String, String)]) -> String {
    let folder: TempDir = tempfile::tempdir().expect("a folder");
    let output = Command::new("timeout")
        .arg("120")
        .arg(artifacts::folder().join("docker-registry"))
        .args(["serve", "--bind", "127.0.0.1:0"])
        .arg(artifacts::workspace().join("config/config_sample.yml"))
        .current_dir(folder.path())
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("SETTINGS_FLAVOR", flavor)
        // Others listen at the usual port.
        .env("REGISTRY_ADMIN", "off")
        .env("DOCKER_REGISTRY_DRIVER_PATH", artifacts::folder())
        .envs(environment.iter().cloned())
        .stdin(Stdio::null())
        .output()
        .expect("timeout starts");
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(!text.contains("Listening at"), "it serves:\n{text}");
    assert!(!output.status.success() && output.status.code() != Some(124), "{}:\n{text}", output.status);
    text
}

/// Expects that `serve` ends by itself, with all the words and none of the secrets in what it wrote.
pub(crate) fn refused_with(flavor: &str, environment: &[(String, String)], words: &[&str], secrets: &[&str]) {
    let text = refused(flavor, environment);
    for word in words {
        assert!(text.contains(word), "{word:?} is not in\n{text}");
    }
    for secret in secrets {
        assert!(!text.contains(secret), "a secret is in\n{text}");
    }
}

/// One server takes half of an upload and is killed, as by a power cut; another one takes the rest, in which nothing
/// is sent or copied again. `variables` are those of a server behind the proxy.
pub(crate) fn goes_on_in_another_process(flavor: &str, proxy: &FaultProxy, variables: &[(String, String)]) {
    let content = Content::bytes(7, 40 << 20);
    // In the middle of a part.
    let half = content.len() / 2 + 1_234_567;
    let parts = |seen: &[Seen]| -> Vec<Seen> {
        let is_sent = |seen: &&Seen| seen.is_part() && seen.status.is_some_and(|status| status < 400);
        // What a driver finds out about the server when it opens is none of the content.
        seen.iter().filter(is_sent).filter(|seen| !seen.target.contains("/probes/")).cloned().collect()
    };

    let first = serve(flavor, variables);
    let location = v2::open_upload(&first.client(), "two/processes");
    let range = format!("0-{}", half - 1);
    let patch = [v2::OCTETS, ("Content-Range", range.as_str())];
    let location = first.client().send("PATCH", &location, &patch, &content[..half]).expect(202).location();
    drop(first);
    let before = parts(&proxy.take_seen());
    assert!(before.len() >= 2, "the first process sent parts: {before:?}");

    let second = serve(flavor, variables);
    let (received, location) = v2::received(&second.client(), &location).expect("the upload is known");
    assert_eq!(received, half as u64);
    let range = format!("{half}-{}", content.len() - 1);
    let patch = [v2::OCTETS, ("Content-Range", range.as_str())];
    let location = second.client().send("PATCH", &location, &patch, &content[half..]).expect(202).location();
    let seen = proxy.take_seen();
    // Some stores keep a condition only by copying what was just sent to its name; that is nothing of before.
    let objects_of_before: Vec<&str> =
        before.iter().filter_map(|part| part.target.split('?').next()).collect();
    let copies_of_before = |seen: &&Seen| {
        let source = seen.headers.iter().find(|(name, _)| name.as_str().ends_with("-copy-source"));
        let source = source.and_then(|(_, value)| value.to_str().ok()).unwrap_or_default();
        let source = source.split('?').next().unwrap_or_default();
        objects_of_before.iter().any(|object| !source.is_empty() && source.ends_with(object))
    };
    let copied: Vec<_> = seen.iter().filter(copies_of_before).collect();
    assert!(copied.is_empty(), "copied: {copied:?}");
    let after = parts(&seen);
    let repeated: Vec<_> =
        after.iter().filter(|part| before.iter().any(|earlier| earlier.target == part.target)).collect();
    assert!(repeated.is_empty(), "sent again: {repeated:?}");
    let (sent, rest) = (after.iter().map(|part| part.sent).sum::<u64>(), (content.len() - half) as u64);
    assert_eq!(sent, rest, "bytes sent for the rest");

    let digest = digest(&content);
    second.client().send("PUT", &v2::completion(&location, &digest), &[], b"").expect(201);
    let stored = second.client().get(&format!("/v2/two/processes/blobs/{digest}")).expect(200);
    assert!(stored.body == content, "the blob is what was sent");
}

/// Pushes an image of a small and a large layer, reads it back and compares it.
pub(crate) fn stores_an_image(server: &Server, large: usize) {
    let client = server.client();
    let blobs: Vec<(String, u64)> = [(1, 5_000), (2, large)]
        .into_iter()
        .map(|(seed, size)| {
            let content = Content::bytes(seed, size as u64);
            (v2::push_blob(&client, "stores/image", &content), size as u64)
        })
        .collect();
    let manifest = v2::manifest(&blobs);
    v2::push_manifest(&client, "stores/image", "latest", &manifest).expect(201);
    assert!(v2::verify(&client, "stores/image", "latest").len() >= 3);
    assert_eq!(v2::tags(&client, "stores/image"), ["latest"]);
}

/// Pushes two images of V1, the upper one with a large layer, reads them back, and deletes their tag and repository.
pub(crate) fn stores_images_of_v1(server: &Server, large: usize) {
    let client = server.client();
    let lower = Image::new(None, Content::bytes(21, 100_000));
    let upper = Image::new(Some(&lower), Content::bytes(22, large as u64));
    v1::push(&client, "old/image", "latest", &[&lower, &upper]);
    v1::verify(&client, "old/image", "latest", &[&lower, &upper]);
    client.send("DELETE", "/v1/repositories/old/image/tags/latest", &[], b"").expect(200);
    client.send("DELETE", "/v1/repositories/old/image/", &[], b"").expect(200);
    client.get("/v1/repositories/old/image/tags").expect(404);
}

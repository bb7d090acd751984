//! How a server's answers get slower with what is stored: repositories, and tags in one of them.
//!
//! One folder is filled by hand with the files of distribution's layout and served by everybody at the same time. Nobody
//! writes. An answer that does not come within the patience of the client is noted, and the same is not
//! asked again.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{fs, io};

use anyhow::Result;
use docker_registry_tests::content::digest;
use docker_registry_tests::server::Product;
use docker_registry_tests::v2;
use tempfile::TempDir;

use super::contestants::Contestant;
use super::load::{Exchange, Measurement, repeat};
use super::rows::Effort;
use crate::workspace::Workspace;

/// How many there are.
const STEPS: [usize; 6] = [10, 100, 1_000, 10_000, 100_000, 1_000_000];
/// Most tags of one repository that are measured.
const MOST_TAGS: usize = 100_000;
/// Names that one file may have: some file systems end at 65,000.
const MOST_NAMES: usize = 60_000;
/// Connections that ask for small manifests at the same time.
const CONNECTIONS: [u32; 4] = [1, 10, 100, 1_000];
/// The repository with many tags.
const TAGGED: &str = "growth/tagged";
/// Where the blob store of a folder is.
const BLOBS: &str = "docker/registry/v2/blobs";
const REPOSITORIES: &str = "docker/registry/v2/repositories";

/// Measures with at most so many repositories, and returns tables in Markdown.
pub(super) fn measure(workspace: &Workspace, effort: Effort, rounds: u32, most: usize) -> Result<String> {
    let folder = tempfile::Builder::new().prefix("docker-registry-bench-").tempdir()?;
    let mut manifest = Stored::new(folder.path())?;
    manifest.repository(TAGGED, 0)?;
    let contestants = [Product::Ours, Product::Distribution]
        .map(|product| Contestant::on_folder(workspace, product, folder.path()));
    let mut text = String::new();

    text.push_str(
        "| repositories | manifest GET by tag | first page of the catalog | page from the middle |\n",
    );
    text.push_str("|---|---|---|---|\n");
    let mut there = 0;
    for count in STEPS.into_iter().filter(|count| *count <= most) {
        for number in there..count {
            manifest.repository(&repository(number), 1)?;
        }
        there = count;
        let middle = repository(count / 2);
        let targets = [
            format!("/v2/{middle}/manifests/tag-0000000"),
            "/v2/_catalog?n=100".to_owned(),
            format!("/v2/_catalog?n=100&last={middle}"),
        ];
        line(&mut text, count, &contestants, &targets, effort, rounds)?;
    }

    text.push_str(
        "\n| tags | manifest GET by tag | first page of tags | page from the middle |\n|---|---|---|---|\n",
    );
    let mut there = 0;
    for count in STEPS.into_iter().filter(|count| *count <= most.min(MOST_TAGS)) {
        for number in there..count {
            manifest.tag(TAGGED, number)?;
        }
        there = count;
        let middle = tag(count / 2);
        let targets = [
            format!("/v2/{TAGGED}/manifests/{middle}"),
            format!("/v2/{TAGGED}/tags/list?n=100"),
            format!("/v2/{TAGGED}/tags/list?n=100&last={middle}"),
        ];
        line(&mut text, count, &contestants, &targets, effort, rounds)?;
    }

    text.push_str("\n| connections | manifest GET by tag |\n|---|---|\n");
    for count in CONNECTIONS {
        let target = [format!("/v2/{TAGGED}/manifests/{}", tag(0))];
        let effort = Effort { connections: count, ..effort };
        line(&mut text, count as usize, &contestants, &target, effort, rounds)?;
    }
    close(folder);
    Ok(text)
}

/// A line of a table: for each target the median time of this server's answers in milliseconds, and as a part of the
/// peer's.
fn line(
    text: &mut String,
    count: usize,
    contestants: &[Contestant; 2],
    targets: &[String],
    effort: Effort,
    rounds: u32,
) -> Result<()> {
    eprintln!("xtask: growth, {count}");
    write!(text, "| {count} |")?;
    for target in targets {
        let mut times = [Some(Vec::new()), Some(Vec::new())];
        for _ in 0..rounds {
            for (contestant, times) in contestants.iter().zip(&mut times) {
                let Some(answered) = times else { continue };
                let accept = format!("Accept: {}\r\n", v2::MANIFEST);
                let exchange = Exchange::new(contestant, "GET", target, &accept, None);
                match repeat(contestant, &exchange, effort.connections, effort.time) {
                    Ok(measured) => answered.push(answer_time(&measured, effort.connections)),
                    Err(error) if ran_out_of_patience(&error) => *times = None,
                    Err(error) => return Err(error),
                }
            }
        }
        match times.map(|times| times.map(super::report::median)) {
            [Some(ours), Some(peer)] => write!(text, " {ours:.2} ms, {:.3} of the peer's |", ours / peer)?,
            [Some(ours), None] => write!(text, " {ours:.2} ms, none from the peer |")?,
            [None, _] => text.push_str(" none |"),
        }
    }
    text.push('\n');
    Ok(())
}

/// Whether a server was silent for so long that its client gave up.
fn ran_out_of_patience(error: &anyhow::Error) -> bool {
    let silent = |kind| matches!(kind, io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
    error.downcast_ref::<io::Error>().is_some_and(|error| silent(error.kind()))
}

/// Milliseconds that one answer took, as its client sees it.
fn answer_time(measured: &Measurement, connections: u32) -> f64 {
    measured.elapsed.as_secs_f64() * 1e3 * f64::from(connections) / measured.requests
}

fn repository(number: usize) -> String {
    format!("growth/{:03}/repository-{number:07}", number % 1000)
}

fn tag(number: usize) -> String {
    format!("tag-{number:07}")
}

/// The one manifest that every tag is.
struct Stored<'bench> {
    folder: &'bench Path,
    hex: String,
    /// A file that refers to it, and how many names it has. All links are names of few files: with a million repositories
    /// they would not fit otherwise.
    link: Option<(PathBuf, usize)>,
}

impl Stored<'_> {
    fn new(folder: &Path) -> Result<Stored<'_>> {
        let layer = [0; 100];
        let manifest = v2::manifest(&[(digest(&layer), layer.len() as u64)]);
        for content in [&layer[..], manifest.as_bytes()] {
            let digest = digest(content);
            let hex = digest.trim_start_matches("sha256:");
            let place = folder.join(BLOBS).join("sha256").join(&hex[..2]).join(hex);
            fs::create_dir_all(&place)?;
            fs::write(place.join("data"), content)?;
        }
        let hex = digest(manifest.as_bytes()).trim_start_matches("sha256:").to_owned();
        Ok(Stored { folder, hex, link: None })
    }

    /// A repository with this many tags.
    fn repository(&mut self, name: &str, tags: usize) -> Result<()> {
        let manifests = self.folder.join(REPOSITORIES).join(name).join("_manifests");
        self.link(&manifests.join("revisions/sha256").join(&self.hex))?;
        (0..tags).try_for_each(|number| self.tag(name, number))
    }

    fn tag(&mut self, repository: &str, number: usize) -> Result<()> {
        let tags = self.folder.join(REPOSITORIES).join(repository).join("_manifests/tags").join(tag(number));
        self.link(&tags.join("current"))?;
        self.link(&tags.join("index/sha256").join(&self.hex))
    }

    fn link(&mut self, place: &Path) -> Result<()> {
        fs::create_dir_all(place)?;
        let place = place.join("link");
        match &mut self.link {
            Some((file, names)) if *names < MOST_NAMES => {
                fs::hard_link(file, place)?;
                *names += 1;
            }
            _ => {
                fs::write(&place, format!("sha256:{}", self.hex))?;
                self.link = Some((place, 1));
            }
        }
        Ok(())
    }
}

/// Deletes a folder of very many files, which is not worth the end of a run.
fn close(folder: TempDir) {
    if let Err(error) = folder.close() {
        eprintln!("xtask: {error}");
    }
}

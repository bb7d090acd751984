//! Which versions of the others are measured: what their programs say, else what this tree pins.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, Result, anyhow, ensure};
use docker_registry_tests::server::Product;
use object::Endianness;
use object::elf::FileHeader64;
use object::read::elf::{FileHeader, SectionHeader};

use super::contestants::Other;
use crate::workspace::Workspace;

/// The names of these with their versions. What was measured is kept even when one of them does not tell.
pub(super) fn line(workspace: &Workspace, peers: &[Other]) -> String {
    let named = |peer: &Other| match version(workspace, *peer) {
        Ok(version) => format!("{} ({version})", peer.name()),
        Err(error) => {
            eprintln!("xtask: {error:#}");
            format!("{} (of an unknown version)", peer.name())
        }
    };
    let named: Vec<String> = peers.iter().map(named).collect();
    format!("Peers: {}.", named.join(", "))
}

fn version(workspace: &Workspace, peer: Other) -> Result<String> {
    let program = |product: Product| product.peer_program().map_err(|error| anyhow!(error));
    let found = match (peer, peer.registry()) {
        (Other::DistributionTwo, Some(product)) => {
            let output = said(Command::new(program(product)?).arg("--version"))?;
            String::from_utf8_lossy(&output.stdout).split_whitespace().last().map(str::to_owned)
        }
        // Their own words are empty or end in "unknown" when they were not built by their makers.
        (Other::DistributionThree | Other::Zot, Some(product)) => go_module(&program(product)?)?,
        (Other::DockerRegistryPython, _) => {
            let pinned =
                fs::read_to_string(workspace.file("tests/servers/docker-registry-0.9-requirements.txt"))?;
            after(&pinned, "docker-registry==")
        }
        (Other::Nginx, _) => {
            let output = said(Command::new("nginx").arg("-v"))?;
            after(&String::from_utf8_lossy(&output.stderr), "nginx version: nginx/")
        }
        (Other::Hyper, _) => {
            let locked = fs::read_to_string(workspace.file("Cargo.lock"))?;
            let package = locked.split("[[package]]").find(|text| text.contains("\nname = \"hyper\"\n"));
            package.and_then(|text| after(text, "version = ")).map(|text| text.replace('"', ""))
        }
        (Other::Receiver, _) => Some("of this tree".to_owned()),
        (Other::DistributionTwo | Other::DistributionThree | Other::Zot, None) => None,
    };
    found.with_context(|| format!("{} does not say its version", peer.name()))
}

/// What a program that ends well writes.
fn said(command: &mut Command) -> Result<Output> {
    let output = command.output()?;
    ensure!(output.status.success(), "{} fails", command.get_program().display());
    Ok(output)
}

/// The rest of the line that begins so.
fn after(text: &str, beginning: &str) -> Option<String> {
    text.lines().find_map(|line| line.strip_prefix(beginning)).map(|rest| rest.trim().to_owned())
}

/// The version of the module that a program was built from, which Go writes into every program.
fn go_module(program: &Path) -> Result<Option<String>> {
    let content = fs::read(program)?;
    let header = FileHeader64::<Endianness>::parse(content.as_slice())?;
    let endian = header.endian()?;
    let sections = header.sections(endian, content.as_slice())?;
    let (_, section) = sections.section_by_name(endian, b".go.buildinfo").context("no program of Go")?;
    let text = String::from_utf8_lossy(section.data(endian, content.as_slice())?);
    Ok(after(&text, "mod\t").and_then(|module| module.split('\t').nth(1).map(str::to_owned)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packaged_or_pinned_tells_its_version() {
        let workspace = Workspace::locate().expect("this is the workspace");
        for (peer, beginning) in [
            (Other::DistributionTwo, "2."),
            (Other::DockerRegistryPython, "0.9."),
            (Other::Nginx, "1."),
            (Other::Hyper, "1."),
        ] {
            let version = version(&workspace, peer).expect("it tells");
            assert!(version.starts_with(beginning), "{}: {version}", peer.name());
        }
        assert_eq!(line(&workspace, &[Other::Receiver]), "Peers: bare receiver (of this tree).");
    }
}

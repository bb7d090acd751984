//! Where the results of a whole run are kept: `docs/benchmarks/`, with the date and the machine.

use std::env;
use std::fs;
use std::thread::available_parallelism;

use anyhow::{Context, Result};
use xshell::{Shell, cmd};

use super::contestants::Other;
use super::versions;
use crate::workspace::Workspace;

/// Writes a page of results and says where.
///
/// `name` tells it from other pages of the same day. `peers` are those that were measured beside this server.
pub(super) fn write(
    workspace: &Workspace,
    shell: &Shell,
    name: &str,
    how: &str,
    peers: &[Other],
    tables: &str,
) -> Result<()> {
    let folder = workspace.file("docs/benchmarks");
    fs::create_dir_all(&folder)?;
    let date = cmd!(shell, "date +%Y-%m-%d").quiet().read()?;
    let path = folder.join(format!("{date}-{name}.md"));
    let mut text = format!("# Measured on {date}: {name}\n\n{how}\n\n{}\n\n", machine()?);
    if !peers.is_empty() {
        text += &format!("{}\n\n", versions::line(workspace, peers));
    }
    text += &format!("Made by `{}`.\n\n{tables}", command(env::args().skip(1)));
    fs::write(&path, text.trim_end().to_owned() + "\n")
        .with_context(|| format!("{} cannot be written", path.display()))?;
    println!("kept in {}", path.display());
    Ok(())
}

/// The command line of this run, to be typed again. The arguments are names and numbers, none of this machine alone.
fn command(arguments: impl Iterator<Item = String>) -> String {
    let is_plain = |letter: char| letter.is_alphanumeric() || "-_.,=".contains(letter);
    arguments.fold("cargo xtask".to_owned(), |line, argument| {
        if !argument.is_empty() && argument.chars().all(is_plain) {
            format!("{line} {argument}")
        } else {
            format!("{line} \"{argument}\"")
        }
    })
}

/// A sentence about this machine, without its name.
fn machine() -> Result<String> {
    let processors = available_parallelism()?.get();
    let information = fs::read_to_string("/proc/cpuinfo")?;
    let model = information.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let model = model.map_or("an unnamed processor", |(_, model)| model.trim());
    let memory = fs::read_to_string("/proc/meminfo")?;
    let memory = memory.lines().find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next());
    let gibibytes = memory.and_then(|text| text.parse::<u64>().ok()).unwrap_or(0) / (1 << 20);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let (major, _) = kernel.split_once('-').unwrap_or((kernel.trim(), ""));
    Ok(format!(
        "The machine: {processors} processors ({model}), {gibibytes} GiB of memory, Linux {}.",
        major.trim()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_is_kept_as_it_can_be_typed_again() {
        let arguments =
            ["bench", "--only", "mix of zot's zb", "--against", "distribution-2.8,zot", "--seconds=0.5", ""];
        let line = command(arguments.into_iter().map(str::to_owned));
        let typed =
            r#"cargo xtask bench --only "mix of zot's zb" --against distribution-2.8,zot --seconds=0.5 """#;
        assert_eq!(line, typed);
    }
}

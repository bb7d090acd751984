//! Where the results of a whole run are kept: `docs/benchmarks/`, with the date and the machine.

use std::fs;
use std::thread::available_parallelism;

use anyhow::{Context, Result};
use xshell::{Shell, cmd};

use crate::workspace::Workspace;

/// Writes a page of results and says where.
///
/// `name` tells it from other pages of the same day.
pub(super) fn write(workspace: &Workspace, shell: &Shell, name: &str, how: &str, tables: &str) -> Result<()> {
    let folder = workspace.file("docs/benchmarks");
    fs::create_dir_all(&folder)?;
    let date = cmd!(shell, "date +%Y-%m-%d").quiet().read()?;
    let path = folder.join(format!("{date}-{name}.md"));
    let text = format!("# Measured on {date}: {name}\n\n{how}\n\n{}\n\n{tables}", machine()?);
    fs::write(&path, text.trim_end().to_owned() + "\n")
        .with_context(|| format!("{} cannot be written", path.display()))?;
    println!("kept in {}", path.display());
    Ok(())
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

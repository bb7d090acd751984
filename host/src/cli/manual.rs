//! `manual`: manual pages and shell completions, written from the command line's own definition.
//!
//! Packaging runs it; whoever has only the program can, too. So neither can say anything else than the program.

use std::{fs, path::Path};

use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;

use super::{Arguments, Failure};

/// Writes `man1/*.1`, one page for each command, and `completions/`, one file for each shell, below a folder.
pub(super) fn write(folder: &Path) -> Result<(), Failure> {
    let mut command = Arguments::command();
    command.build();
    let pages = folder.join("man1");
    fs::create_dir_all(&pages)?;
    write_pages(&command, &pages)?;
    let completions = folder.join("completions");
    fs::create_dir_all(&completions)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        let mut definition = Arguments::command();
        clap_complete::generate_to(shell, &mut definition, "docker-registry", &completions)?;
    }
    Ok(())
}

/// The page of a command and of each one below it. What is hidden in the help has none.
fn write_pages(command: &Command, folder: &Path) -> Result<(), Failure> {
    let page = Man::new(command.clone());
    let mut text = Vec::new();
    page.render(&mut text)?;
    fs::write(folder.join(page.get_filename()), text)?;
    let shown = |command: &&Command| !command.is_hide_set() && command.get_name() != "help";
    command.get_subcommands().filter(shown).try_for_each(|command| write_pages(command, folder))
}

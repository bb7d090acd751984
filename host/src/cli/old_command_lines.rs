//! Command lines that are older than this program: what was typed is made into what clap knows.
//!
//! `docker-registry` alone was the launcher of 0.7 to 0.9.1 and starts the server; so does the name of a configuration
//! file alone. A command line of gunicorn is answered with the one to write instead.

use std::{ffi::OsString, path::Path};

use clap::Command;

use super::gunicorn;

/// What a command line means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Typed {
    /// A command line of this program, its name first.
    Arguments(Vec<OsString>),
    /// One of another program, and the sentence that says what to write.
    Translated(String),
}

/// Reads a command line, the program's name first. `command` knows the names of all commands.
pub(super) fn read(mut arguments: Vec<OsString>, command: &Command) -> Typed {
    let program = arguments.first().cloned().unwrap_or_else(|| command.get_name().into());
    let typed = arguments.split_off(arguments.len().min(1));
    let with_serve = |rest: &[OsString]| {
        let serve = [program.clone(), OsString::from("serve")];
        Typed::Arguments(serve.into_iter().chain(rest.iter().cloned()).collect())
    };
    let Some(first) = typed.first() else { return with_serve(&[]) };
    // `serve` may have been put before what stood there.
    if first == "serve" || !is_command(first, command) {
        let texts: Vec<String> = typed.iter().map(|text| text.to_string_lossy().into_owned()).collect();
        if let Some(sentence) = gunicorn::translate(&texts) {
            return Typed::Translated(sentence);
        }
    }
    if !is_command(first, command) && is_configuration(Path::new(first)) {
        return with_serve(&typed);
    }
    Typed::Arguments([program].into_iter().chain(typed).collect())
}

fn is_command(word: &OsString, command: &Command) -> bool {
    word.to_str().is_some_and(|word| word == "help" || command.find_subcommand(word).is_some())
}

/// A word that can only be meant as the name of a configuration file.
fn is_configuration(path: &Path) -> bool {
    let has_the_name = path.extension().is_some_and(|extension| extension == "yml" || extension == "yaml");
    let is_option = path.as_os_str().as_encoded_bytes().starts_with(b"-");
    !is_option && (has_the_name || path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(typed: &[&str]) -> Typed {
        let command = Command::new("docker-registry").subcommand(Command::new("serve"));
        read(typed.iter().map(OsString::from).collect(), &command)
    }

    fn arguments(typed: &[&str]) -> Typed {
        Typed::Arguments(typed.iter().map(OsString::from).collect())
    }

    #[test]
    fn nothing_and_a_file_mean_serve_and_the_rest_stays() {
        assert_eq!(of(&[]), arguments(&["docker-registry", "serve"]));
        assert_eq!(of(&["/usr/bin/docker-registry"]), arguments(&["/usr/bin/docker-registry", "serve"]));
        assert_eq!(
            of(&["r", "a.yml", "--bind", "b:1"]),
            arguments(&["r", "serve", "a.yml", "--bind", "b:1"])
        );
        assert_eq!(of(&["r", "/etc/x/config.yaml"]), arguments(&["r", "serve", "/etc/x/config.yaml"]));
        for same in
            [&["r", "serve", "a.yml"][..], &["r", "nonsense"], &["r", "--help"], &["r", "help"], &["r", "-V"]]
        {
            assert_eq!(of(same), arguments(same));
        }
    }

    #[test]
    fn gunicorn_is_translated_also_behind_serve() {
        for typed in [
            &["r", "-b", "127.0.0.1:5000", "docker_registry.wsgi:application"][..],
            &["r", "serve", "-b", "127.0.0.1:5000", "docker_registry.wsgi:application"],
            &["r", "gunicorn", "-b", "127.0.0.1:5000", "docker_registry.wsgi:application"],
        ] {
            let Typed::Translated(sentence) = of(typed) else { panic!("{typed:?} is not translated") };
            assert!(sentence.contains("docker-registry serve --bind 127.0.0.1:5000"), "{sentence}");
        }
    }
}

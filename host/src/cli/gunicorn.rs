//! A command line of gunicorn, under which docker-registry 0.6 to 0.9.1 ran, translated into one of ours.
//!
//! Init scripts hold such lines. Nothing is guessed: what has no counterpart is named.

/// What an option of gunicorn is here.
#[derive(Clone, Copy)]
enum Meaning {
    /// An address to listen at.
    Bind,
    /// The option of that name, with the same value.
    Same(&'static str),
    /// A variable before the command.
    Variable(&'static str),
    /// A variable before the command, and the key of the configuration that it is the default of.
    Key(&'static str, &'static str),
    /// The PROXY protocol. The option has no value.
    ProxyProtocol,
    /// `NAME=VALUE`, itself a variable before the command.
    Assignment,
    /// Nothing. The option has a value.
    Nothing,
    /// Nothing. The option has no value.
    NothingAlone,
    /// What the init system does: as which user the server runs.
    InitSystem,
}

use Meaning::{Assignment, Bind, InitSystem, Key, Nothing, NothingAlone, ProxyProtocol, Same, Variable};

/// Options of gunicorn 18 and 19: the short and the long form, and what they are here.
const OPTIONS: &[(&str, &str, Meaning)] = &[
    ("-b", "--bind", Bind),
    ("", "--access-logfile", Same("--access-log")),
    ("", "--error-logfile", Same("--error-log")),
    ("", "--log-file", Same("--error-log")),
    ("", "--graceful-timeout", Same("--graceful-timeout")),
    ("", "--log-level", Variable("LOGLEVEL")),
    ("-e", "--env", Assignment),
    ("-u", "--user", InitSystem),
    ("-g", "--group", InitSystem),
    ("-c", "--config", Nothing),
    ("-k", "--worker-class", Nothing),
    ("-m", "--umask", Nothing),
    ("-n", "--name", Nothing),
    ("-p", "--pid", Nothing),
    ("-t", "--timeout", Nothing),
    ("-w", "--workers", Nothing),
    ("", "--access-logformat", Nothing),
    ("", "--backlog", Nothing),
    ("", "--ca-certs", Nothing),
    ("", "--certfile", Key("REGISTRY_TLS_CERTIFICATE", "tls.certificate")),
    ("", "--chdir", Nothing),
    ("", "--ciphers", Nothing),
    ("", "--forwarded-allow-ips", Nothing),
    ("", "--keep-alive", Nothing),
    ("", "--keyfile", Key("REGISTRY_TLS_KEY", "tls.key")),
    ("", "--limit-request-field_size", Nothing),
    ("", "--limit-request-fields", Nothing),
    ("", "--limit-request-line", Nothing),
    ("", "--log-config", Nothing),
    ("", "--log-syslog-to", Nothing),
    ("", "--logger-class", Nothing),
    ("", "--max-requests", Nothing),
    ("", "--max-requests-jitter", Nothing),
    ("", "--pythonpath", Nothing),
    ("", "--statsd-host", Nothing),
    ("", "--threads", Nothing),
    ("", "--worker-connections", Nothing),
    ("", "--worker-tmp-dir", Nothing),
    ("-D", "--daemon", NothingAlone),
    ("-R", "--enable-stdio-inheritance", NothingAlone),
    ("", "--check-config", NothingAlone),
    ("", "--debug", NothingAlone),
    ("", "--log-syslog", NothingAlone),
    ("", "--preload", NothingAlone),
    ("", "--proxy-protocol", ProxyProtocol),
    ("", "--reload", NothingAlone),
    ("", "--spew", NothingAlone),
];

/// Where gunicorn listens when a line names no port.
const DEFAULT_PORT: &str = "8000";

/// The sentence that says what to write instead, for a line that is gunicorn's. `None` for any other.
pub(super) fn translate(typed: &[String]) -> Option<String> {
    let typed = typed.strip_prefix(&["serve".to_owned()]).unwrap_or(typed);
    let is_gunicorn = |word: &String| word == "gunicorn" || word.ends_with("/gunicorn");
    let names_gunicorn = typed.first().is_some_and(is_gunicorn);
    let typed = if names_gunicorn { &typed[1..] } else { typed };
    (names_gunicorn || typed.iter().any(|word| is_application(word)))
        .then(|| Translation::of(typed).sentence())
}

/// `docker_registry.wsgi:application`, or another callable of a module called `wsgi`.
fn is_application(word: &str) -> bool {
    word.split_once(':').is_some_and(|(module, name)| {
        let is_name = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.');
        (module == "wsgi" || module.ends_with(".wsgi"))
            && !name.is_empty()
            && is_name(module)
            && is_name(name)
    })
}

#[derive(Default)]
struct Translation {
    variables: Vec<String>,
    options: Vec<String>,
    left_out: Vec<String>,
    keys: Vec<&'static str>,
    needs_init_system: bool,
}

impl Translation {
    fn of(typed: &[String]) -> Self {
        let mut translation = Self::default();
        let mut words = typed.iter();
        while let Some(word) = words.next() {
            if is_application(word) {
                continue;
            }
            let Some((name, meaning, attached)) = option(word) else {
                translation.left_out.push(quoted(word));
                continue;
            };
            if matches!(meaning, NothingAlone) {
                translation.left_out.push(name.to_owned());
                continue;
            }
            if matches!(meaning, ProxyProtocol) {
                // gunicorn believes the machine itself and takes connections without the header, too.
                translation.add(name, Key("REGISTRY_PROXY_PROTOCOL", "proxy_protocol"), "optional");
                translation.add(name, Key("REGISTRY_TRUSTED_PROXIES", "trusted_proxies"), "[127.0.0.1]");
                continue;
            }
            let value = attached.or_else(|| words.next().map(String::as_str));
            translation.add(name, meaning, value.unwrap_or_default());
        }
        translation
    }

    fn add(&mut self, name: &str, meaning: Meaning, value: &str) {
        match meaning {
            Bind => self.options.extend(["--bind".to_owned(), quoted(&address(value))]),
            Same(ours) => self.options.extend([ours.to_owned(), quoted(value)]),
            Variable(variable) => self.variables.push(format!("{variable}={}", quoted(value))),
            Key(variable, key) => {
                self.variables.push(format!("{variable}={}", quoted(value)));
                self.keys.push(key);
            }
            Assignment => self.variables.push(match value.split_once('=') {
                Some((variable, value)) => format!("{variable}={}", quoted(value)),
                None => format!("{value}="),
            }),
            Nothing | NothingAlone | ProxyProtocol => self.left_out.push(format!("{name} {}", quoted(value))),
            InitSystem => {
                self.needs_init_system = true;
                self.left_out.push(format!("{name} {}", quoted(value)));
            }
        }
    }

    fn sentence(self) -> String {
        let command = ["docker-registry".to_owned(), "serve".to_owned()];
        let line: Vec<String> = self.variables.into_iter().chain(command).chain(self.options).collect();
        let mut sentence = format!("this is a command line of gunicorn; write instead: {}", line.join(" "));
        if !self.left_out.is_empty() {
            sentence.push_str(&format!("  # without a counterpart: {}", self.left_out.join(", ")));
        }
        if !self.keys.is_empty() {
            // A shell takes what follows for a comment.
            let mark = if self.left_out.is_empty() { "  # " } else { "; " };
            sentence.push_str(&format!("{mark}the keys of the configuration are {}", self.keys.join(", ")));
        }
        if self.needs_init_system {
            sentence.push_str("; let the init system start it as that user and group");
        }
        sentence
    }
}

/// An option with its meaning, and its value where that is attached: `--bind=A`, `-bA`, `-w8`.
fn option(word: &str) -> Option<(&'static str, Meaning, Option<&str>)> {
    OPTIONS.iter().find_map(|(short, long, meaning)| {
        if word == *long || (word == *short && !short.is_empty()) {
            let name = if word == *long { long } else { short };
            return Some((*name, *meaning, None));
        }
        if let Some(value) = word.strip_prefix(long).and_then(|rest| rest.strip_prefix('=')) {
            return Some((*long, *meaning, Some(value)));
        }
        let is_long = word.starts_with("--");
        let value = word.strip_prefix(short).filter(|_| !short.is_empty() && !is_long)?;
        Some((*short, *meaning, Some(value)))
    })
}

/// gunicorn's address with what it leaves out.
fn address(written: &str) -> String {
    if written.starts_with("unix:") {
        return written.to_owned();
    }
    // A socket that is open already is one that systemd passes.
    if written.starts_with("fd://") {
        return "systemd".to_owned();
    }
    let written = written.strip_prefix("tcp://").unwrap_or(written);
    match written.rsplit_once(':') {
        Some(("", port)) => format!("0.0.0.0:{port}"),
        Some((host, _)) if !host.ends_with(':') && !written.ends_with(']') => written.to_owned(),
        _ => format!("{written}:{DEFAULT_PORT}"),
    }
}

/// A word as a shell takes it for one.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,[]".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Option<String> {
        translate(&line.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn every_form_of_an_option_is_understood() {
        let expected = "this is a command line of gunicorn; write instead: LOGLEVEL=debug SETTINGS_FLAVOR=prod \
                        docker-registry serve --bind 0.0.0.0:5000 --bind [::1]:5000 --bind unix:/run/r.sock --access-log - \
                        --error-log 'a b'  # without a counterpart: -w 8, -k gevent, -D, --preload, --user www";
        let typed = "gunicorn|-b|:5000|--bind=[::1]:5000|-bunix:/run/r.sock|-w8|-k|gevent|-D|--preload|--user|www|\
                     --log-level|debug|-e|SETTINGS_FLAVOR=prod|--access-logfile|-|--log-file=a b|wsgi:application";
        let typed: Vec<String> = typed.split('|').map(str::to_owned).collect();
        let sentence = translate(&typed).expect("gunicorn's");
        assert_eq!(sentence, format!("{expected}; let the init system start it as that user and group"));
        assert!(of("-b 127.0.0.1 wsgi:app").expect("gunicorn's").ends_with("serve --bind 127.0.0.1:8000"));
    }

    #[test]
    fn tls_the_proxy_protocol_and_sockets_of_systemd_have_counterparts() {
        let sentence = of("gunicorn --certfile /a.crt --keyfile=/a.key --proxy-protocol -b fd://3 wsgi:app");
        let expected = "write instead: REGISTRY_TLS_CERTIFICATE=/a.crt REGISTRY_TLS_KEY=/a.key \
                        REGISTRY_PROXY_PROTOCOL=optional REGISTRY_TRUSTED_PROXIES=[127.0.0.1] docker-registry serve \
                        --bind systemd  # the keys of the configuration are tls.certificate, tls.key, proxy_protocol, \
                        trusted_proxies";
        let sentence = sentence.expect("gunicorn's");
        assert!(sentence.ends_with(expected), "{sentence}");
    }

    #[test]
    fn our_own_command_lines_are_not_gunicorns() {
        for line in
            ["serve", "serve /srv/wsgi/config.yml --bind 127.0.0.1:5000", "config.yml", "--help", "-b x"]
        {
            assert_eq!(of(line), None, "{line}");
        }
    }

    #[test]
    fn what_a_shell_would_take_apart_is_quoted() {
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted("$(reboot)"), "'$(reboot)'");
        assert_eq!(quoted(""), "''");
    }
}

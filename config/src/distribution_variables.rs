//! Variables of distribution (registry 2.x) that nothing here reads.
//!
//! Distribution overrides any key by a variable, so that many a container is configured by them alone. Whoever asks
//! for passwords that way must not get an open registry: that is an error. Each of the others is a notice.
//! Variables that this program or the file reads are never named, nor are those that orchestrators inject.

use crate::environment::Environment;
use crate::foreign::flow_text;
use crate::locate::Source;
use crate::problem::Problem;
use crate::server_keys::server_keys;
use crate::settings::Settings;
use std::collections::BTreeSet;

/// What stands for a variable here. The first name that is the variable's, or begins it as a whole word, counts.
const INSTEAD: [(&str, &str); 26] = [
    ("REGISTRY_CONFIGURATION_PATH", "name the file on the command line or in DOCKER_REGISTRY_CONFIG"),
    (
        "REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY",
        "the key is storage_path, which the built-in sample takes from the variable STORAGE_PATH",
    ),
    ("REGISTRY_STORAGE_DELETE", "who may delete is a matter of the key access"),
    ("REGISTRY_STORAGE_MAINTENANCE", "abandoned uploads are discarded by the key limits.upload_age"),
    ("REGISTRY_STORAGE_REDIRECT", "the key is storage_redirect"),
    ("REGISTRY_STORAGE_CACHE", NO_KEY),
    ("REGISTRY_STORAGE", "the keys are storage and those that `docker-registry driver inspect NAME` lists"),
    ("REGISTRY_HTTP_ADDR", "the keys are host and port, the variables REGISTRY_HOST and REGISTRY_PORT"),
    ("REGISTRY_HTTP_NET", "a unix socket is the key host: unix:PATH"),
    ("REGISTRY_HTTP_HOST", "the keys are trusted_proxies, and registry_endpoints for V1"),
    ("REGISTRY_HTTP_TLS_CERTIFICATE", "the key is tls.certificate, the variable REGISTRY_TLS_CERTIFICATE"),
    ("REGISTRY_HTTP_TLS_KEY", "the key is tls.key, the variable REGISTRY_TLS_KEY"),
    ("REGISTRY_HTTP_TLS_CLIENTCAS", "the keys are tls.client_certificates and tls.client_authorities"),
    ("REGISTRY_HTTP_TLS_MINIMUMTLS", "the key is tls.minimum_version"),
    ("REGISTRY_HTTP_TLS", "the keys are tls.certificate and tls.key"),
    ("REGISTRY_HTTP_DEBUG", "the key is admin, the variable REGISTRY_ADMIN"),
    ("REGISTRY_HTTP_DRAINTIMEOUT", "the key is limits.graceful_timeout"),
    ("REGISTRY_HTTP_SECRET", "no secret is needed for uploads"),
    ("REGISTRY_HTTP", NO_KEY),
    ("REGISTRY_LOG_LEVEL", "the key is loglevel, the variable LOGLEVEL"),
    ("REGISTRY_LOG_FORMATTER", "the key is log.format, the variable REGISTRY_LOG_FORMAT"),
    ("REGISTRY_LOG_ACCESSLOG", "the key is log.access_file"),
    ("REGISTRY_LOG", NO_KEY),
    ("REGISTRY_LOGLEVEL", "the key is loglevel, the variable LOGLEVEL"),
    ("REGISTRY_PROXY", "this release does not mirror another registry"),
    ("REGISTRY_NOTIFICATIONS", "this release sends no notifications"),
];

/// For what has no key.
const NO_KEY: &str = "there is no such key";

/// How all of its variables for passwords and tokens begin.
const AUTH: &str = "REGISTRY_AUTH";
/// Where podman, skopeo and buildah look for their own passwords.
const OF_CLIENTS: &str = "REGISTRY_AUTH_FILE";

/// Adds a notice for each variable without effect, and an error when passwords are wanted and nobody is asked.
/// `read` are the variables that the file names itself.
pub(crate) fn look(
    environment: &Environment,
    read: &BTreeSet<String>,
    settings: &Settings,
    notices: &mut Vec<String>,
    problems: &mut Vec<Problem>,
) {
    let is_ours = |name: &str| server_keys().any(|key| key.environment.as_deref() == Some(name));
    let mut wanted = Vec::new();
    for name in environment.names().filter(|name| name.starts_with("REGISTRY_")) {
        // What is no text is a wish all the same.
        let value = environment.get(name).unwrap_or(Some("?")).unwrap_or_default();
        if value.is_empty() || is_ours(name) || read.contains(name) || is_injected(name, value) {
            continue;
        }
        if is_within(name, AUTH) {
            if name != OF_CLIENTS && !(name == AUTH && value.eq_ignore_ascii_case("none")) {
                wanted.push(name);
            }
        } else if let Some((_, instead)) = INSTEAD.iter().find(|(known, _)| is_within(name, known)) {
            notices.push(format!("{name} has no effect: {instead}"));
        }
    }
    if settings.auth.is_some() {
        notices.extend(wanted.iter().map(|name| format!("{name} has no effect: the key auth counts")));
    } else if !wanted.is_empty() {
        problems.push(open_registry(&wanted, environment, settings));
    }
}

fn is_within(name: &str, group: &str) -> bool {
    name.strip_prefix(group).is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
}

/// What Kubernetes and `docker --link` set for a service with a name such as `registry-auth`.
fn is_injected(name: &str, value: &str) -> bool {
    let has_port = name.split("_PORT_").skip(1).any(|rest| {
        let (number, protocol) = rest.split_once('_').unwrap_or((rest, ""));
        number.parse::<u16>().is_ok() && (protocol.starts_with("TCP") || protocol.starts_with("UDP"))
    });
    has_port
        || name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
        || name.contains("_ENV_")
        || (name.ends_with("_PORT") && value.contains("://"))
        || (name.ends_with("_NAME") && value.starts_with('/'))
}

fn open_registry(wanted: &[&str], environment: &Environment, settings: &Settings) -> Problem {
    let text = |name: &str, otherwise: &str| {
        flow_text(environment.get(name).ok().flatten().filter(|text| !text.is_empty()).unwrap_or(otherwise))
    };
    let file = settings.source.to_string();
    let message = format!(
        "nobody would be asked for a password, because variables of distribution are not read: {}",
        wanted.join(", ")
    );
    let place = match &settings.source {
        Source::File(_) => "write",
        _ => "write in a configuration of your own",
    };
    Problem::error(&file, "auth", message).hint(format!(
        "{place} auth: {{htpasswd: {{path: {}, realm: {}}}}}, or unset the variables to let everybody in",
        text("REGISTRY_AUTH_HTPASSWD_PATH", "/etc/docker-registry/htpasswd"),
        text("REGISTRY_AUTH_HTPASSWD_REALM", "docker-registry"),
    ))
}

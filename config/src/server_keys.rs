//! The table of every key the server knows.
//!
//! It is the only list: typing, unknown keys, masking, `config show` and the documentation follow from it.
//! Names, types and variables of the old keys are those of docker-registry 0.9.1.

use crate::keys::{Key, KeyKind};
use KeyKind::{Any, Boolean, Duration, Integer, List, Map, Size, Text};
use std::borrow::Cow;

/// A key of the server.
pub(crate) struct ServerKey {
    pub(crate) key: Key,
    /// For a key of the original that switches something on which this release does not do: what that is.
    pub(crate) later: Option<&'static str>,
}

/// Every key the server itself reads or knows from docker-registry, in the order of the documentation.
/// Keys of drivers are not among them, except `storage_path` and `storage_alternate`, which all share.
pub fn server_keys() -> impl Iterator<Item = &'static Key> + Clone {
    TABLE.iter().map(|row| &row.key)
}

/// The whole rows.
pub(crate) fn rows() -> &'static [ServerKey] {
    TABLE
}

const fn row(
    name: &'static str,
    kind: KeyKind,
    default: &'static str,
    variable: &'static str,
    doc: &'static str,
) -> ServerKey {
    // An empty default or variable stands for none: it keeps the table readable.
    ServerKey {
        key: Key {
            name: Cow::Borrowed(name),
            kind,
            default: if default.is_empty() { None } else { Some(Cow::Borrowed(default)) },
            environment: if variable.is_empty() { None } else { Some(Cow::Borrowed(variable)) },
            required: false,
            secret: false,
            doc: Cow::Borrowed(doc),
        },
        later: None,
    }
}

impl ServerKey {
    const fn secret(mut self) -> ServerKey {
        self.key.secret = true;
        self
    }

    const fn required(mut self) -> ServerKey {
        self.key.required = true;
        self
    }

    const fn later(mut self, what: &'static str) -> ServerKey {
        self.later = Some(what);
        self
    }
}

#[rustfmt::skip]
static TABLE: &[ServerKey] = &[
    row("storage", Text, "", "", "The name of the driver that stores; `file` means `local`.").required(),
    row("storage_path", Text, "", "", "The folder or key prefix under which the driver stores."),
    row("storage_alternate", Text, "", "", "The driver that glance uses for everything but images."),
    row("drivers", List, "", "", "Folders to search for driver libraries before all others."),
    row("driver_sha256", Map, "", "", "The SHA-256 that the file of a driver must have, by the driver's name; one without an entry may be any."),
    row("isolation", Text, "declared", "", "Where the driver's code runs: declared (as it says itself), in-place, spawned, or process (a process of its own)."),
    row("protocols", List, "[v1, v2]", "REGISTRY_PROTOCOLS", "The protocols served: v1, v2 or both."),
    row("host", Text, "0.0.0.0", "REGISTRY_HOST", "The address to listen on, or unix:PATH for a unix socket (mode 0660, whatever the umask)."),
    row("port", Integer, "5000", "REGISTRY_PORT", "The port to listen on."),
    row("trusted_proxies", List, "", "REGISTRY_TRUSTED_PROXIES", "Addresses and networks of proxies that are believed who their client is; `unix` for the unix socket."),
    row("proxy_protocol", Text, "off", "REGISTRY_PROXY_PROTOCOL", "The PROXY protocol from trusted proxies: off, optional, or required (and nobody else connects)."),
    row("tls.certificate", Text, "", "REGISTRY_TLS_CERTIFICATE", "The PEM file of the certificate and its chain; with tls.key, the port speaks https."),
    row("tls.key", Text, "", "REGISTRY_TLS_KEY", "The PEM file of its private key."),
    row("tls.minimum_version", Text, "1.2", "", "The oldest version of TLS that is spoken: 1.2 or 1.3."),
    row("tls.client_certificates", Text, "off", "", "Certificates of clients: off, optional or required."),
    row("tls.client_authorities", Text, "", "", "The PEM file of the authorities that sign them."),
    row("admin", Text, "127.0.0.1:5001", "REGISTRY_ADMIN", "Where metrics and health are, HOST:PORT; `off` closes that listener."),
    row("limits.max_connections", Integer, "4096", "", "Connections open at the same time. One more waits a second and is then told to come later (503)."),
    row("limits.max_manifest_size", Size, "4MiB", "", "The largest manifest accepted."),
    row("limits.header_timeout", Duration, "30s", "", "The time a client has to send the head of a request."),
    row("limits.idle_timeout", Duration, "2m", "", "How long a connection without a request stays open."),
    row("limits.body_timeout", Duration, "1m", "", "How long a request body may pause between two pieces."),
    row("limits.graceful_timeout", Duration, "1m", "GUNICORN_GRACEFUL_TIMEOUT", "How long requests may go on after the signal to stop."),
    row("limits.driver_calls", Integer, "128", "", "Calls of the driver running at the same time."),
    row("limits.driver_timeout", Duration, "1m", "", "The deadline of one call of the driver, waits for the client apart."),
    row("limits.upload_age", Duration, "7days", "", "How long an upload may lie untouched before it is discarded."),
    row("auth.htpasswd.path", Text, "", "", "The htpasswd file of who may log in, an absolute path; without it nobody is asked for a password."),
    row("auth.htpasswd.realm", Text, "docker-registry", "", "The realm that clients show when they ask for a password."),
    row("auth.token_lifetime", Duration, "1h", "", "How long a token is good that V1 and anonymous clients get; it is checked when a request begins."),
    row("access", List, "", "", "Rights: a list of {user, repository, right}; without it every user may do everything."),
    row("issue", Text, "", "", "The text at `/`; without it the server's name and flavor."),
    row("loglevel", Text, "info", "LOGLEVEL", "debug, info, warn, error or critical."),
    row("log.format", Text, "text", "REGISTRY_LOG_FORMAT", "How lines of the log look: text, json or logstash."),
    row("log.error_file", Text, "", "GUNICORN_ERROR_LOG_FILE", "The file of the log; `\"-\"` is standard error, as is nothing."),
    row("log.access_file", Text, "", "GUNICORN_ACCESS_LOG_FILE", "A file for the requests alone; `\"-\"` is standard output; without it they stand in the log."),
    row("log.access_format", Text, "combined", "REGISTRY_ACCESS_LOG_FORMAT", "How lines of that file look: combined (as gunicorn and Apache write them), json or logstash."),
    row("compatibility", Text, "0.9", "REGISTRY_COMPATIBILITY", "Whose answers at `/` and `/_ping` V1 gives: 0.6, 0.7, 0.8 or 0.9."),
    row("debug", Boolean, "false", "DEBUG", "A verbose answer at `/_ping`."),
    row("standalone", Boolean, "", "STANDALONE", "Answer the requests meant for an index here."),
    row("registry_endpoints", List, "", "", "The hosts named in `X-Docker-Endpoints`."),
    row("index_endpoint", Text, "https://index.docker.io", "INDEX_ENDPOINT", "The index to ask when not standalone."),
    row("storage_redirect", Boolean, "", "STORAGE_REDIRECT", "Send clients that fetch a blob or a V1 layer to the storage itself, where the driver makes signed addresses."),
    row("disable_token_auth", Boolean, "", "DISABLE_TOKEN_AUTH", "Accept requests without an index token."),
    row("privileged_key", Text, "", "PRIVILEGED_KEY", "The path of an RSA public key whose owner may do everything.").later("accept signed requests"),
    row("nginx_x_accel_redirect", Text, "", "", "The URI prefix under which nginx serves the storage.").later("hand layers to nginx"),
    row("search_backend", Text, "", "SEARCH_BACKEND", "`sqlalchemy` keeps an index for searching; without it every search comes back empty."),
    row("sqlalchemy_index_database", Text, "sqlite:////tmp/docker-registry.db", "SQLALCHEMY_INDEX_DATABASE", "The SQLite database of the search index, `sqlite:///` and a path: four slashes in a row for an absolute one."),
    row("mirroring.source", Text, "", "MIRROR_SOURCE", "The registry to mirror.").later("mirror another registry"),
    row("mirroring.source_index", Text, "", "MIRROR_SOURCE_INDEX", "The index of the registry to mirror."),
    row("mirroring.tags_cache_ttl", Duration, "172800", "MIRROR_TAGS_CACHE_TTL", "How long mirrored tags are kept."),
    row("cache.host", Text, "", "CACHE_REDIS_HOST", "The Redis for mirrored tags and the diff queue.").later("keep mirrored tags or a diff queue in Redis"),
    row("cache.port", Integer, "", "CACHE_REDIS_PORT", "Its port."),
    row("cache.db", Integer, "0", "CACHE_REDIS_DB", "The number of its database."),
    row("cache.password", Text, "", "CACHE_REDIS_PASSWORD", "Its password.").secret(),
    row("cache_lru.host", Text, "", "CACHE_LRU_REDIS_HOST", "The Redis in front of small files."),
    row("cache_lru.port", Integer, "", "CACHE_LRU_REDIS_PORT", "Its port, 6379 when it is not written."),
    row("cache_lru.db", Integer, "0", "CACHE_LRU_REDIS_DB", "The number of its database."),
    row("cache_lru.username", Text, "", "CACHE_LRU_REDIS_USERNAME", "The user there; without it the default one."),
    row("cache_lru.password", Text, "", "CACHE_LRU_REDIS_PASSWORD", "Its password.").secret(),
    row("cache_lru.url", Text, "", "CACHE_LRU_REDIS_URL", "The Redis by URL in place of the host: redis, rediss, unix, redis+sentinel, redis+cluster.").secret(),
    row("cache_lru.sentinel_password", Text, "", "CACHE_LRU_SENTINEL_PASSWORD", "The password of the Sentinels.").secret(),
    row("cache_lru.certificate_authorities", Text, "", "CACHE_LRU_CERTIFICATE_AUTHORITIES", "The PEM file of the authorities that sign its certificate; without it the system's."),
    row("cache_lru.memory", Size, "64MiB", "CACHE_LRU_MEMORY", "What is kept in the memory of the server, in front of Redis."),
    row("cache_lru.max_value_size", Size, "1MiB", "CACHE_LRU_MAX_VALUE_SIZE", "The largest content that is kept."),
    row("cache_lru.tag_ttl", Duration, "1m", "CACHE_LRU_TAG_TTL", "How long a tag or link is believed at most; 1h at most."),
    row("cache_lru.patience", Duration, "1ms", "CACHE_LRU_PATIENCE", "How long a request waits for Redis before the storage is asked as well."),
    row("cache_lru.timeout", Duration, "100ms", "CACHE_LRU_TIMEOUT", "When a Redis that does not answer counts as away."),
    row("email_exceptions.smtp_host", Text, "", "SMTP_HOST", "The mail server for messages about failures.").later("send mail"),
    row("email_exceptions.smtp_port", Integer, "25", "SMTP_PORT", "Its port."),
    row("email_exceptions.smtp_login", Text, "", "SMTP_LOGIN", "The login there."),
    row("email_exceptions.smtp_password", Text, "", "SMTP_PASSWORD", "The password there.").secret(),
    row("email_exceptions.smtp_secure", Any, "false", "SMTP_SECURE", "TLS: true, a key file, or a mapping of keyfile and certfile."),
    row("email_exceptions.from_addr", Text, "docker-registry@localdomain.local", "SMTP_FROM_ADDR", "The sender."),
    row("email_exceptions.to_addr", Text, "noise+dockerregistry@localdomain.local", "SMTP_TO_ADDR", "The recipient."),
    row("bugsnag", Text, "", "BUGSNAG", "The API key for Bugsnag.").secret().later("report to Bugsnag"),
    row("cors.origins", List, "", "CORS_ORIGINS", "Origins whose pages may call the registry.").later("answer cross-origin requests"),
    row("cors.methods", List, "", "CORS_METHODS", "Methods allowed to them."),
    row("cors.headers", List, "[Content-Type]", "CORS_HEADERS", "Request headers allowed to them."),
    row("cors.expose_headers", List, "", "CORS_EXPOSE_HEADERS", "Answer headers shown to them."),
    row("cors.supports_credentials", Boolean, "", "CORS_SUPPORTS_CREDENTIALS", "Whether they may send credentials."),
    row("cors.max_age", Duration, "", "CORS_MAX_AGE", "How long they may keep the permission."),
    row("cors.send_wildcard", Boolean, "", "CORS_SEND_WILDCARD", "Answer `*` in place of the origin."),
    row("cors.always_send", Boolean, "", "CORS_ALWAYS_SEND", "Send the headers to requests without an origin."),
    row("cors.automatic_options", Boolean, "", "CORS_AUTOMATIC_OPTIONS", "Answer OPTIONS requests."),
    row("cors.vary_header", Boolean, "", "CORS_VARY_HEADER", "Send `Vary: Origin`."),
    row("cors.resources", Any, "", "CORS_RESOURCES", "Rules for each path."),
    row("extensions", Map, "", "", "Settings of extensions of the original.").secret().later("load extensions of the original"),
    row("secret_key", Text, "", "", "Signs the tokens of V1, 16 characters or more; without it each start makes a key of its own.").secret(),
];

//! `serve`: from the configuration to a running server and back to a quiet process.

use std::{sync::Arc, time::Duration};

use docker_registry_config::{
    Caches, LogFile, LogFormat as Format, LogLevel, LogSettings, Settings, Severity,
};
use docker_registry_driver_api::{CallContext, ObjectPath};
use tokio::{
    runtime::{Builder, Runtime},
    signal::unix::{SignalKind, signal},
};

use super::{
    Failure, LogFormat, ServeArguments,
    configured_driver::ConfiguredDriver,
    contents,
    prepare::{Prepared, identity_of_storage, load_configuration, open_registry},
};
use crate::{
    auth::Authority,
    http::{
        admin::Admin,
        authentication::Authenticated,
        health::{CHECK_INTERVAL, Health},
        listener::{Entrance, ListenAddress, Tls},
        routes::{Handler, Routes},
        server::{Drained, Limits, Server, raise_file_limit},
        v1, v2,
    },
    layout::kept::{CACHE_SECRET, Kept},
    registry::{abandoned, v2::Registry},
    search::Search,
    storage::{self, Cache, Storage},
    telemetry::{
        logs::{self, Logging, Logs},
        metrics,
    },
};

/// How long the driver may take to let go of its storage when the server stops.
const CLOSE_GRACE: Duration = Duration::from_secs(10);

/// How often the storage is looked through for what clients left unfinished.
const PURGE_INTERVAL: Duration = Duration::from_secs(60 * 60);
/// How long threads that are inside a system call are waited for at the very end.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);

/// Serves until a signal comes.
pub(super) fn run(arguments: ServeArguments) -> Result<(), Failure> {
    let mut loaded = load_configuration(arguments.file.clone())?;
    let logs = start_logging(&loaded.settings, &arguments)?;
    if let Some(graceful) = arguments.graceful_timeout {
        loaded.settings.limits.graceful_timeout = graceful;
    }
    let runtime =
        Builder::new_multi_thread().enable_all().thread_name("registry").build().map_err(Failure::failed)?;
    // Early: a signal that nobody waits for ends the process.
    reopen_logs_at_signal(&runtime, &logs)?;
    ignore_hangup(&runtime)?;
    // Before the driver is opened, whose process inherits the limit.
    raise_file_limit();
    // Without the admin listener nobody reads metrics, and recorded values that nobody folds together would
    // pile up.
    let published = match &loaded.settings.admin {
        Some(_) => Some(metrics::install().map_err(Failure::failed)?),
        None => None,
    };

    let prepared = Prepared::new(loaded);
    report(&prepared)?;
    let Prepared { loaded, driver, keys, .. } = prepared;
    let driver = driver?;
    announce(&loaded.settings, &driver);

    let authority = match &loaded.settings.auth {
        Some(auth) => {
            Some(Authority::open(auth).map_err(|problem| Failure::Configuration(problem.to_string()))?)
        }
        None => None,
    };
    let health = Arc::new(Health::default());
    // Before the storage is opened, so that probes see a server that starts. Kept until the end: dropping
    // it stops the listener.
    let _admin = match (&loaded.settings.admin, published) {
        (Some(address), Some(published)) => {
            published.set_info(driver.name(), driver.version());
            let started =
                Admin::start(&address.to_string(), published, Arc::clone(&health), authority.clone());
            Some(started.map_err(Failure::failed)?)
        }
        _ => None,
    };
    let ended = runtime.block_on(async {
        let opened = driver.open(&loaded, &keys).await?;
        let limits = &loaded.settings.limits;
        let storage = storage::decorate(opened, driver.name(), limits.driver_calls, limits.driver_timeout);
        let store = identity_of_storage(&loaded, &keys);
        serve(&loaded.settings, arguments.bind, storage, &store, health, authority, &logs).await
    });
    // A read that hangs in the system must not keep a server from ending that has said "stopped".
    runtime.shutdown_timeout(SHUTDOWN_GRACE);
    ended
}

/// Starts the logs that the configuration asks for, the command line first.
fn start_logging(settings: &Settings, arguments: &ServeArguments) -> Result<Arc<Logs>, Failure> {
    let level = match settings.loglevel {
        LogLevel::Trace | LogLevel::Debug => logs::Level::Debug,
        LogLevel::Info => logs::Level::Info,
        LogLevel::Warn => logs::Level::Warning,
        LogLevel::Error => logs::Level::Error,
    };
    let mut settings: LogSettings = settings.log.clone();
    match arguments.log_format {
        Some(LogFormat::Text) => settings.format = Format::Text,
        Some(LogFormat::Json) => settings.format = Format::Json,
        Some(LogFormat::Logstash) => settings.format = Format::Logstash,
        None => {}
    }
    if let Some(file) = &arguments.error_log {
        settings.error_file = LogFile::of_errors(file);
    }
    if let Some(file) = &arguments.access_log {
        settings.access_file = Some(LogFile::of_access(file));
    }
    Ok(Arc::new(Logs::start(&Logging { level, settings }).map_err(Failure::failed)?))
}

/// Opens the files of the logs anew at SIGUSR1: logrotate's rename is followed by it.
fn reopen_logs_at_signal(runtime: &Runtime, logs: &Arc<Logs>) -> Result<(), Failure> {
    let _context = runtime.enter();
    let mut reopen = signal(SignalKind::user_defined1())?;
    // Weak: the task must not keep the logs from being written to their end.
    let logs = Arc::downgrade(logs);
    runtime.spawn(async move {
        while reopen.recv().await.is_some() {
            let Some(logs) = logs.upgrade() else { return };
            logs.reopen();
            tracing::info!("SIGUSR1: the files of the logs are opened anew");
        }
    });
    Ok(())
}

/// SIGHUP is what init systems send for a reload. Unhandled, it would end the process.
fn ignore_hangup(runtime: &Runtime) -> Result<(), Failure> {
    let _context = runtime.enter();
    // Once caught it stays so, also when nobody listens to it.
    drop(signal(SignalKind::hangup())?);
    Ok(())
}

/// Logs what was noticed and what is doubtful; returns what is wrong.
fn report(prepared: &Prepared) -> Result<(), Failure> {
    for notice in &prepared.loaded.notices {
        tracing::info!("{notice}");
    }
    if let Some(warning) = open_registry(&prepared.loaded.settings) {
        tracing::warn!("{warning}");
    }
    let problems = prepared.problems();
    for problem in problems.0.iter().filter(|problem| problem.severity == Severity::Warning) {
        tracing::warn!("{problem}");
    }
    if problems.has_errors() {
        let mut errors = problems;
        errors.0.retain(|problem| problem.severity == Severity::Error);
        return Err(errors.into());
    }
    Ok(())
}

/// Says that there is no cache in the words that docker-registry had for it.
fn announce_caches(caches: Caches) {
    if !caches.storage {
        tracing::warn!("WARNING: Cache storage disabled!");
    }
    if !caches.lru {
        tracing::warn!("WARNING: LRU cache disabled!");
    }
}

fn announce(settings: &Settings, driver: &ConfiguredDriver) {
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        configuration = %settings.source,
        flavor = settings.flavor,
        "docker-registry starts"
    );
    tracing::info!(
        name = driver.name(),
        version = driver.version(),
        path = %driver.path().display(),
        sha256 = driver.digest(),
        "storage driver loaded"
    );
    announce_caches(settings.caches);
}

async fn serve(
    settings: &Settings,
    bind: Vec<ListenAddress>,
    storage: Storage,
    store: &str,
    health: Arc<Health>,
    authority: Option<Arc<Authority>>,
    logs: &Arc<Logs>,
) -> Result<(), Failure> {
    let addresses = if bind.is_empty() { vec![configured_address(settings)] } else { bind };
    let server = Server::listen(&addresses, server_limits(settings), entrance(settings)?)
        .await
        .map_err(Failure::failed)?;
    let stopping = stop_signal(Arc::clone(&health), Arc::clone(logs))?;
    tokio::pin!(stopping);
    let cache = cache(settings, &storage)?;
    let (storage, reads) = match &cache {
        Some(cache) => (Arc::clone(&cache.storage), Arc::clone(&cache.reads)),
        None => (Arc::clone(&storage), storage),
    };
    let checking = {
        let (health, storage) = (Arc::clone(&health), Arc::clone(&storage));
        tokio::spawn(async move { health.check_storage(storage, CHECK_INTERVAL).await })
    };
    let purging = tokio::spawn(purge_for_ever(Arc::clone(&storage), settings.limits.upload_age));
    let search = match &settings.search {
        Some(database) => Search::start(database.clone(), store, &storage),
        None => {
            tracing::info!("search finds nothing: search_backend is not set");
            Search::off()
        }
    };
    let is_ready = tokio::select! {
        () = contents::announce(&storage, settings.protocols) => true,
        // A storage that does not answer must not keep the server from ending.
        () = &mut stopping => false,
    };
    let drained = if is_ready {
        health.set_started();
        let handler = handler(routes(settings, &storage, &reads, &search), authority);
        server.run(handler, stopping).await
    } else {
        Drained { cut_off: 0 }
    };
    checking.abort();
    purging.abort();
    search.finish().await;
    storage.close(CLOSE_GRACE).await;
    if drained.cut_off > 0 {
        tracing::warn!(requests = drained.cut_off, "requests were cut off at the graceful timeout");
    }
    tracing::info!("stopped");
    Ok(())
}

/// Discards what clients left unfinished, now and every hour: first what the driver holds, then the V2
/// records of it.
async fn purge_for_ever(storage: Storage, age: Duration) {
    let registry = Registry::new(Arc::clone(&storage));
    let call = CallContext { background: true, ..CallContext::default() };
    loop {
        match abandoned::purge(&storage, age).await {
            Ok(0) => {}
            Ok(discarded) => tracing::info!(discarded, "abandoned uploads discarded"),
            Err(error) => tracing::warn!(%error, "abandoned uploads could not be discarded"),
        }
        match registry.purge_stale_uploads(&call, age).await {
            Ok(0) => {}
            Ok(removed) => tracing::info!(removed, "records of abandoned uploads removed"),
            Err(error) => tracing::warn!(%error, "records of abandoned uploads could not be removed"),
        }
        tokio::time::sleep(PURGE_INTERVAL).await;
    }
}

fn configured_address(settings: &Settings) -> ListenAddress {
    match &settings.listening.unix_socket {
        Some(path) => ListenAddress::Unix(path.clone()),
        None => ListenAddress::Tcp(settings.bind.to_string()),
    }
}

/// What connections pass before HTTP. The start may block here: nothing is served yet.
fn entrance(settings: &Settings) -> Result<Entrance, Failure> {
    let tls = settings.tls.as_ref().map(Tls::load).transpose();
    let tls = tls.map_err(|problem| Failure::Configuration(problem.to_string()))?;
    Ok(Entrance {
        // What is doubtful was said with the other problems.
        tls: tls.map(|(tls, _)| Arc::new(tls)),
        trusted_proxies: settings.listening.trusted_proxies.clone(),
        proxy_protocol: settings.listening.proxy_protocol,
    })
}

fn server_limits(settings: &Settings) -> Limits {
    let configured = &settings.limits;
    let mut limits = Limits {
        max_connections: configured.max_connections,
        graceful: configured.graceful_timeout,
        ..Limits::default()
    };
    limits.timeouts.header = configured.header_timeout;
    limits.timeouts.idle = configured.idle_timeout;
    limits.timeouts.body = configured.body_timeout;
    limits
}

/// The APIs, behind a login where there is one.
fn handler(routes: Routes, authority: Option<Arc<Authority>>) -> Arc<dyn Handler> {
    let routes = Arc::new(routes);
    match authority {
        Some(authority) => Arc::new(Authenticated::new(routes, authority)),
        None => routes,
    }
}

/// The cache, if one is configured.
fn cache(settings: &Settings, storage: &Storage) -> Result<Option<Cache>, Failure> {
    let Some(configured) = &settings.cache else { return Ok(None) };
    let secret = ObjectPath::new(CACHE_SECRET).map_err(Failure::failed)?;
    let call_time = settings.limits.driver_timeout;
    Ok(Some(Cache::start(Arc::clone(storage), configured, Kept, secret, call_time)))
}

fn routes(settings: &Settings, storage: &Storage, reads: &Storage, search: &Search) -> Routes {
    let v2 = settings.protocols.v2.then(|| {
        let limits =
            v2::Limits { max_manifest_size: settings.limits.max_manifest_size, ..v2::Limits::default() };
        Arc::new(
            v2::Api::new(Arc::clone(storage), limits)
                .with_reads(Arc::clone(reads))
                .with_search(search.clone())
                .with_redirects(settings.storage_redirect),
        ) as Arc<dyn Handler>
    });
    let v1 = settings.protocols.v1.then(|| {
        let v1_settings = v1::V1Settings {
            issue: settings.issue.clone(),
            compatibility: settings.compatibility,
            standalone: settings.standalone.unwrap_or(true),
            disable_token_auth: settings.disable_token_auth,
            registry_endpoints: (!settings.registry_endpoints.is_empty())
                .then(|| settings.registry_endpoints.join(",")),
            storage_redirect: settings.storage_redirect,
            debug: settings.debug,
            flavor: settings.flavor.clone(),
        };
        let api = v1::Api::new(Arc::clone(storage), v1_settings).with_reads(Arc::clone(reads));
        Arc::new(api.with_search(search.clone())) as Arc<dyn Handler>
    });
    let search_alone = || Arc::new(v1::SearchAlone(search.clone())) as Arc<dyn Handler>;
    let v1 = v1.or_else(|| settings.search.is_some().then(search_alone));
    Routes { v2, v1 }
}

/// Ready at the first SIGTERM or SIGINT. The second one ends the process at once, its last lines written.
fn stop_signal(health: Arc<Health>, logs: Arc<Logs>) -> Result<impl Future<Output = ()>, Failure> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        tracing::info!(signal = name, "stopping: requests under way are finished");
        health.set_draining();
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            tracing::warn!("a second signal: stopping at once");
            logs.flush();
            std::process::exit(1);
        });
    })
}

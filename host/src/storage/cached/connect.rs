//! Making a connection: to one server, through Sentinels, or to a Cluster; with TLS, and with news of changes.
//!
//! A connection is only handed out when Redis has taken the password, knows the scripts and has run one, so that a
//! request never makes the trial.

use std::{path::PathBuf, sync::Arc, time::Duration};

use docker_registry_config::{Address, CacheSettings, RedisKind, RedisPlace, SecretKey};
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo,
    ProtocolVersion, PushInfo, RedisConnectionInfo, RedisError, RedisResult, TlsCertificates, TlsMode, Value,
    cluster::ClusterClientBuilder,
    sentinel::{SentinelClientBuilder, SentinelServerType},
};
use tokio::time::timeout;

use super::{
    redis_error::{Meaning, meaning},
    scripts::Scripts,
    server::Connection,
};

/// Making a connection takes several steps, each of which may take as long as a command; a Sentinel adds more.
const STEPS: u32 = 20;
/// The least time for it.
const LEAST_TIME: Duration = Duration::from_secs(2);

/// Takes what Redis says unasked. Called in the order in which things arrive, before later answers are seen.
pub(super) type Listener = Arc<dyn Fn(PushInfo) + Send + Sync>;

/// A connection that was tried.
pub(super) struct Made {
    pub(super) connection: Connection,
    /// Whether it tells of changes of what it has read.
    pub(super) tracks: bool,
    /// What an operator should know of the memory of this Redis.
    pub(super) doubt: Option<&'static str>,
}

/// How connections are made.
pub(super) struct Connector {
    place: RedisPlace,
    authorities: Option<PathBuf>,
    timeout: Duration,
}

impl Connector {
    pub(super) fn new(settings: &CacheSettings) -> Self {
        Self {
            place: settings.redis.clone(),
            authorities: settings.certificate_authorities.clone(),
            timeout: (settings.timeout * STEPS).max(LEAST_TIME),
        }
    }

    /// Makes a connection that is told of changes, where that can be had. `prefix` is what names begin with.
    ///
    /// # Errors
    /// A sentence without secrets.
    pub(super) async fn connect(
        &self,
        scripts: &Scripts,
        prefix: &str,
        listener: &Listener,
    ) -> Result<Made, &'static str> {
        let certificates = self.certificates().await?;
        let made = async {
            match self.make(scripts, prefix, listener, &certificates, ProtocolVersion::RESP3).await {
                // Redis 5: no news of changes.
                Err(error) if error.kind() == ErrorKind::RESP3NotSupported => {
                    self.make(scripts, prefix, listener, &certificates, ProtocolVersion::RESP2).await
                }
                made => made,
            }
        };
        match timeout(self.timeout, made).await {
            Err(_) => Err("it does not answer in time"),
            Ok(made) => made.map_err(|error| match meaning(&error) {
                Meaning::Away(reason) | Meaning::Refused(reason) => reason,
            }),
        }
    }

    /// The authorities, read anew for each connection: they are replaced now and then.
    async fn certificates(&self) -> Result<Option<TlsCertificates>, &'static str> {
        let Some(path) = &self.authorities else { return Ok(None) };
        let pem = tokio::fs::read(path).await;
        let pem = pem.map_err(|_| "the file of cache_lru.certificate_authorities cannot be read")?;
        Ok(Some(TlsCertificates { client_tls: None, root_cert: Some(pem) }))
    }

    async fn make(
        &self,
        scripts: &Scripts,
        prefix: &str,
        listener: &Listener,
        certificates: &Option<TlsCertificates>,
        protocol: ProtocolVersion,
    ) -> RedisResult<Made> {
        let resp3 = protocol == ProtocolVersion::RESP3;
        let mut connection = if self.place.kind == RedisKind::Cluster {
            self.cluster(certificates, protocol).await?
        } else {
            self.one(listener, certificates, protocol).await?
        };
        for script in scripts.all() {
            match &mut connection {
                Connection::One(connection) => script.load_async(connection).await?,
                Connection::Cluster(connection) => script.load_async(connection).await?,
            };
        }
        // The trial: a name that no entry has.
        let mut trial = scripts.discard.key(format!("{prefix}{{trial}}"));
        trial.arg("x");
        let _: i64 = connection.clone().run(&trial).await?;
        // A Cluster would have to tell it for each of its nodes, which come and go.
        let tracks = resp3 && matches!(connection, Connection::One(_)) && track(&connection).await;
        let doubt = doubt(&connection).await;
        Ok(Made { connection, tracks, doubt })
    }

    async fn one(
        &self,
        listener: &Listener,
        certificates: &Option<TlsCertificates>,
        protocol: ProtocolVersion,
    ) -> RedisResult<Connection> {
        // The time of a command is watched by its caller, who knows what follows from it.
        let mut options = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.timeout))
            .set_response_timeout(Some(self.timeout));
        if protocol == ProtocolVersion::RESP3 {
            let listener = Arc::clone(listener);
            options = options.set_push_sender(move |info| {
                listener(info);
                Ok::<_, redis::aio::SendError>(())
            });
        }
        let place = &self.place;
        if let RedisKind::Sentinel(service) = &place.kind {
            let nodes = place.nodes.iter().map(|node| self.address(node, certificates));
            let nodes = nodes.collect::<RedisResult<Vec<_>>>()?;
            let mut builder = SentinelClientBuilder::new(nodes, service, SentinelServerType::Master)?
                .set_client_to_redis_protocol(protocol)
                .set_client_to_redis_db(i64::from(place.database));
            if place.tls {
                builder = builder
                    .set_client_to_redis_tls_mode(TlsMode::Secure)
                    .set_client_to_sentinel_tls_mode(TlsMode::Secure);
                if let Some(certificates) = certificates {
                    builder = builder
                        .set_client_to_redis_certificates(certificates.clone())
                        .set_client_to_sentinel_certificates(certificates.clone());
                }
            }
            if let Some(username) = &place.username {
                builder = builder.set_client_to_redis_username(username);
            }
            if let Some(password) = &place.password {
                builder = builder.set_client_to_redis_password(text(password));
            }
            if let Some(password) = &place.sentinel_password {
                builder = builder.set_client_to_sentinel_password(text(password));
            }
            let mut client = builder.build()?;
            return Ok(Connection::One(client.get_async_connection_with_config(&options).await?));
        }
        let address = match &place.kind {
            RedisKind::Unix(path) => ConnectionAddr::Unix(path.clone()),
            // The configuration has exactly one for this kind.
            _ => self.address(&place.nodes[0], &None)?,
        };
        let info = self.information(address, protocol)?;
        let client = match certificates {
            Some(certificates) if place.tls => Client::build_with_tls(info, certificates.clone())?,
            _ => Client::open(info)?,
        };
        Ok(Connection::One(client.get_multiplexed_async_connection_with_config(&options).await?))
    }

    async fn cluster(
        &self,
        certificates: &Option<TlsCertificates>,
        protocol: ProtocolVersion,
    ) -> RedisResult<Connection> {
        let nodes = self.place.nodes.iter().map(|node| {
            let address = self.address(node, &None)?;
            self.information(address, protocol)
        });
        let nodes = nodes.collect::<RedisResult<Vec<_>>>()?;
        let mut builder = ClusterClientBuilder::new(nodes)
            .use_protocol(protocol)
            .retries(1)
            .connection_timeout(self.timeout)
            .response_timeout(self.timeout);
        if self.place.tls {
            builder = builder.tls(TlsMode::Secure);
            if let Some(certificates) = certificates {
                builder = builder.certs(certificates.clone());
            }
        }
        Ok(Connection::Cluster(builder.build()?.get_async_connection().await?))
    }

    fn address(&self, node: &Address, certificates: &Option<TlsCertificates>) -> RedisResult<ConnectionAddr> {
        let host = node.host.clone();
        if !self.place.tls {
            return Ok(ConnectionAddr::Tcp(host, node.port));
        }
        let plain = ConnectionAddr::TcpTls { host, port: node.port, insecure: false, tls_params: None };
        match certificates {
            None => Ok(plain),
            // Only the library can make what it wants of the certificates.
            Some(certificates) => {
                let client = Client::build_with_tls(plain.into_connection_info()?, certificates.clone())?;
                Ok(client.get_connection_info().addr().clone())
            }
        }
    }

    fn information(&self, address: ConnectionAddr, protocol: ProtocolVersion) -> RedisResult<ConnectionInfo> {
        let mut login = RedisConnectionInfo::default()
            .set_protocol(protocol)
            .set_db(i64::from(self.place.database))
            .set_skip_set_lib_name();
        if let Some(username) = &self.place.username {
            login = login.set_username(username);
        }
        if let Some(password) = &self.place.password {
            login = login.set_password(text(password));
        }
        Ok(address.into_connection_info()?.set_redis_settings(login))
    }
}

fn text(password: &SecretKey) -> String {
    String::from_utf8_lossy(password.as_bytes()).into_owned()
}

/// Asks to be told of every change of what the connection has read, but our own changes.
async fn track(connection: &Connection) -> bool {
    let mut command = redis::cmd("CLIENT");
    command.arg("TRACKING").arg("ON").arg("NOLOOP");
    let answer: RedisResult<Value> = connection.clone().query(&command).await;
    answer.is_ok()
}

/// Whether this Redis will fill up. Where it does not say, nothing is said either.
async fn doubt(connection: &Connection) -> Option<&'static str> {
    let Connection::One(_) = connection else { return None };
    let mut command = redis::cmd("INFO");
    command.arg("memory");
    let text: Result<String, RedisError> = connection.clone().query(&command).await;
    let text = text.ok()?;
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    match (field("maxmemory")?.trim(), field("maxmemory_policy")?.trim()) {
        ("0", _) => Some("has no maxmemory and grows until the system ends it"),
        (_, "noeviction") => Some("has the policy noeviction and refuses everything when it is full"),
        _ => None,
    }
}

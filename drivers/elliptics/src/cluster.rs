//! The nodes: connected, connected again, and found out about.
//!
//! Each address has a task of its own that keeps a pair of connections: one for small requests, and one for content,
//! so that nobody waits behind megabytes. A pair that breaks is made anew after a pause that doubles and is drawn by lot;
//! meanwhile the node keeps its ids in the route table, and what is asked of them has no answer. Every
//! `elliptics_check_timeout` each node is asked for the others that it knows, and those are connected as well.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use docker_registry_driver_api::{Error, ErrorKind, Result};
use tokio::{
    sync::{Notify, mpsc},
    time::Instant,
};

use crate::{
    behind::Behind,
    connection::{Connection, LARGEST_LIST, Refusal, Reply, Updates},
    patience::Patience,
    routes::Routes,
    settings::EllipticsSettings,
    wire::{
        Id, WireAddress,
        indexes::USUAL_SHARDS,
        topology::{Backend, parse_route_list, route_list},
    },
};

/// Longest time for a connection and its greeting.
const LONGEST_CONNECT: Duration = Duration::from_secs(5);
/// Pauses before a node is connected again. The first one is short: a node that was of use until now most likely is there.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(3);
/// Longest time for the list of the others of a node that is connected: more than a connection lives in silence.
const LONGEST_LIST_WAIT: Duration = Duration::from_secs(15);
/// How often is looked whether a connection still lives.
const LOOK: Duration = Duration::from_millis(100);
/// Most nodes that are connected to. A list of more is none.
const MOST_NODES: usize = 4096;
/// Most backends of a node, and ids of all of them. What is more is not heard.
const MOST_BACKENDS: usize = 1024;
const MOST_IDS: usize = 1 << 19;
/// News of backends that wait to be taken in. Who has more to say waits.
const MOST_NEWS: usize = 64;

/// Both connections to a node.
pub(crate) struct Links {
    pub(crate) small: Connection,
    pub(crate) bulk: Connection,
    /// Which of the node's addresses this is. All nodes list theirs in the same order of networks.
    place: usize,
}

impl Links {
    /// Whether they have answered more than the first question.
    fn were_used(&self) -> bool {
        self.small.answered() + self.bulk.answered() > 1
    }

    /// Asks the node for the others.
    async fn others(&self, limit: Duration) -> std::result::Result<Vec<Reply>, String> {
        let packet = vec![route_list().freeze()];
        self.small.request(packet, limit, LARGEST_LIST).await.map_err(|why| why.to_string())
    }
}

struct Node {
    links: Option<Arc<Links>>,
    /// What it serves, or served when it was last connected.
    backends: Vec<Backend>,
    /// Since when it is connected or away; or since when one of its backends is, if it said so later.
    since: Instant,
    /// Whether it was connected once, so that its ids are known.
    is_seen: bool,
    /// Why it is not connected; `None` before the first attempt has ended and while it is connected.
    refusal: Option<Refusal>,
    is_tried: bool,
}

impl Node {
    /// Takes in what a node says that it serves when it is connected. What it served before and does not name now is away:
    /// a node that has just begun names its backends when they are ready.
    fn introduce(&mut self, told: Vec<Backend>) {
        for known in &mut self.backends {
            known.is_gone = true;
        }
        self.learn(told);
    }

    /// Takes in news of some backends.
    fn learn(&mut self, news: Vec<Backend>) {
        for backend in news {
            let place = self.backends.iter().position(|known| known.number == backend.number);
            let known = place.map(|place| self.backends.swap_remove(place));
            let ids: usize = self.backends.iter().map(|known| known.ids.len()).sum();
            let has_room = self.backends.len() < MOST_BACKENDS && ids + backend.ids.len() <= MOST_IDS;
            if !has_room {
                tracing::warn!(backend = backend.number, "a node names more backends and ids than are heard");
            }
            if !backend.is_gone && has_room {
                self.backends.push(backend);
                continue;
            }
            // What it kept is away with it. Its neighbours would answer for it if its ids went as well.
            if let Some(known) = known {
                if !known.is_gone {
                    self.since = Instant::now();
                }
                self.backends.push(Backend { is_gone: true, ..known });
            }
        }
    }
}

/// All nodes that are known.
pub(crate) struct Cluster {
    pub(crate) settings: EllipticsSettings,
    nodes: Mutex<BTreeMap<SocketAddr, Node>>,
    routes: RwLock<Arc<Routes<Links>>>,
    updates: Updates,
    shards: AtomicU32,
    changed: Notify,
    /// What goes on behind the callers' backs.
    pub(crate) behind: Behind,
}

impl Cluster {
    /// Connects to the nodes of the settings and to those that these know.
    ///
    /// # Errors
    /// `InvalidConfiguration`, naming the key, when no node answers, one speaks another protocol, or the groups are
    /// not there.
    pub(crate) async fn open(settings: EllipticsSettings) -> Result<Arc<Self>> {
        let mut addresses = BTreeSet::new();
        for node in &settings.nodes {
            addresses.extend(node.resolve().await?);
        }
        let (updates, heard) = mpsc::channel(MOST_NEWS);
        let behind = Behind::new(settings.memory_behind);
        let cluster = Arc::new(Self {
            behind,
            settings,
            nodes: Mutex::default(),
            routes: RwLock::default(),
            updates,
            shards: AtomicU32::new(0),
            changed: Notify::new(),
        });
        tokio::spawn(listen(Arc::downgrade(&cluster), heard));
        for address in &addresses {
            cluster.add(*address);
        }
        let limit = cluster.connect_limit() * 3;
        // What is missing after that is said below.
        let _ = tokio::time::timeout(limit, cluster.until_tried()).await;
        let mut patience = Patience::default();
        while let Err(error) = cluster.expect_usable(&addresses) {
            // A connection may have broken at its first use.
            if !cluster.may_pass() || !patience.again().await {
                return Err(error);
            }
        }
        Ok(cluster)
    }

    fn connect_limit(&self) -> Duration {
        LONGEST_CONNECT.min(self.settings.wait_timeout)
    }

    /// Waits until every known node was tried once.
    async fn until_tried(&self) {
        loop {
            let changed = self.changed.notified();
            if self.lock().values().all(|node| node.is_tried) {
                return;
            }
            // A node may be tried between the look and the wait.
            let _ = tokio::time::timeout(LOOK, changed).await;
        }
    }

    /// Whether a node that cannot be used now may be used soon.
    fn may_pass(&self) -> bool {
        let nodes = self.lock();
        let is_foreign = |node: &Node| matches!(node.refusal, Some(Refusal::Foreign(_)));
        nodes.values().any(|node| node.links.is_none()) && !nodes.values().any(is_foreign)
    }

    fn expect_usable(&self, configured: &BTreeSet<SocketAddr>) -> Result<()> {
        let invalid = |message: String| Err(Error::new(ErrorKind::InvalidConfiguration, message));
        let nodes = self.lock();
        for (address, node) in nodes.iter().filter(|(address, _)| configured.contains(*address)) {
            if let Some(Refusal::Foreign(why)) = &node.refusal {
                return invalid(format!("elliptics_nodes: {address} cannot be used: {why}"));
            }
        }
        let away = absent(&nodes);
        if nodes.values().all(|node| node.links.is_none()) {
            return invalid(format!("elliptics_nodes: no node can be reached: {away}"));
        }
        drop(nodes);
        let missing = self.missing_groups();
        if missing.is_empty() {
            if !away.is_empty() {
                tracing::warn!(nodes = away, "not every node of elliptics_nodes can be reached");
            }
            return Ok(());
        }
        let groups = missing.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
        if away.is_empty() {
            return invalid(format!("elliptics_groups: no node serves the group {groups}"));
        }
        if missing.len() > self.settings.groups.len() - self.settings.quorum() {
            return invalid(format!(
                "elliptics_groups: too few groups can be reached: no node serves {groups}, and of elliptics_nodes these \
                 do not answer: {away}"
            ));
        }
        tracing::warn!(groups, nodes = away, "a group of elliptics_groups cannot be reached");
        Ok(())
    }

    /// Groups of the settings that no connected node serves.
    pub(crate) fn missing_groups(&self) -> Vec<u32> {
        let routes = self.routes();
        self.settings.groups.iter().copied().filter(|group| !routes.has(*group)).collect()
    }

    /// The nodes that cannot be reached, each with the reason; empty when all can.
    pub(crate) fn absent_nodes(&self) -> String {
        absent(&self.lock())
    }

    /// # Errors
    /// `Unavailable` while there are nodes that were never connected. Nobody knows what they keep.
    pub(crate) fn expect_all_seen(&self) -> Result<()> {
        let nodes = self.lock();
        let unseen: Vec<String> =
            nodes.iter().filter(|(_, node)| !node.is_seen).map(|(address, _)| address.to_string()).collect();
        if unseen.is_empty() {
            return Ok(());
        }
        let nodes = unseen.join(", ");
        let message = format!(
            "nothing is cleared away before these nodes, of elliptics_nodes or known by others, have been connected \
             once: {nodes}"
        );
        Err(Error::new(ErrorKind::Unavailable, message).retryable(false))
    }

    /// Shards of an index, as the nodes say.
    pub(crate) fn index_shards(&self) -> u32 {
        match self.shards.load(Ordering::Relaxed) {
            0 => USUAL_SHARDS,
            shards => shards,
        }
    }

    /// Who keeps an id in a group.
    ///
    /// # Errors
    /// Since when that node is away; `None` when nobody is known to serve the group.
    pub(crate) fn links(&self, group: u32, id: &Id) -> std::result::Result<Arc<Links>, Option<Instant>> {
        self.routes().node(group, id).cloned()
    }

    fn routes(&self) -> Arc<Routes<Links>> {
        Arc::clone(&self.routes.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<SocketAddr, Node>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to keep a connection to a node, unless that is done already.
    fn add(self: &Arc<Self>, address: SocketAddr) {
        let mut nodes = self.lock();
        if nodes.len() >= MOST_NODES {
            return;
        }
        if let Entry::Vacant(place) = nodes.entry(address) {
            let (backends, since) = (Vec::new(), Instant::now());
            place.insert(Node {
                links: None,
                backends,
                since,
                is_seen: false,
                refusal: None,
                is_tried: false,
            });
            tokio::spawn(tend(Arc::downgrade(self), address));
        }
    }

    /// Changes what is known of a node, and the routes with it.
    fn change(&self, address: SocketAddr, change: impl FnOnce(&mut Node)) {
        let mut nodes = self.lock();
        if let Some(node) = nodes.get_mut(&address) {
            change(node);
        }
        let known = nodes.values().map(|node| (node.links.as_ref(), node.since, &node.backends[..]));
        let routes = Arc::new(Routes::new(known));
        *self.routes.write().unwrap_or_else(PoisonError::into_inner) = routes;
        drop(nodes);
        self.changed.notify_waiters();
    }

    /// Connects to a node once.
    async fn connect(self: &Arc<Self>, address: SocketAddr) -> std::result::Result<Arc<Links>, Refusal> {
        let limit = self.connect_limit();
        let take_in = |told: &[Backend]| self.change(address, |node| node.introduce(told.to_vec()));
        let open = || Connection::open(address, limit, self.updates.clone(), &take_in);
        let (small, introduction, shards) = open().await?;
        let (bulk, ..) = open().await?;
        if shards != 0 {
            self.shards.store(shards, Ordering::Relaxed);
        }
        let place = introduction.addresses.iter().position(|own| own.0 == Some(address)).unwrap_or(0);
        let links = Arc::new(Links { small, bulk, place });
        // The others are known before this one counts as tried, so that an opening waits for them as well.
        let others = links.others(self.connect_limit()).await;
        others.and_then(|others| self.add_others(&links, &others)).map_err(Refusal::Unreachable)?;
        self.change(address, |node| {
            node.links = Some(Arc::clone(&links));
            node.since = Instant::now();
            node.is_seen = true;
            node.refusal = None;
            node.is_tried = true;
        });
        Ok(links)
    }

    /// Begins to keep connections to the others that a node knows.
    fn add_others(self: &Arc<Self>, links: &Links, replies: &[Reply]) -> std::result::Result<(), String> {
        if self.settings.asks_for_routes {
            for Reply { header, body } in replies.iter().filter(|reply| !reply.body.is_empty()) {
                if header.status != 0 {
                    continue;
                }
                for node in parse_route_list(body).map_err(|error| error.to_string())? {
                    if let Some(WireAddress(Some(other))) = node.get(links.place).or(node.first()) {
                        self.add(*other);
                    }
                }
            }
        }
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // The tasks of the nodes hold their connections, and end with them.
        for links in self.lock().values_mut().filter_map(|node| node.links.take()) {
            links.small.close("the driver is closed");
            links.bulk.close("the driver is closed");
        }
    }
}

fn absent(nodes: &BTreeMap<SocketAddr, Node>) -> String {
    let away = nodes.iter().filter(|(_, node)| node.links.is_none());
    let texts = away.map(|(address, node)| match &node.refusal {
        Some(refusal) => format!("{address} ({refusal})"),
        None => format!("{address} (not connected yet)"),
    });
    texts.collect::<Vec<_>>().join(", ")
}

/// Keeps a node connected as long as the cluster is in use.
async fn tend(cluster: Weak<Cluster>, address: SocketAddr) {
    let mut pause = FIRST_PAUSE;
    loop {
        let Some(open) = cluster.upgrade() else { return };
        let period = open.settings.check_timeout;
        match open.connect(address).await {
            Ok(links) => {
                tracing::debug!(%address, "connected to a node");
                drop(open);
                let begin = Instant::now();
                let Some(why) = until_lost(&cluster, &links, period).await else { return };
                // One that breaks off before it was of any use is not connected again in a hurry.
                if links.were_used() || begin.elapsed() > LONGEST_PAUSE {
                    pause = FIRST_PAUSE;
                }
                tracing::warn!(%address, why, "the connection to a node has ended");
                let Some(open) = cluster.upgrade() else { return };
                links.small.close(&why);
                links.bulk.close(&why);
                open.change(address, |node| {
                    node.links = None;
                    node.since = Instant::now();
                    node.refusal = Some(Refusal::Unreachable(why));
                });
            }
            Err(refusal) => {
                tracing::debug!(%address, %refusal, "a node cannot be connected");
                open.change(address, |node| {
                    node.links = None;
                    node.refusal = Some(refusal);
                    node.is_tried = true;
                });
            }
        }
        tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Waits until a node is lost, and says how; `None` when nobody needs it any more. Meanwhile it is asked for the
/// others from time to time. One that is late with that has other work, or is silent, which ends the connection.
async fn until_lost(cluster: &Weak<Cluster>, links: &Links, period: Duration) -> Option<String> {
    loop {
        let asked = async {
            tokio::time::sleep(period).await;
            links.others(LONGEST_LIST_WAIT).await
        };
        tokio::select! {
            why = links.small.ended() => return Some(why),
            why = links.bulk.ended() => return Some(why),
            // Nobody is kept from closing meanwhile.
            others = asked => {
                let open = cluster.upgrade()?;
                if let Err(why) = others.and_then(|others| open.add_others(links, &others)) {
                    tracing::debug!(why, "a node does not say which others there are");
                }
            }
        }
    }
}

/// Takes in which backends come and go.
async fn listen(cluster: Weak<Cluster>, mut heard: mpsc::Receiver<(SocketAddr, Vec<Backend>)>) {
    while let Some((address, news)) = heard.recv().await {
        let Some(cluster) = cluster.upgrade() else { return };
        cluster.change(address, |node| node.learn(news));
    }
}

#[cfg(test)]
#[path = "cluster_tests.rs"]
mod tests;

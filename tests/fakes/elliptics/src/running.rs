//! Nodes that come and go: listeners on addresses that stay the same.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;

use crate::cluster::Cluster;
use crate::{connection, routes};

/// How often a port is tried again that another program has taken meanwhile.
const ATTEMPTS: u32 = 100;

/// What stops a node, and the task that accepts its connections.
type RunningNode = (watch::Sender<bool>, JoinHandle<()>);

/// The nodes that are there.
#[derive(Debug)]
pub(crate) struct Running {
    cluster: Arc<Cluster>,
    folder: Arc<PathBuf>,
    nodes: Mutex<HashMap<usize, RunningNode>>,
}

impl Running {
    /// None yet. `folder` is for content that is being received.
    pub(crate) fn new(cluster: Arc<Cluster>, folder: PathBuf) -> Self {
        Self { cluster, folder: Arc::new(folder), nodes: Mutex::default() }
    }

    /// Starts a node with a listener that is bound already.
    pub(crate) async fn start_on(&self, place: usize, listener: TcpListener) {
        let (stop, stopped) = watch::channel(false);
        let (cluster, folder) = (Arc::clone(&self.cluster), Arc::clone(&self.folder));
        self.cluster.nodes[place].up.store(true, Ordering::SeqCst);
        let task = tokio::spawn(async move {
            let mut ended = stopped.clone();
            loop {
                tokio::select! {
                    accepted = listener.accept() => {
                        let Ok((stream, _)) = accepted else { continue };
                        let (cluster, folder, stopped) = (Arc::clone(&cluster), Arc::clone(&folder), stopped.clone());
                        tokio::spawn(connection::serve(cluster, place, folder, stream, stopped));
                    }
                    _ = ended.wait_for(|stopped| *stopped) => return,
                }
            }
        });
        self.nodes.lock().await.insert(place, (stop, task));
    }

    /// Starts a node that was stopped, at its address, with what it had or with nothing.
    ///
    /// # Errors
    /// When there is no such node, when it is there, and when its port is another's.
    pub(crate) async fn start(&self, number: usize, empty: bool) -> Result<(), String> {
        let (place, node) = self.cluster.node(number)?;
        if node.is_up() {
            return Err(format!("node {number} is there"));
        }
        if empty {
            for backend in &node.backends {
                backend.records.lock().expect("no holder panics").clear();
            }
        }
        let mut attempt = 0;
        let listener = loop {
            attempt += 1;
            match TcpListener::bind(node.address).await {
                Ok(listener) => break listener,
                Err(error) if attempt == ATTEMPTS => return Err(format!("{}: {error}", node.address)),
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        };
        self.start_on(place, listener).await;
        Ok(())
    }

    /// Stops a node: its listener and its connections are closed when this returns, and others own its ids.
    ///
    /// # Errors
    /// When there is no such node, and when it is not there.
    pub(crate) async fn stop(&self, number: usize) -> Result<(), String> {
        let (place, node) = self.cluster.node(number)?;
        let Some((stop, task)) = self.nodes.lock().await.remove(&place) else {
            return Err(format!("node {number} is not there"));
        };
        node.up.store(false, Ordering::SeqCst);
        node.stops.fetch_add(1, Ordering::SeqCst);
        let _ = stop.send(true);
        let _ = task.await;
        // Each connection has one receiver, and drops it when it is closed.
        stop.closed().await;
        Ok(())
    }

    /// Takes a backend of a node out of use or back, and tells the clients.
    ///
    /// # Errors
    /// When there is no such node or backend.
    pub(crate) async fn enable(&self, number: usize, backend: usize, enabled: bool) -> Result<(), String> {
        let (_, node) = self.cluster.node(number)?;
        let one =
            node.backends.get(backend).ok_or_else(|| format!("node {number} has no backend {backend}"))?;
        one.enabled.store(enabled, Ordering::SeqCst);
        let connections: Vec<_> = {
            let connections = node.connections.lock().expect("no holder panics");
            connections.iter().filter_map(std::sync::Weak::upgrade).collect()
        };
        for connection in connections.iter().filter(|one| one.ids_sent.load(Ordering::SeqCst)) {
            connection.send_frame(routes::update(one)).await;
        }
        Ok(())
    }
}

//! A fake cluster of several groups, and drivers over it.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use docker_registry_driver_api::{Driver, HostServices, Result, Settings, SharedDriver, async_trait};
use docker_registry_driver_conformance::Opener;
use docker_registry_driver_elliptics::EllipticsDriver;
use serde_json::{Value, json};
use sha2::{Digest, Sha512};

use crate::node::{FakeNode, Id, Stored, id_of};

const NAMESPACE: &str = "DOCKER";
const SHARDS: u32 = 16;

pub(crate) struct FakeCluster {
    pub(crate) nodes: Vec<FakeNode>,
}

impl FakeCluster {
    /// So many groups of so many nodes each.
    pub(crate) async fn start(groups: u32, nodes_each: usize, has_indexes: bool) -> Arc<Self> {
        let all = Arc::new(Mutex::new(Vec::new()));
        let mut nodes = Vec::new();
        for group in 1..=groups {
            for _ in 0..nodes_each {
                nodes.push(FakeNode::start(group, has_indexes, Arc::clone(&all)).await);
            }
        }
        Arc::new(Self { nodes })
    }

    pub(crate) fn settings(&self) -> Value {
        let mut groups: Vec<u32> = self.nodes.iter().map(|node| node.group).collect();
        groups.dedup();
        // The others are found by the first ones.
        let first: Vec<String> = groups
            .iter()
            .filter_map(|group| self.nodes.iter().find(|node| node.group == *group))
            .map(|node| format!("{}:2", node.address))
            .collect();
        json!({ "elliptics_nodes": first, "elliptics_groups": groups, "elliptics_wait_timeout": 20,
            "elliptics_check_timeout": 1, "most_attempts": 10 })
    }

    pub(crate) async fn driver(&self) -> Result<EllipticsDriver> {
        open(self.settings()).await
    }

    /// The nodes that have an object, with what they have.
    pub(crate) fn copies(&self, id: &Id) -> Vec<(SocketAddr, Stored)> {
        let copy = |node: &FakeNode| Some((node.address, node.disk.lock().unwrap().objects.get(id)?.clone()));
        self.nodes.iter().filter_map(copy).collect()
    }

    /// Number of objects on all nodes.
    pub(crate) fn objects(&self) -> usize {
        self.nodes.iter().map(|node| node.disk.lock().unwrap().objects.len()).sum()
    }

    /// Stores a file as the original driver does, folders and indexes included. Every node gets a copy.
    pub(crate) fn store_as_the_original(&self, path: &str, content: &[u8], seconds: u64) {
        self.put(path, if content.is_empty() { b"EMPTY" } else { content }, seconds);
        let mut rest = path;
        loop {
            let folder = rest.rfind('/').map_or("", |place| &rest[..place]);
            self.tag(rest, "docker");
            self.tag(rest, folder);
            if rest.is_empty() {
                break;
            }
            self.put(folder, b"DIRECTORY", seconds);
            rest = folder;
        }
    }

    fn put(&self, key: &str, content: &[u8], seconds: u64) {
        for node in &self.nodes {
            let stored = Stored { data: content.to_vec(), seconds, ..Stored::default() };
            node.disk.lock().unwrap().objects.insert(id_of(NAMESPACE, key), stored);
        }
    }

    fn tag(&self, key: &str, index: &str) {
        let object = id_of(NAMESPACE, key);
        let shard = object.iter().fold(0_u32, |rest, byte| (rest * 256 + u32::from(*byte)) % SHARDS);
        let derived = [&id_of(NAMESPACE, index)[..], b"\0index_table\0"].concat();
        let mut id: Id = Sha512::digest(derived).into();
        id[..32].fill(0);
        id[..4].copy_from_slice(&(shard << 28).to_be_bytes());
        for node in &self.nodes {
            let mut disk = node.disk.lock().unwrap();
            disk.shards.entry(id).or_default().insert(object, key.as_bytes().to_vec());
        }
    }
}

pub(crate) async fn open(settings: Value) -> Result<EllipticsDriver> {
    let values = settings.as_object().cloned().unwrap();
    EllipticsDriver::open(Settings::new(values), HostServices::default()).await
}

/// Opens the driver for the conformance suite.
pub(crate) struct ClusterOpener(pub(crate) Arc<FakeCluster>);

#[async_trait]
impl Opener for ClusterOpener {
    async fn open(&self) -> Result<SharedDriver> {
        Ok(Arc::new(self.0.driver().await?))
    }

    async fn open_dead(&self) -> Option<Result<SharedDriver>> {
        let dead = json!({ "elliptics_nodes": ["127.0.0.1:1:2"], "elliptics_groups": [1] });
        Some(open(dead).await.map(|driver| Arc::new(driver) as SharedDriver))
    }
}

//! The cluster: its nodes, their backends, and who owns what at the moment.
//!
//! All nodes are in one process and share one view of who is there, which in a real cluster takes a moment to spread.

use std::net::SocketAddrV4;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, Weak};

use anyhow::{Context, Result};

use crate::connection::Connection;
use crate::fault::Faults;
use crate::id::Id;
use crate::journal::Journal;
use crate::records::Records;
use crate::ring::{NodePlan, owner};

/// What is the same for all nodes.
#[derive(Debug)]
pub(crate) struct Settings {
    /// Who talks to a server must have the first two numbers of its version.
    pub(crate) version: [i32; 4],
    pub(crate) cookie: [u8; 32],
    /// Whether the servers have secondary indexes: all of 2.26 have, those of 3.0 have not.
    pub(crate) indexes: bool,
    pub(crate) shards: i32,
}

/// What servers learned with which version of the line 2.26; each is younger than those above it.
pub(crate) mod since {
    /// Answers say the flags of a record.
    pub(crate) const RECORD_FLAGS: [i32; 4] = [2, 26, 6, 0];
    /// Every error at a backend is acknowledged, replies do not have `NEED_ACK`, and a handshake says a group.
    pub(crate) const CLEAN_REPLIES: [i32; 4] = [2, 26, 8, 0];
    /// Writes that are older than what is there can be refused.
    pub(crate) const CAS_TIMESTAMP: [i32; 4] = [2, 26, 9, 0];
    /// What a write says is the size of the content, without the 48 bytes in front of it.
    pub(crate) const CONTENT_SIZE: [i32; 4] = [2, 26, 10, 2];
}

impl Settings {
    /// Whether the servers are of this version or a younger one.
    pub(crate) fn has(&self, since: [i32; 4]) -> bool {
        self.version >= since
    }
}

/// One backend of a node.
#[derive(Debug)]
pub(crate) struct Backend {
    pub(crate) number: i32,
    pub(crate) group: u32,
    pub(crate) ids: Vec<Id>,
    pub(crate) enabled: AtomicBool,
    pub(crate) read_only: AtomicBool,
    pub(crate) records: Mutex<Records>,
}

/// One node.
#[derive(Debug)]
pub(crate) struct Node {
    /// From 1, for people.
    pub(crate) number: usize,
    pub(crate) address: SocketAddrV4,
    pub(crate) backends: Vec<Backend>,
    pub(crate) up: AtomicBool,
    /// How often it was stopped. What was begun before is not finished afterwards.
    pub(crate) stops: AtomicUsize,
    pub(crate) connections: Mutex<Vec<Weak<Connection>>>,
}

impl Node {
    /// Whether it is there.
    pub(crate) fn is_up(&self) -> bool {
        self.up.load(Ordering::SeqCst)
    }

    /// The backends that are in use.
    pub(crate) fn enabled(&self) -> impl Iterator<Item = (usize, &Backend)> {
        self.backends.iter().enumerate().filter(|(_, backend)| backend.enabled.load(Ordering::SeqCst))
    }
}

/// Where a record belongs: positions of a node and of one of its backends.
pub(crate) type Place = (usize, usize);

/// All nodes.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) settings: Settings,
    pub(crate) nodes: Vec<Node>,
    pub(crate) faults: Faults,
    pub(crate) journal: Journal,
}

impl Cluster {
    /// A cluster of nodes that are away, with their content below `folder`.
    ///
    /// # Errors
    /// When a folder cannot be made.
    pub(crate) fn new(
        settings: Settings,
        plans: &[NodePlan],
        addresses: &[SocketAddrV4],
        folder: &Path,
        journal: Journal,
    ) -> Result<Self> {
        let mut nodes = Vec::new();
        for (position, (plan, address)) in plans.iter().zip(addresses).enumerate() {
            let mut backends = Vec::new();
            for (number, backend) in plan.0.iter().enumerate() {
                let content = folder.join(format!("node-{}/backend-{number}", position + 1));
                backends.push(Backend {
                    number: i32::try_from(number).context("too many backends")?,
                    group: backend.group,
                    ids: backend.ids(position + 1, number),
                    enabled: AtomicBool::new(true),
                    read_only: AtomicBool::new(false),
                    records: Mutex::new(Records::new(content).context("a folder cannot be made")?),
                });
            }
            nodes.push(Node {
                number: position + 1,
                address: *address,
                backends,
                up: AtomicBool::new(false),
                stops: AtomicUsize::new(0),
                connections: Mutex::default(),
            });
        }
        Ok(Self { settings, nodes, faults: Faults::default(), journal })
    }

    /// Who owns an id at the moment. Nobody does when no node of the group is there.
    pub(crate) fn owner(&self, group: u32, id: &Id) -> Option<Place> {
        let up = self.nodes.iter().enumerate().filter(|(_, node)| node.is_up());
        let ring = up.flat_map(|(position, node)| {
            let fitting = node.enabled().filter(move |(_, backend)| backend.group == group);
            fitting.flat_map(move |(number, backend)| {
                backend.ids.iter().map(move |id| (*id, (position, number)))
            })
        });
        owner(ring, id)
    }

    /// The node of this number.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn node(&self, number: usize) -> Result<(usize, &Node), String> {
        let position = number.checked_sub(1).filter(|position| *position < self.nodes.len());
        let position = position.ok_or_else(|| format!("there is no node {number}"))?;
        Ok((position, &self.nodes[position]))
    }
}

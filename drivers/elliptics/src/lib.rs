//! Storage driver `elliptics`: a cluster of Elliptics.
//!
//! A client of the protocol of Elliptics 2.26 in Rust, without a C library. From the bottom up:
//!
//! - [`wire`] packs and unpacks packets, [`connection`] exchanges them with one node, [`cluster`] keeps the nodes
//!   connected and knows by [`routes`] who keeps what.
//! - [`replicas`] asks all groups at once, and with [`patience`] again. [`register`] makes small values of them that all
//!   clients see the same, and that survive a minority of the groups; a [`change`] of one takes several rounds.
//! - [`record`]s of objects are such registers, as are the [`index`] of each folder, the owners of a [`bundle`] of
//!   content, and what is [`begun`]. [`making`] makes large objects. [`legacy`] reads what the original driver has left.
//! - [`bucket`] offers that as a store to `docker-registry-object-storage`, which makes the driver of it: uploads, fences,
//!   listings, retries.

mod begun;
mod behind;
mod bucket;
mod bundle;
mod change;
mod cluster;
mod connection;
mod envelope;
mod gather;
mod healing;
mod hedge;
mod index;
mod legacy;
mod listing;
mod look;
mod making;
mod names;
mod objects;
mod patience;
mod problem;
mod record;
mod register;
mod replicas;
mod routes;
mod settings;
mod shard;
mod sharing;
mod value;
mod walk;
mod wire;

#[cfg(test)]
#[allow(dead_code)]
#[path = "../tests/fake/node.rs"]
mod fake_node;
#[cfg(test)]
mod index_tests;
#[cfg(test)]
mod making_tests;

use std::{sync::Arc, time::Duration};

use docker_registry_driver_api::{Description, Error, ErrorKind, Result, Settings, async_trait};
use docker_registry_object_storage::{
    Unchanging,
    driver::{ObjectStorage, Opened},
    object_store_driver,
    settings::StoreSettings,
};

use crate::{bucket::EllipticsBucket, cluster::Cluster, settings::EllipticsSettings};

/// Longest time until a cluster is open. It is less than what the server waits for, which could not say which key it is.
const LONGEST_OPENING: Duration = Duration::from_secs(45);

/// A namespace of a cluster.
struct Elliptics;

#[async_trait]
impl ObjectStorage for Elliptics {
    fn describe() -> Description {
        Description {
            summary: "a cluster of Elliptics".to_owned(),
            licence: env!("CARGO_PKG_LICENSE").to_owned(),
            keys: EllipticsSettings::keys(),
        }
    }

    async fn open(settings: &Settings, _shared: &StoreSettings) -> Result<Opened> {
        let bucket = open_within(EllipticsSettings::read(settings)?, LONGEST_OPENING).await?;
        // The original knows no prefix: its keys are the paths themselves.
        Ok(Opened { bucket: Arc::new(bucket), root: String::new(), renewal: Arc::new(Unchanging::default()) })
    }
}

/// Connects to a cluster and finds out what its nodes have.
///
/// # Errors
/// Those of [`Cluster::open`] and [`EllipticsBucket::open`]; `Timeout`.
async fn open_within(settings: EllipticsSettings, limit: Duration) -> Result<EllipticsBucket> {
    let opening = async { EllipticsBucket::open(Cluster::open(settings).await?).await };
    tokio::time::timeout(limit, opening).await.unwrap_or_else(|_| {
        let seconds = limit.as_secs_f64();
        let message = format!("elliptics_nodes: the cluster was not open after {seconds:.1} seconds");
        Err(Error::new(ErrorKind::Timeout, message))
    })
}

object_store_driver! { name: "elliptics", driver: EllipticsDriver, storage: Elliptics }

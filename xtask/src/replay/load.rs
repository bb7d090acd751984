//! The requests of clients: storing the images, and every visit as docker makes it.
//!
//! A client does what the answers say: it reads a manifest and then fetches what stands in it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context, Result, ensure};
use docker_registry_tests::http::{Client, Connection, Response};
use docker_registry_tests::v2::{MANIFEST, OCTETS, completion};
use serde_json::Value;

use super::images::{self, Blob, Version};
use super::shape::{Catalog, Visit};

/// One server, the images in it, and the connections to it.
pub(super) struct Load {
    pub(super) address: SocketAddr,
    pub(super) catalog: Catalog,
    pub(super) connections: usize,
}

impl Load {
    /// Pushes every image once.
    pub(super) fn store(&self) -> Result<()> {
        let catalog = self.catalog;
        self.each(catalog.repositories(), |connection, repository| {
            let name = images::repository_name(repository);
            let shared = images::shared_layers(catalog, repository);
            for layer in &shared {
                push_at_once(connection, &name, layer)?;
            }
            for image in (repository..catalog.images).step_by(catalog.repositories()) {
                let version = Version::new(catalog, image, 0, &shared);
                for blob in version.own_layers.iter().chain([&version.configuration]) {
                    push_at_once(connection, &name, blob)?;
                }
                push_manifest(connection, &name, &images::tag(catalog, image), &version.manifest)?;
            }
            Ok(())
        })
    }

    /// Pulls every image once, the most popular ones last, as a cache has seen them that has run for long.
    pub(super) fn pull_all(&self) -> Result<()> {
        let last = self.catalog.images - 1;
        self.each(self.catalog.images, |connection, place| self.pull(connection, last - place))
    }

    /// Makes these visits, in this order, a few at the same time. What is pushed differs from run to run, so that it is new
    /// in each.
    pub(super) fn replay(&self, visits: &[Visit], run: u64) -> Result<()> {
        self.each(visits.len(), |connection, place| match visits[place] {
            Visit::Check { image, head } => {
                let target = self.manifest(image, &images::tag(self.catalog, image));
                let method = if head { "HEAD" } else { "GET" };
                ask(connection, method, &target, 200).map(drop)
            }
            Visit::Pull { image } => self.pull(connection, image),
            Visit::Push { image, number } => self.push(connection, image, (run << 24) | (number as u64 + 1)),
        })
    }

    fn manifest(&self, image: usize, reference: &str) -> String {
        let name = images::repository_name(self.catalog.repository(image));
        format!("/v2/{name}/manifests/{reference}")
    }

    fn pull(&self, connection: &mut Connection, image: usize) -> Result<()> {
        let name = images::repository_name(self.catalog.repository(image));
        let tag = self.manifest(image, &images::tag(self.catalog, image));
        let found = ask(connection, "HEAD", &tag, 200)?;
        let digest = found.header("docker-content-digest").context("a manifest has a digest")?;
        let answer = ask(connection, "GET", &self.manifest(image, digest), 200)?;
        let manifest: Value = serde_json::from_slice(&answer.body)?;
        let layers = manifest["layers"].as_array().context("a manifest has layers")?;
        for blob in [&manifest["config"]].into_iter().chain(layers) {
            let digest = blob["digest"].as_str().context("a blob has a digest")?;
            ask(connection, "GET", &format!("/v2/{name}/blobs/{digest}"), 200)?;
        }
        Ok(())
    }

    fn push(&self, connection: &mut Connection, image: usize, number: u64) -> Result<()> {
        let repository = self.catalog.repository(image);
        let name = images::repository_name(repository);
        let shared = images::shared_layers(self.catalog, repository);
        let version = Version::new(self.catalog, image, number, &shared);
        let (new, own) = version.own_layers.split_last().context("an image has layers")?;
        for layer in shared.iter().chain(own) {
            ask(connection, "HEAD", &format!("/v2/{name}/blobs/{}", layer.digest), 200)?;
        }
        for blob in [new, &version.configuration] {
            ask(connection, "HEAD", &format!("/v2/{name}/blobs/{}", blob.digest), 404)?;
            let upload =
                send(connection, "POST", &format!("/v2/{name}/blobs/uploads/"), &[], b"", 202)?.location();
            let target = completion(&upload, &blob.digest);
            send(connection, "PUT", &target, &[OCTETS], &blob.content, 201)?;
        }
        push_manifest(connection, &name, &images::tag(self.catalog, image), &version.manifest)
    }

    /// Does the work for each number below `count`, on all connections.
    fn each(&self, count: usize, work: impl Fn(&mut Connection, usize) -> Result<()> + Sync) -> Result<()> {
        let next = AtomicUsize::new(0);
        let client = Client::new(self.address);
        thread::scope(|scope| {
            let one = || {
                let mut connection = client.connect().context("no connection to the server")?;
                loop {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    if place >= count {
                        return Ok(());
                    }
                    if let Err(error) = work(&mut connection, place) {
                        // What comes after a failure says nothing, so the others end as well.
                        next.store(count, Ordering::Relaxed);
                        return Err(error);
                    }
                }
            };
            let threads: Vec<_> = (0..self.connections).map(|_| scope.spawn(one)).collect();
            threads.into_iter().try_for_each(|thread| thread.join().expect("the load does not panic"))
        })
    }
}

/// Pushes a blob in one request.
fn push_at_once(connection: &mut Connection, name: &str, blob: &Blob) -> Result<()> {
    let target = format!("/v2/{name}/blobs/uploads/?digest={}", blob.digest);
    send(connection, "POST", &target, &[OCTETS], &blob.content, 201).map(drop)
}

fn push_manifest(connection: &mut Connection, name: &str, tag: &str, manifest: &str) -> Result<()> {
    let target = format!("/v2/{name}/manifests/{tag}");
    send(connection, "PUT", &target, &[("Content-Type", MANIFEST)], manifest.as_bytes(), 201).map(drop)
}

fn ask(connection: &mut Connection, method: &str, target: &str, status: u16) -> Result<Response> {
    send(connection, method, target, &[("Accept", MANIFEST)], b"", status)
}

fn send(
    connection: &mut Connection,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
    status: u16,
) -> Result<Response> {
    let answer =
        connection.send(method, target, headers, body).with_context(|| format!("{method} {target}"))?;
    ensure!(answer.status == status, "{method} {target}: {} {}", answer.status, answer.text());
    Ok(answer)
}

//! What the images consist of: names, content of layers, manifests, and how much of it a cache may keep.

use docker_registry_tests::content::{Content, digest};
use docker_registry_tests::v2;
use fastrand::Rng;

use super::shape::{Catalog, OWN_LAYERS};

/// What a link counts with in the memory of the server: 71 bytes of content, its path, and what each entry costs.
const LINK: u64 = 450;
/// What a manifest counts with beside its bytes.
const MANIFEST_ENTRY: u64 = 370;
/// Bytes of manifests, the least and the most.
const MANIFESTS: (f64, f64) = (1024.0, 8192.0);
/// Bytes of a configuration. It is streamed like a layer, so that its size does not matter.
const CONFIGURATION: u64 = 512;
/// Different layers that repositories have as their first ones.
const COMMON_LAYERS: u64 = 100;

/// A blob that is pushed.
pub(super) struct Blob {
    pub(super) digest: String,
    pub(super) content: Vec<u8>,
}

impl Blob {
    fn new(seed: u64, size: u64) -> Blob {
        let content = Content::bytes(seed, size);
        Blob { digest: digest(&content), content }
    }

    /// A layer. 65 % are smaller than 1 KiB and 80 % smaller than 10 KiB: the sizes of the traces, divided by 1024, and
    /// the largest cut off.
    fn layer(seed: u64) -> Blob {
        let mut random = Rng::with_seed(seed);
        let size = match random.u32(0..100) {
            0..65 => random.u64(64..1 << 10),
            65..80 => random.u64(1 << 10..10 << 10),
            _ => random.u64(10 << 10..32 << 10),
        };
        Blob::new(seed, size)
    }

    fn named(&self) -> (String, u64) {
        (self.digest.clone(), self.content.len() as u64)
    }
}

/// The name of a repository.
pub(super) fn repository_name(repository: usize) -> String {
    format!("replay/r{repository:05}")
}

/// The tag of an image in its repository.
pub(super) fn tag(catalog: Catalog, image: usize) -> String {
    format!("t{}", image / catalog.repositories())
}

/// The layers that all tags of a repository share.
pub(super) fn shared_layers(catalog: Catalog, repository: usize) -> Vec<Blob> {
    let first = Rng::with_seed(repository as u64).u64(0..COMMON_LAYERS);
    let layer = |number| Blob::layer((first + number as u64) % COMMON_LAYERS);
    (0..catalog.shared_layers(repository)).map(layer).collect()
}

/// A version of an image, without the layers that are shared.
pub(super) struct Version {
    pub(super) configuration: Blob,
    pub(super) own_layers: Vec<Blob>,
    pub(super) manifest: String,
}

impl Version {
    /// The version of that number; 0 is the one that is stored at first. The last layer is new in each.
    pub(super) fn new(catalog: Catalog, image: usize, version: u64, shared: &[Blob]) -> Version {
        let seed = |version: u64, part: u64| COMMON_LAYERS + (((image as u64) << 36) | (version << 3) | part);
        let configuration = Blob::new(seed(version, 0), CONFIGURATION);
        let own_layers: Vec<Blob> = (1..=OWN_LAYERS)
            .map(|layer| Blob::layer(seed(if layer == OWN_LAYERS { version } else { 0 }, layer as u64)))
            .collect();
        let mut blobs = vec![configuration.named()];
        blobs.extend(shared.iter().chain(&own_layers).map(Blob::named));
        // What real ones hold in annotations and in more layers.
        let room = manifest_size(image).saturating_sub(v2::manifest(&blobs).len());
        let note = format!("{:x<room$}", tag(catalog, image));
        let manifest = v2::manifest_with_note(&blobs, &note);
        Version { configuration, own_layers, manifest }
    }
}

/// Sizes of manifests are even on a scale of their powers: half of them are smaller than 2.9 KiB.
fn manifest_size(image: usize) -> usize {
    let (least, most) = MANIFESTS;
    (least * (most / least).powf(Rng::with_seed(image as u64).f64())) as usize
}

/// Bytes of everything that a cache keeps of the images as they are stored at first, counted as the server does.
pub(super) fn small_bytes(catalog: Catalog) -> u64 {
    let shared: usize = (0..catalog.repositories()).map(|repository| catalog.shared_layers(repository)).sum();
    let own = |image| manifest_size(image) as u64 + MANIFEST_ENTRY + LINK * (3 + OWN_LAYERS as u64);
    shared as u64 * LINK + (0..catalog.images).map(own).sum::<u64>()
}

//! Images made from nothing: layers, image configurations, manifests and manifest lists in an OCI layout, and the
//! same image as an archive for `docker load`.
//!
//! No network is needed, and every digest is known before a client touches the image. Archives that clients save
//! are read back with [`read_archive`], to compare what came out with what went in.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};

use crate::content::{Content, Hasher, digest_of};

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const CONFIGURATION: &str = "application/vnd.oci.image.config.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// The processor type clients choose from a manifest list on this machine, by its name in image configurations.
pub fn native_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// A processor type that is not this machine's.
pub fn foreign_architecture() -> &'static str {
    if native_architecture() == "s390x" { "ppc64le" } else { "s390x" }
}

/// A blob of the layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    /// `sha256:` and 64 hexadecimal digits.
    pub digest: String,
    /// Bytes.
    pub size: u64,
    media_type: &'static str,
}

impl Blob {
    fn descriptor(&self) -> Value {
        json!({"mediaType": self.media_type, "digest": self.digest, "size": self.size})
    }

    fn hex(&self) -> &str {
        &self.digest["sha256:".len()..]
    }
}

/// An image of the layout.
#[derive(Clone, Debug)]
pub struct Image {
    /// The name it has in the layout.
    pub tag: String,
    /// Its OCI manifest.
    pub manifest: Blob,
    /// Its configuration, whose digest clients call the image id.
    pub configuration: Blob,
    /// Its layers, lowest first: plain tar files, so each digest is the `diff_id`, too.
    pub layers: Vec<Blob>,
    architecture: String,
}

impl Image {
    /// The digests of the layers, lowest first.
    pub fn layer_digests(&self) -> Vec<String> {
        self.layers.iter().map(|layer| layer.digest.clone()).collect()
    }
}

/// A folder in the OCI image layout.
#[derive(Debug)]
pub struct Layout {
    folder: PathBuf,
    entries: Vec<Value>,
}

impl Layout {
    /// Makes an empty layout in a folder that does not exist yet.
    pub fn create(folder: &Path) -> Layout {
        fs::create_dir_all(folder.join("blobs/sha256")).expect("the layout's folders can be made");
        fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).expect("a layout file");
        let layout = Layout { folder: folder.to_owned(), entries: Vec::new() };
        layout.write_index();
        layout
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes a layer: some entries of the kinds that occur, and one file with `payload` bytes of content.
    pub fn layer(&self, seed: u64, payload: u64) -> Blob {
        self.add(LAYER, |file| {
            let mut archive = Builder::new(file);
            let top = format!("layer-{seed}");
            let long = format!("{top}/{}/file", "a-folder-with-a-long-name/".repeat(8));
            entry(&mut archive, EntryType::Directory, 0o755, &format!("{top}/"), 0, io::empty())?;
            entry(&mut archive, EntryType::Regular, 0o4755, &format!("{top}/program"), 9, &b"#!/bin/sh"[..])?;
            entry(
                &mut archive,
                EntryType::Regular,
                0o600,
                &format!("{top}/näme with spaces"),
                0,
                io::empty(),
            )?;
            entry(&mut archive, EntryType::Regular, 0o644, &long, 4, &b"long"[..])?;
            let mut link = header(EntryType::Symlink, 0o777, 0);
            archive.append_link(&mut link, format!("{top}/link"), "program")?;
            let content = Content::new(seed, payload);
            entry(&mut archive, EntryType::Regular, 0o644, &format!("{top}/content"), payload, content)?;
            archive.into_inner()?.flush()
        })
    }

    /// Writes an image of these layers and names it.
    pub fn image(&mut self, tag: &str, architecture: &str, layers: Vec<Blob>) -> Image {
        let diff_ids: Vec<&str> = layers.iter().map(|layer| layer.digest.as_str()).collect();
        let history: Vec<Value> = layers
            .iter()
            .map(|_| json!({"created": "2020-01-01T00:00:00Z", "created_by": "a test"}))
            .collect();
        let configuration = json!({
            "architecture": architecture,
            "os": "linux",
            "created": "2020-01-01T00:00:00Z",
            "config": {"Cmd": ["/program"], "Labels": {"tag": tag}},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
            "history": history,
        });
        let configuration = self.add_json(CONFIGURATION, &configuration);
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": configuration.descriptor(),
            "layers": layers.iter().map(Blob::descriptor).collect::<Vec<Value>>(),
        });
        let manifest = self.add_json(MANIFEST, &manifest);
        self.name(&manifest, tag);
        let (tag, architecture) = (tag.to_owned(), architecture.to_owned());
        Image { tag, manifest, configuration, layers, architecture }
    }

    /// Writes a manifest list (an OCI index) of these images and names it.
    pub fn list(&mut self, tag: &str, images: &[&Image]) -> Blob {
        let manifests: Vec<Value> = images
            .iter()
            .map(|image| {
                let mut descriptor = image.manifest.descriptor();
                descriptor["platform"] = json!({"architecture": image.architecture, "os": "linux"});
                descriptor
            })
            .collect();
        let list =
            self.add_json(INDEX, &json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}));
        self.name(&list, tag);
        list
    }

    /// Writes an image as `docker save` would, to be loaded as `name`.
    pub fn write_archive(&self, image: &Image, name: &str, file: &Path) {
        let write = || -> io::Result<()> {
            let mut archive = Builder::new(BufWriter::new(File::create(file)?));
            let layers: Vec<String> =
                image.layers.iter().map(|layer| format!("{}/layer.tar", layer.hex())).collect();
            for (layer, name) in image.layers.iter().zip(&layers) {
                entry(&mut archive, EntryType::Regular, 0o644, name, layer.size, self.open(&layer.digest)?)?;
            }
            let configuration = format!("{}.json", image.configuration.hex());
            let bytes = fs::read(self.path(&image.configuration.digest))?;
            entry(&mut archive, EntryType::Regular, 0o644, &configuration, bytes.len() as u64, &bytes[..])?;
            let manifest =
                json!([{"Config": configuration, "RepoTags": [name], "Layers": layers}]).to_string();
            let size = manifest.len() as u64;
            entry(&mut archive, EntryType::Regular, 0o644, "manifest.json", size, manifest.as_bytes())?;
            archive.into_inner()?.flush()
        };
        write().unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }

    /// Checks that another layout holds this blob, and that its bytes are the ones its name promises.
    pub fn assert_same_blob(&self, other: &Path, digest: &str) {
        let path = blob_path(other, digest);
        let file = File::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let (found, bytes) = digest_of(&mut BufReader::new(file)).expect("a blob can be read");
        assert_eq!(found, digest, "{} has changed", path.display());
        let original = fs::metadata(self.path(digest)).expect("the original exists");
        assert_eq!(bytes, original.len(), "{} has another size", path.display());
    }

    fn path(&self, digest: &str) -> PathBuf {
        blob_path(&self.folder, digest)
    }

    fn open(&self, digest: &str) -> io::Result<BufReader<File>> {
        Ok(BufReader::with_capacity(1 << 20, File::open(self.path(digest))?))
    }

    /// Writes a blob under the digest of what `write` gives.
    fn add(&self, media_type: &'static str, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Blob {
        let add = || -> io::Result<Blob> {
            let mut unnamed = tempfile::NamedTempFile::new_in(&self.folder)?;
            let mut sink = BufWriter::with_capacity(
                1 << 20,
                Digesting { file: unnamed.as_file_mut(), hasher: Hasher::default() },
            );
            write(&mut sink)?;
            sink.flush()?;
            let digesting = sink.into_inner().map_err(io::IntoInnerError::into_error)?;
            let digest = digesting.hasher.finish();
            let size = unnamed.as_file().metadata()?.len();
            unnamed.persist(self.path(&digest))?;
            Ok(Blob { digest, size, media_type })
        };
        add().unwrap_or_else(|error| panic!("a blob in {}: {error}", self.folder.display()))
    }

    fn add_json(&self, media_type: &'static str, value: &Value) -> Blob {
        self.add(media_type, |file| file.write_all(value.to_string().as_bytes()))
    }

    fn name(&mut self, blob: &Blob, tag: &str) {
        let mut descriptor = blob.descriptor();
        descriptor["annotations"] = json!({"org.opencontainers.image.ref.name": tag});
        self.entries.push(descriptor);
        self.write_index();
    }

    fn write_index(&self) {
        let index = json!({"schemaVersion": 2, "manifests": self.entries});
        fs::write(self.folder.join("index.json"), index.to_string())
            .expect("the layout's index can be written");
    }
}

/// Where a layout keeps a blob.
fn blob_path(layout: &Path, digest: &str) -> PathBuf {
    layout.join("blobs").join(digest.replace(':', "/"))
}

/// What an archive written by `docker save` holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    /// The digest of the image configuration.
    pub configuration: String,
    /// The digests of the layers as plain tar files, lowest first.
    pub layers: Vec<String>,
}

/// Reads an archive with one image, as `docker save` and the `docker-archive:` transport write it.
pub fn read_archive(file: &Path) -> Saved {
    let read = || -> io::Result<Saved> {
        let mut archive = tar::Archive::new(BufReader::with_capacity(1 << 20, File::open(file)?));
        let mut digests = HashMap::new();
        let mut manifest = Vec::new();
        for entry in archive.entries()? {
            let mut entry = entry?;
            let name = entry.path()?.to_string_lossy().into_owned();
            if name == "manifest.json" {
                entry.read_to_end(&mut manifest)?;
            } else if entry.header().entry_type().is_file() {
                digests.insert(name, digest_of(&mut entry)?.0);
            }
        }
        let manifest: Value = serde_json::from_slice(&manifest)?;
        let found = |name: &Value| name.as_str().and_then(|name| digests.get(name)).cloned();
        let layers =
            manifest[0]["Layers"].as_array().into_iter().flatten().map(found).collect::<Option<Vec<_>>>();
        match (found(&manifest[0]["Config"]), layers) {
            (Some(configuration), Some(layers)) => Ok(Saved { configuration, layers }),
            _ => Err(io::Error::other(format!("its manifest names files it does not hold: {manifest}"))),
        }
    };
    read().unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// Hashes what it writes.
struct Digesting<'file> {
    file: &'file mut File,
    hasher: Hasher,
}

impl Write for Digesting<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1_577_836_800);
    header
}

fn entry<W: Write>(
    archive: &mut Builder<W>,
    kind: EntryType,
    mode: u32,
    path: &str,
    size: u64,
    content: impl Read,
) -> io::Result<()> {
    archive.append_data(&mut header(kind, mode, size), path, content)
}

//! A store on disk as 0.9.1 leaves it, read through the local driver.
//!
//! Every file is written here by its name, so that neither our encoding nor our JSON is in play.

use std::{fs, path::Path, sync::Arc};

use docker_registry_driver_api::{Driver, HostServices, Settings};
use docker_registry_driver_local::LocalDriver;
use serde_json::json;
use tempfile::TempDir;

use crate::{
    client::{Image, docker_pull, docker_push},
    registry::Registry,
    transport::{Sent, Transport},
};

struct OldStore {
    folder: TempDir,
    root: Image,
    child: Image,
}

impl OldStore {
    /// Two images and one repository.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = Image::new(None, "root layer");
        let child = Image::new(Some(&root), "child layer");
        let store = Self { folder, root, child };
        for image in [&store.root, &store.child] {
            store.write(&format!("images/{}/json", image.id), &image.json);
            store.write(&format!("images/{}/layer", image.id), &image.layer);
        }
        let (root, child) = (&store.root, &store.child);
        store.write(&format!("images/{}/_checksum", root.id), format!("[\"{}\"]", root.checksum()));
        store.write(&format!("images/{}/ancestry", root.id), format!("[\"{}\"]", root.id));
        // Very old stores hold one bare checksum.
        store.write(&format!("images/{}/_checksum", child.id), child.checksum());
        store.write(&format!("images/{}/ancestry", child.id), format!("[\"{}\",\"{}\"]", child.id, root.id));
        store.repository("foo/bar");
        store
    }

    fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// A repository with the tag `latest`, in a folder of this name.
    fn repository(&self, folder: &str) {
        let folder = format!("repositories/{folder}");
        let index = format!(r#"[{{"Tag": "", "id": "{}"}}, {{"id": "{}"}}]"#, self.root.id, self.child.id);
        self.write(&format!("{folder}/_index_images"), index);
        self.write(&format!("{folder}/tag_latest"), &self.child.id);
        let metadata = r#"{"os": "linux", "last_update": 1400000000, "arch": "amd64"}"#;
        self.write(&format!("{folder}/taglatest_json"), metadata);
        self.write(&format!("{folder}/json"), metadata);
    }

    async fn open(&self) -> Registry {
        let settings = json!({ "storage_path": self.folder.path() });
        let settings = Settings::new(settings.as_object().unwrap().clone());
        Registry::over(Arc::new(LocalDriver::open(settings, HostServices::default()).await.unwrap()))
    }

    fn exists(&self, path: &str) -> bool {
        self.folder.path().join(path).exists()
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.folder.path().join(path)).unwrap()
    }

    fn folders(&self, path: &str) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path().join(path)).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn images(&self) -> Vec<Image> {
        vec![self.root.clone(), self.child.clone()]
    }
}

#[tokio::test]
async fn images_tags_and_metadata_are_read() {
    let store = OldStore::new();
    let registry = store.open().await;
    assert_eq!(
        docker_pull(&registry.client, "foo/bar").await,
        [("latest".to_owned(), store.images())].into()
    );
    let ancestry = registry.client.exchange(Sent::get(store.child.path("ancestry"))).await.expect(200).text();
    assert_eq!(ancestry, format!("[\"{}\", \"{}\"]", store.child.id, store.root.id));
    for target in ["/v1/repositories/foo/bar/json", "/v1/repositories/foo/bar/tags/latest/json"] {
        let metadata = registry.client.exchange(Sent::get(target)).await.expect(200).text();
        assert_eq!(metadata, r#"{"arch": "amd64", "last_update": 1400000000, "os": "linux"}"#);
    }
}

#[tokio::test]
async fn odd_repository_names_are_found_and_written_where_they_are() {
    let store = OldStore::new();
    let names = [
        ("a/b/c", "a/b%252Fc"),
        ("foo/sp%20ace%25", "foo/sp%2Bace%2525"),
        ("foo/..", "foo/%252E%252E"),
        ("foo/%2e%2e", "foo/%252E%252E"),
        ("..%2f..%2fetc/x", "%252E%252E/..%252Fetc%252Fx"),
        ("UPPER/Case", "UPPER/Case"),
        ("single", "library/single"),
        ("foo/%25_$-", "foo/%2525_%2524-"),
    ];
    for (_, folder) in names {
        store.repository(folder);
    }
    let before = [store.folders("repositories"), store.folders("repositories/foo")];
    let registry = store.open().await;
    for (name, folder) in names {
        let pulled = docker_pull(&registry.client, name).await;
        assert_eq!(pulled["latest"], store.images(), "{name}");
        docker_push(&registry.client, name, "more", &store.images()).await;
        assert_eq!(store.read(&format!("repositories/{folder}/tag_more")), store.child.id);
    }
    assert_eq!([store.folders("repositories"), store.folders("repositories/foo")], before);
    registry.client.exchange(Sent::delete("/v1/repositories/foo/../")).await.expect(200);
    assert!(!store.exists("repositories/foo/%252E%252E"));
    assert!(store.exists("repositories/foo/bar/tag_latest"));
}

#[tokio::test]
async fn odd_tags_are_read_by_their_name_and_by_the_name_that_0_9_1_lists() {
    let store = OldStore::new();
    for file in ["tag_a+b", "tag_.bad", "tag_100%25", "tag_raw%"] {
        store.write(&format!("repositories/foo/bar/{file}"), &store.child.id);
    }
    // What 0.9.1 wrote as the metadata of a tag `_valid`, and showed as a tag `valid_json`.
    store.write("repositories/foo/bar/tag_valid_json", r#"{"last_update": 1}"#);
    let registry = store.open().await;
    let tags = registry.client.exchange(Sent::get("/v1/repositories/foo/bar/tags")).await.expect(200);
    let tags: serde_json::Value = serde_json::from_slice(&tags.body).unwrap();
    let id = &store.child.id;
    assert_eq!(tags, json!({ ".bad": id, "100%": id, "a b": id, "latest": id, "raw%": id }));
    for tag in ["a%20b", "a+b", ".bad", "100%25", "100%2525", "latest"] {
        let target = format!("/v1/repositories/foo/bar/tags/{tag}");
        assert_eq!(registry.client.exchange(Sent::get(target)).await.expect(200).text(), format!("\"{id}\""));
    }
    registry.client.exchange(Sent::get("/v1/repositories/foo/bar/tags/valid_json")).await.expect(404);
    registry.client.exchange(Sent::delete("/v1/repositories/foo/bar/tags/a+b")).await.expect(200);
    assert!(!store.exists("repositories/foo/bar/tag_a+b"));
    registry.client.exchange(Sent::delete("/v1/repositories/foo/bar/")).await.expect(200);
    assert!(!store.exists("repositories/foo/bar"));
}

#[tokio::test]
async fn an_image_in_progress_is_hidden_and_can_be_pushed_again() {
    let store = OldStore::new();
    let late = Image::new(Some(&store.child), "late layer");
    store.write(&format!("images/{}/json", late.id), &late.json);
    store.write(&format!("images/{}/layer", late.id), "late l");
    store.write(&format!("images/{}/_inprogress", late.id), "true");
    store.write("repositories/foo/bar/tag_late", &late.id);
    let registry = store.open().await;
    registry.client.exchange(Sent::get(late.path("layer"))).await.expect(400);
    let images = [store.images(), vec![late.clone()]].concat();
    docker_push(&registry.client, "foo/bar", "late", &images).await;
    assert_eq!(docker_pull(&registry.client, "foo/bar").await["late"], images);
    assert!(!store.exists(&format!("images/{}/_inprogress", late.id)));
}

#[tokio::test]
async fn lists_that_0_9_1_stored_are_kept_and_mended() {
    let store = OldStore::new();
    store.write(
        "repositories/foo/bar/_index_images",
        format!(r#"[{{"noid": 1}}, {{"id": "{}"}}]"#, store.root.id),
    );
    store.write(
        &format!("images/{}/_files", store.root.id),
        r#"[["/sub/.wh.x", "f", false, 0, 0, 420, 0, 0]]"#,
    );
    store.write("repositories/foo/bar/_private", "");
    let registry = store.open().await;
    let files = registry.client.exchange(Sent::get(store.root.path("files"))).await.expect(200).text();
    assert_eq!(files, r#"[["/sub/.wh.x", "f", false, 0, 0, 420, 0, 0]]"#);
    let properties =
        registry.client.exchange(Sent::get("/v1/repositories/foo/bar/properties")).await.expect(200);
    assert_eq!(properties.text(), r#"{"access": "private"}"#);
    let more = format!(r#"[{{"id": "{}"}}]"#, store.child.id);
    registry.client.exchange(Sent::put("/v1/repositories/foo/bar/", more)).await.expect(200);
    let list =
        registry.client.exchange(Sent::get("/v1/repositories/foo/bar/images")).await.expect(200).text();
    assert_eq!(list, format!(r#"[{{"id": "{}"}}, {{"id": "{}"}}]"#, store.child.id, store.root.id));
}

#[tokio::test]
async fn layers_are_listed_from_files_on_disk() {
    let store = OldStore::new();
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_path("etc/hosts").unwrap();
    header.set_size(3);
    header.set_mode(0o600);
    header.set_cksum();
    archive.append(&header, &b"abc"[..]).unwrap();
    let layer = format!("images/{}/layer", store.root.id);
    store.write(&layer, archive.into_inner().unwrap());
    let registry = store.open().await;
    let list = r#"[["etc/hosts", "f", false, 3, 0, 384, 0, 0]]"#;
    let files = async || registry.client.exchange(Sent::get(store.root.path("files"))).await;
    assert_eq!(files().await.expect(200).text(), list);
    assert_eq!(store.read(&format!("images/{}/_files", store.root.id)), list);
    fs::remove_file(Path::new(store.folder.path()).join(layer)).unwrap();
    assert_eq!(files().await.expect(200).text(), list);
}

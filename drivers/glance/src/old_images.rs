//! Images that docker-registry 0.x wrote through version 1 of Glance's API, found through version 2: to be read, and
//! nothing else.
//!
//! There one image of Glance was one docker image: the layer is its content, the small files are the properties
//! `meta_json`, `meta_ancestry`, `meta__checksum`. Docker's id is in a property named `id`, which version 2 neither shows nor
//! looks for, so it is taken from the files. Such images are older than all that this driver wrote: they are looked for
//! once, oldest first, until a page has none but its own. What was not completed is left out, and pushed again.

use std::{collections::HashMap, sync::Arc};

use docker_registry_driver_api::{
    Bytes, CallContext, ETag, Error, ErrorKind, Object, ObjectInfo, ObjectPath, ReadRange, Reading,
    ReadingBody, Result, byte_stream, collect,
};
use serde_json::Value;
use tokio::sync::OnceCell;

use crate::{
    client::Glance,
    document::{Image, REGISTRY},
    routing::docker_image,
};

const JSON: &str = "meta_json";
const ANCESTRY: &str = "meta_ancestry";
const UNFINISHED: &str = "meta__inprogress";
const LAYER: &str = "meta_layer";
/// Hex digits of docker's ids.
const ID: usize = 64;

/// Glance's ids of these images by docker's.
pub(crate) type OldImages = OnceCell<HashMap<String, String>>;

/// A file of a docker image.
enum File {
    /// It is a property.
    Small(Bytes, ObjectInfo),
    /// It is the content of the image with this id.
    Layer(String, ObjectInfo),
}

impl File {
    fn info(&self) -> &ObjectInfo {
        match self {
            Self::Small(_, info) | Self::Layer(_, info) => info,
        }
    }
}

impl Glance {
    /// Glance's id of such an image. The search goes on when its caller stops waiting, so that the next one finds it done.
    async fn old_id(self: &Arc<Self>, docker: &str) -> Result<Option<String>> {
        if self.old_images.get().is_none() {
            let glance = Arc::clone(self);
            let search = tokio::spawn(async move {
                let call = CallContext { background: true, ..CallContext::default() };
                glance.old_images.get_or_try_init(|| glance.find_old(&call)).await.map(drop)
            });
            let interrupted =
                |error| Error::new(ErrorKind::Internal, "a search was broken off").caused_by(&error);
            search.await.map_err(interrupted)??;
        }
        Ok(self.old_images.get().and_then(|old| old.get(docker)).cloned())
    }

    async fn find_old(&self, call: &CallContext) -> Result<HashMap<String, String>> {
        if !self.knows_owner() {
            return Err(Error::new(
                ErrorKind::Unavailable,
                "it is not known yet which project the images belong to",
            ));
        }
        let (mut old, mut marker) = (HashMap::new(), None::<String>);
        loop {
            let page = self.any_page(call, marker.as_deref()).await?;
            marker = page.images.last().map(|image| image.id.clone());
            let is_ours = |image: &Image| image.property(REGISTRY).is_some();
            for image in page.images.iter().filter(|image| !is_ours(image) && self.is_owned(image)) {
                if image.status == "active"
                    && image.property(UNFINISHED).is_none()
                    && let Some(id) = docker_id(image)
                {
                    old.insert(id, image.id.clone());
                }
            }
            if page.next.is_none() || page.images.iter().all(is_ours) {
                if !old.is_empty() {
                    tracing::info!(images = old.len(), "Glance has images that docker-registry 0.x wrote");
                }
                return Ok(old);
            }
        }
    }

    /// A file that docker-registry 0.x wrote, or `absent`.
    async fn old(self: &Arc<Self>, call: &CallContext, path: &ObjectPath, absent: Error) -> Result<File> {
        let Some((docker, name)) = docker_image(path.as_str()) else { return Err(absent) };
        let Some(id) = self.old_id(docker).await? else { return Err(absent) };
        let image = match self.image(call, &id).await {
            Ok(image) => image,
            Err(error) if error.is_not_found() => return Err(absent),
            Err(error) => return Err(error),
        };
        let info =
            |size| ObjectInfo { size, modified: image.changed(), etag: Some(ETag(format!("{id}-{name}"))) };
        if name == LAYER {
            let info = info(image.stored_size());
            return Ok(File::Layer(id, info));
        }
        let text = image.property(&name).ok_or(absent)?;
        Ok(File::Small(Bytes::copy_from_slice(text.as_bytes()), info(text.len() as u64)))
    }

    /// What there is to know of such a file.
    pub(crate) async fn old_head(
        self: &Arc<Self>,
        call: &CallContext,
        path: &ObjectPath,
        absent: Error,
    ) -> Result<ObjectInfo> {
        Ok(self.old(call, path, absent).await?.info().clone())
    }

    /// The content of such a file.
    pub(crate) async fn old_get(
        self: &Arc<Self>,
        call: &CallContext,
        path: &ObjectPath,
        max_size: u64,
        absent: Error,
    ) -> Result<Object> {
        match self.old(call, path, absent).await? {
            File::Small(content, info) if info.size <= max_size => Ok(Object { content, info }),
            File::Layer(id, info) if info.size <= max_size => {
                let body = self.content(call, &id, info.size, 0, info.size).await?;
                let most = usize::try_from(info.size).unwrap_or(usize::MAX);
                Ok(Object { content: collect(body, most).await?, info })
            }
            file => {
                let message = format!("the object has {} bytes, {max_size} are allowed", file.info().size);
                Err(Error::new(ErrorKind::TooLarge, message))
            }
        }
    }

    /// Opens such a file.
    pub(crate) async fn old_reading(
        self: &Arc<Self>,
        call: &CallContext,
        path: &ObjectPath,
        range: ReadRange,
        absent: Error,
    ) -> Result<Reading> {
        let file = self.old(call, path, absent).await?;
        let ObjectInfo { size: total_size, etag, .. } = file.info().clone();
        let (offset, length) = range.resolve(total_size)?;
        let body = match file {
            File::Layer(id, _) => self.content(call, &id, total_size, offset, length).await?,
            File::Small(content, _) => {
                let end = |at: u64| usize::try_from(at).map_or(content.len(), |at| at.min(content.len()));
                let part = content.slice(end(offset)..end(offset + length));
                byte_stream((!part.is_empty()).then_some(part))
            }
        };
        Ok(Reading { total_size, offset, length, etag, body: ReadingBody::Stream(body) })
    }
}

/// Docker's id of an image that docker-registry 0.x wrote: the first of its ancestry, which is the image itself, or what
/// its description says. Both may have been cut off.
fn docker_id(image: &Image) -> Option<String> {
    let described = |text: &str| match serde_json::from_str::<Value>(text) {
        Ok(description) => description["id"].as_str().map(str::to_owned),
        Err(_) => first_id(text.split_once("\"id\"")?.1),
    };
    let id = image.property(ANCESTRY).and_then(first_id).or_else(|| described(image.property(JSON)?))?;
    (id.len() == ID && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(id)
}

/// The first id in quotes.
fn first_id(text: &str) -> Option<String> {
    let id = text.split('"').nth(1)?;
    (id.len() == ID).then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn dockers_id_is_taken_from_the_ancestry_or_from_the_description_also_where_they_were_cut_off() {
        let (one, other) = ("1a".repeat(32), "2b".repeat(32));
        let id = |properties: Value| {
            let mut image = json!({"id": "0f3d2a30-1a1b-4c4d-9e9f-aabbccddeeff", "status": "active"});
            image.as_object_mut().unwrap().extend(properties.as_object().unwrap().clone());
            docker_id(&serde_json::from_value(image).unwrap())
        };
        let ancestry = format!("[\"{one}\", \"{other}\"]");
        assert_eq!(id(json!({"meta_ancestry": ancestry})).as_ref(), Some(&one));
        assert_eq!(id(json!({"meta_ancestry": &ancestry[..80]})).as_ref(), Some(&one));
        let description = json!({"parent": other, "id": one, "os": "linux"}).to_string();
        assert_eq!(id(json!({"meta_json": description})).as_ref(), Some(&one));
        let cut = format!("{{\"parent\": \"{other}\", \"id\": \"{one}\", \"config\": {{\"Cmd");
        assert_eq!(id(json!({"meta_json": cut})).as_ref(), Some(&one));
        for nothing in [json!({}), json!({"meta_json": "{"}), json!({"meta_ancestry": "[\"short\"]"})] {
            assert_eq!(id(nothing), None);
        }
    }
}

//! Reading images: JSON, ancestry and layer.
//!
//! Every reader finds what it wants first and looks for the mark of a push afterwards. As the mark is
//! written before everything else of an image, nothing of an unfinished image can slip through.

use bytes::Bytes;
use docker_registry_driver_api::{CallContext, ErrorKind, ReadRange, Reading};
use serde_json::Value;

use super::{Error, Registry, Result, checksum::stored_checksums, corrupt, json, names::ImageId, present};
use crate::{layout::v1::ImagePaths, registry::addresses};

/// A complete image, its layer apart.
#[derive(Debug)]
pub struct Image {
    /// The JSON exactly as it was pushed.
    pub json: Bytes,
    /// Size of the layer in bytes, if there is one.
    pub layer_size: Option<u64>,
    /// The checksums that the registry took when the layer came.
    pub checksums: Vec<String>,
}

/// What a request for a layer found.
pub enum Layer {
    /// The bytes that were asked for.
    Content(Reading),
    /// No byte of the layer is in the range.
    OutOfRange {
        /// Size of the layer in bytes.
        size: u64,
    },
}

impl Registry {
    /// An image's JSON and what belongs into the headers beside it.
    ///
    /// # Errors
    /// [`Error::ImageNotFound`], [`Error::ImageInProgress`], or the storage's.
    pub async fn image(&self, call: &CallContext, id: &ImageId) -> Result<Image> {
        let paths = ImagePaths(id);
        let (json, checksum, layer) = (paths.json()?, paths.checksum()?, paths.layer()?);
        let found = self.get(call, &json).await?;
        let (json, layer, checksum) = futures::try_join!(
            self.when_complete(call, id, found),
            self.head(call, &layer),
            self.get(call, &checksum),
        )?;
        Ok(Image {
            json: json.content,
            layer_size: layer.map(|layer| layer.size),
            checksums: checksum.map(|stored| stored_checksums(&stored.content)).unwrap_or_default(),
        })
    }

    /// The image and its ancestors, the root last.
    ///
    /// # Errors
    /// [`Error::ImageNotFound`], [`Error::ImageInProgress`], or the storage's.
    pub async fn ancestry(&self, call: &CallContext, id: &ImageId) -> Result<Value> {
        let path = ImagePaths(id).ancestry()?;
        let found = self.get(call, &path).await?;
        let stored = self.when_complete(call, id, found).await?;
        json::parse(stored.content).await.ok_or_else(|| corrupt(&path, "the stored ancestry is not JSON"))
    }

    /// Opens the layer.
    ///
    /// # Errors
    /// [`Error::ImageNotFound`], [`Error::ImageInProgress`], or the storage's.
    pub async fn layer(&self, call: &CallContext, id: &ImageId, range: ReadRange) -> Result<Layer> {
        let path = ImagePaths(id).layer()?;
        let found = match self.storage.read(call, &path, range).await {
            Err(error) if error.kind == ErrorKind::InvalidRange => {
                self.head(call, &path).await?.map(|info| Layer::OutOfRange { size: info.size })
            }
            read => present(read)?.map(Layer::Content),
        };
        self.when_complete(call, id, found).await
    }

    /// Size of the layer in bytes.
    ///
    /// # Errors
    /// [`Error::ImageNotFound`], [`Error::ImageInProgress`], or the storage's.
    pub async fn layer_size(&self, call: &CallContext, id: &ImageId) -> Result<u64> {
        let found = self.head(call, &ImagePaths(id).layer()?).await?;
        Ok(self.when_complete(call, id, found).await?.size)
    }

    /// An address of the storage where the layer can be fetched for a while; `None` where the storage makes none.
    ///
    /// # Errors
    /// [`Error::ImageNotFound`], [`Error::ImageInProgress`], or the storage's.
    pub async fn layer_address(&self, call: &CallContext, id: &ImageId) -> Result<Option<String>> {
        if !addresses::are_made_by(&self.storage) {
            return Ok(None);
        }
        self.layer_size(call, id).await?;
        Ok(addresses::of(&self.storage, call, ImagePaths(id).layer()?).await)
    }

    /// Refuses an image whose push has not ended. One that is absent is not looked for.
    ///
    /// # Errors
    /// [`Error::ImageInProgress`], or the storage's.
    pub async fn refuse_in_progress(&self, call: &CallContext, id: &ImageId) -> Result<()> {
        self.when_complete(call, id, Some(())).await
    }

    /// Lets `found` through if the push of the image has ended. Must be asked *after* it was found.
    pub(super) async fn when_complete<T>(
        &self,
        call: &CallContext,
        id: &ImageId,
        found: Option<T>,
    ) -> Result<T> {
        match self.head(call, &ImagePaths(id).mark()?).await? {
            Some(_) => Err(Error::ImageInProgress),
            None => found.ok_or(Error::ImageNotFound),
        }
    }
}

//! Parts of large objects that are made of other objects: by sharing their bundles, without moving content, where they
//! have some.

use std::ops::Range;

use docker_registry_driver_api::{Error, ErrorKind, Result};
use docker_registry_object_storage::bucket::Part;

use crate::{
    begun::Begun,
    making::{Making, gone},
    objects::Found,
    record::{Body, Hold, Piece, Record, cut},
};

impl Making {
    /// Makes a part of a range of another object.
    ///
    /// # Errors
    /// `NotFound` when the object was finished or abandoned, and when the source is gone.
    pub(crate) async fn copy_part(
        &self,
        id: u128,
        number: u32,
        from: &str,
        range: Range<u64>,
    ) -> Result<Part> {
        let length = range.end.saturating_sub(range.start);
        for _ in 0..3 {
            let found = self.objects.find(from).await?;
            if range.end > found.facts().size {
                return Err(Error::new(ErrorKind::InvalidRange, "the source is shorter than the range"));
            }
            let Found::Record { record: Record { body: Body::Pieces { holds, pieces }, .. }, .. } = &found
            else {
                return self.copy_content(id, number, &found, range).await;
            };
            let wanted = cut(pieces, range.start, length);
            if let Some(tag) = self.share(id, holds, &wanted).await? {
                return Ok(Part { number, size: length, tag });
            }
            // The source was replaced meanwhile.
        }
        Err(Error::new(ErrorKind::Conflict, "the source is replaced all the time").retryable(true))
    }

    /// Holds the bundles of pieces; the pieces as a text. `None` when a bundle is dead.
    async fn share(&self, id: u128, holds: &[Hold], pieces: &[Piece]) -> Result<Option<String>> {
        let used: Vec<Hold> = holds
            .iter()
            .enumerate()
            .filter(|(place, _)| pieces.iter().any(|piece| piece.hold as usize == *place))
            .map(|(_, hold)| Hold { owner: id, ..*hold })
            .collect();
        if !self.known_to(id, |begun| used.iter().all(|hold| begun.held.contains(hold))) {
            // The record first: what it names is let go of in any case.
            self.change(id, |begun| {
                if begun.finishing != 0 {
                    return Err(gone());
                }
                let new = used.iter().filter(|hold| !begun.held.contains(hold)).copied();
                let held: Vec<Hold> = begun.held.iter().copied().chain(new).collect();
                Ok((held.len() > begun.held.len()).then(|| Begun { held, ..begun.clone() }))
            })
            .await?;
        }
        for hold in &used {
            if !self.objects.bundles.hold(hold.bundle, id).await? {
                return Ok(None);
            }
        }
        let texts = pieces.iter().filter_map(|piece| {
            let hold = holds.get(piece.hold as usize)?;
            Some(format!("{:x}.{}.{}.{}", hold.bundle, piece.part, piece.offset, piece.length))
        });
        Ok(Some(texts.collect::<Vec<_>>().join(" ")))
    }

    /// Makes a part of content that is in no bundle.
    async fn copy_content(&self, id: u128, number: u32, found: &Found, range: Range<u64>) -> Result<Part> {
        let length = range.end - range.start;
        let mut content = self.objects.content(found, range.start, length);
        self.reserve(id, number).await?;
        self.objects.bundles.write_stream(id, number, &mut content).await?;
        Ok(Part { number, size: length, tag: String::new() })
    }
}

//! Listings: both APIs ask for the same, in different words.

use std::{collections::BTreeMap, ops::Bound, sync::Arc};

use base64::{Engine, prelude::BASE64_STANDARD};

use crate::{answer::Refusal, store::Stored};

/// Most entries of a page.
pub(crate) const MOST: usize = 1_000;

/// What is asked for.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) prefix: String,
    pub(crate) delimiter: String,
    pub(crate) token: Option<String>,
    /// Only names from here on.
    pub(crate) start: Option<String>,
    /// Only names behind this one.
    pub(crate) after: Option<String>,
    pub(crate) limit: usize,
}

/// One page.
#[derive(Debug, Default)]
pub(crate) struct Page {
    pub(crate) objects: Vec<(String, Arc<Stored>)>,
    pub(crate) prefixes: Vec<String>,
    pub(crate) next: Option<String>,
}

impl Page {
    /// Lists: objects and prefixes count alike, and come in byte order.
    pub(crate) fn of(objects: &BTreeMap<String, Arc<Stored>>, wanted: &Wanted) -> Result<Self, Refusal> {
        let last = wanted.token.as_deref().map(read_token).transpose()?;
        let from = match (&last, &wanted.start, &wanted.after) {
            (Some(last), _, _) => Bound::Excluded(last.as_str()),
            (None, _, Some(after)) => Bound::Excluded(after.as_str()),
            (None, Some(start), None) => Bound::Included(start.as_str()),
            (None, None, None) => Bound::Unbounded,
        };
        let from = match from {
            Bound::Excluded(text) | Bound::Included(text) if text < wanted.prefix.as_str() => {
                Bound::Included(wanted.prefix.as_str())
            }
            Bound::Unbounded => Bound::Included(wanted.prefix.as_str()),
            other => other,
        };
        let limit = wanted.limit.clamp(1, MOST);
        let mut page = Self::default();
        let mut previous: Option<String> = None;
        for (key, object) in objects.range::<str, _>((from, Bound::Unbounded)) {
            let Some(rest) = key.strip_prefix(&wanted.prefix) else { break };
            let end = (!wanted.delimiter.is_empty()).then(|| rest.find(&wanted.delimiter)).flatten();
            let entry = match end {
                Some(end) => key[..wanted.prefix.len() + end + wanted.delimiter.len()].to_owned(),
                None => key.clone(),
            };
            let is_known = previous.as_ref() == Some(&entry);
            // A page that ended with a prefix goes on behind everything below it.
            if end.is_some() && (is_known || last.as_ref() == Some(&entry)) {
                continue;
            }
            if page.objects.len() + page.prefixes.len() == limit {
                page.next = previous.map(|entry| BASE64_STANDARD.encode(format!("after:{entry}")));
                break;
            }
            match end {
                Some(_) => page.prefixes.push(entry.clone()),
                None => page.objects.push((key.clone(), Arc::clone(object))),
            }
            previous = Some(entry);
        }
        Ok(page)
    }
}

fn read_token(token: &str) -> Result<String, Refusal> {
    BASE64_STANDARD
        .decode(token)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .and_then(|text| text.strip_prefix("after:").map(str::to_owned))
        .ok_or_else(|| Refusal::invalid("the page token is not one of this server"))
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn pages_go_through_all_entries_once_and_in_order() {
        let object = Arc::new(Stored {
            generation: 1,
            size: 0,
            md5: [0; 16],
            crc32c: 0,
            described: Default::default(),
            updated: SystemTime::now(),
            file: Default::default(),
        });
        let names = ["a", "b/1", "b/2", "b/3", "c", "d/1"];
        let objects = names.iter().map(|name| (name.to_string(), Arc::clone(&object))).collect();
        for limit in 1..5 {
            let mut seen = Vec::new();
            let mut token = None;
            loop {
                let wanted = Wanted { delimiter: "/".to_owned(), token, limit, ..Wanted::default() };
                let page = Page::of(&objects, &wanted).unwrap();
                assert!(page.objects.len() + page.prefixes.len() <= limit);
                seen.extend(page.objects.into_iter().map(|(name, _)| name));
                seen.extend(page.prefixes);
                token = page.next;
                if token.is_none() {
                    break;
                }
            }
            seen.sort();
            assert_eq!(seen, ["a", "b/", "c", "d/"]);
        }
        assert!(
            Page::of(&objects, &Wanted { token: Some("x".into()), limit: 1, ..Default::default() }).is_err()
        );
    }
}

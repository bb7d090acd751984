//! Drivers that do not take names as they are.

use docker_registry_driver_api::{
    Error, ErrorKind, ListRequest, MAX_PAGE, ObjectPath, Result, SharedDriver, futures::FutureExt,
};

use crate::{
    changed::{Changed, call},
    faulty::{Fault, fault},
};

/// A driver that writes to another path than the one that it was given. The root of a case stays.
fn put_at(inner: SharedDriver, change: fn(&str) -> Result<String>) -> SharedDriver {
    Changed::of(inner).put(move |inner, (path, content, condition)| {
        async move {
            let (root, name) = path.as_str().split_once('/').unwrap_or((path.as_str(), ""));
            let path = ObjectPath::new(format!("{root}/{}", change(name)?))?;
            inner.put(&call(), &path, content, &condition).await
        }
        .boxed()
    })
}

/// A driver whose listings do not show the names as they are, or some not at all.
fn listed_as(inner: SharedDriver, change: fn(String) -> Option<String>) -> SharedDriver {
    Changed::of(inner).list(move |inner, (request,)| {
        async move {
            let everything = ListRequest { after: None, limit: MAX_PAGE, ..request.clone() };
            let mut page = inner.list(&call(), &everything).await?;
            let entries = page.entries.into_iter().filter_map(|mut entry| {
                entry.path = change(entry.path)?;
                Some(entry)
            });
            page.entries = entries.collect();
            page.entries.sort_by(|one, other| one.path.cmp(&other.path));
            let after = request.after.unwrap_or_default();
            page.entries.retain(|entry| entry.path > after);
            let more = page.entries.len() > request.limit as usize;
            page.entries.truncate(request.limit as usize);
            page.next = page.entries.last().filter(|_| more).map(|last| last.path.clone());
            Ok(page)
        }
        .boxed()
    })
}

/// Each segment of a path, changed.
fn segments(path: &str, change: impl Fn(&str) -> String) -> String {
    path.split('/').map(change).collect::<Vec<_>>().join("/")
}

/// The faults of this file.
pub(crate) fn faults() -> Vec<Fault> {
    const KEPT: &str = "can always be kept";
    const DIFFERENT: &str = "paths that differ in a single byte are different objects";
    vec![
        fault("names_are_lower_case", "names/upper_and_lower_case_differ", KEPT, |inner| {
            put_at(inner, |path| Ok(path.to_lowercase()))
        }),
        fault("paths_of_registries_are_shortened", "names/paths_of_registries_are_kept", KEPT, |inner| {
            put_at(inner, |path| Ok(segments(path, |segment| segment.chars().take(40).collect())))
        }),
        fault("percent_signs_are_decoded", "names/names_that_look_alike_differ", KEPT, |inner| {
            put_at(inner, |path| Ok(path.replace("%2F", "/").replace("%20", " ")))
        }),
        fault("a_plus_is_a_space", "names/names_that_look_alike_differ", KEPT, |inner| {
            put_at(inner, |path| Ok(path.replace('+', " ")))
        }),
        fault("spaces_at_the_end_are_trimmed", "names/names_that_look_alike_differ", DIFFERENT, |inner| {
            put_at(inner, |path| Ok(path.trim_end_matches(' ').to_owned()))
        }),
        fault("backslashes_are_slashes", "names/names_that_look_alike_differ", DIFFERENT, |inner| {
            put_at(inner, |path| Ok(path.replace('\\', "/")))
        }),
        fault("accents_are_composed", "names/composed_and_decomposed_letters_differ", DIFFERENT, |inner| {
            put_at(inner, |path| Ok(path.replace("e\u{301}", "\u{e9}")))
        }),
        fault("long_segments_are_cut_off", "names/long_segments_are_kept_or_refused", DIFFERENT, |inner| {
            put_at(inner, |path| Ok(segments(path, |segment| segment.chars().take(250).collect())))
        }),
        fault("long_paths_are_cut_off", "names/long_paths_are_kept_or_refused", DIFFERENT, |inner| {
            put_at(inner, |path| {
                Ok(path.chars().take(900).collect::<String>().trim_end_matches('/').to_owned())
            })
        }),
        fault(
            "a_name_is_refused_as_internal",
            "names/every_printable_ascii_character_is_kept_or_refused",
            "fails with [`InvalidPath`]",
            |inner| {
                put_at(inner, |path| match path.contains('"') {
                    true => Err(Error::new(ErrorKind::Internal, "400 Bad Request")),
                    false => Ok(path.to_owned()),
                })
            },
        ),
        fault(
            "a_usual_name_is_refused",
            "names/every_printable_ascii_character_is_kept_or_refused",
            "Writes a small object",
            |inner| {
                put_at(inner, |path| match path.contains('%') {
                    true => Err(Error::new(ErrorKind::InvalidPath, "a name cannot hold %")),
                    false => Ok(path.to_owned()),
                })
            },
        ),
        fault("hidden_names_are_not_listed", "names/names_like_temporary_files_are_objects", KEPT, |inner| {
            listed_as(inner, |path| (!path.contains("/.")).then_some(path))
        }),
        fault(
            "temporary_names_are_not_listed",
            "names/names_like_temporary_files_are_objects",
            KEPT,
            |inner| listed_as(inner, |path| (!path.ends_with(".tmp")).then_some(path)),
        ),
        fault("listings_are_escaped", "names/names_that_look_alike_differ", KEPT, |inner| {
            listed_as(inner, |path| Some(path.replace('%', "%25")))
        }),
    ]
}

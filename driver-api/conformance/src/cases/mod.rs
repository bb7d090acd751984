//! The cases, one file a subject.

use crate::Case;

mod appending;
mod cancellation;
mod concurrency;
mod conditions;
mod cursors;
mod deleting;
mod errors;
mod facts;
mod fencing;
mod health;
mod large_content;
mod large_listings;
mod listing;
mod many_callers;
mod moving;
mod names;
mod objects;
mod pending_uploads;
mod reading;
mod redirects;
mod resuming;
mod slow_readers;
mod uploads;
mod writing;

/// The groups in the order in which they run.
pub(crate) static ALL: &[&[Case]] = &[
    health::CASES,
    objects::CASES,
    facts::CASES,
    reading::CASES,
    listing::CASES,
    cursors::CASES,
    moving::CASES,
    deleting::CASES,
    names::CASES,
    redirects::CASES,
    uploads::CASES,
    appending::CASES,
    fencing::CASES,
    resuming::CASES,
    pending_uploads::CASES,
    writing::CASES,
    conditions::CASES,
    concurrency::CASES,
    many_callers::CASES,
    cancellation::CASES,
    slow_readers::CASES,
    errors::CASES,
    large_listings::CASES,
    large_content::CASES,
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crate::cases;

    #[test]
    fn names_are_unique_and_the_readme_knows_every_group() {
        let names: BTreeSet<_> = cases().map(|case| case.name()).collect();
        assert_eq!(names.len(), cases().count());
        let groups: BTreeSet<_> = names.iter().filter_map(|name| name.split('/').next()).collect();
        let readme = include_str!("../../README.md");
        let (_, table) = readme.split_once("## Groups").expect("the table of groups");
        let (table, _) = table.split_once("## ").expect("what comes after it");
        let named = table.lines().filter(|line| line.starts_with("| `"));
        let named =
            named.flat_map(|line| line.split('|').nth(1).unwrap_or_default().split('`').skip(1).step_by(2));
        assert_eq!(named.collect::<BTreeSet<_>>(), groups);
    }
}

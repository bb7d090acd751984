//! The reference of the driver's methods: every method has its section, and a section says four things.

use std::{collections::BTreeSet, fs};

use crate::root;

#[test]
fn the_reference_has_every_method_with_guarantee_errors_concurrency_and_units() {
    let page = fs::read_to_string(root().join("driver-api/docs/driver-methods.md")).expect("the page");
    let driver = fs::read_to_string(root().join("driver-api/src/driver.rs")).expect("the trait");
    let methods: BTreeSet<&str> = driver
        .lines()
        .filter_map(|line| {
            line.trim_start().strip_prefix("async fn ").or(line.trim_start().strip_prefix("fn "))
        })
        .filter_map(|rest| rest.split('(').next())
        .collect();
    assert_eq!(methods.len(), 23, "{methods:?}");
    let sections: Vec<(&str, &str)> =
        page.split("\n## ").skip(2).map(|section| section.split_once('\n').expect("a heading")).collect();
    let described: BTreeSet<&str> = sections.iter().map(|(name, _)| *name).collect();
    assert_eq!(described, methods);
    for (name, text) in sections {
        for part in ["**Guarantee**", "**Errors**", "**Concurrency**", "**Units**"] {
            assert_eq!(text.matches(part).count(), 1, "{part} of {name}");
        }
    }
}

#[test]
fn the_reference_has_every_kind_of_error() {
    let page = fs::read_to_string(root().join("driver-api/docs/driver-methods.md")).expect("the page");
    let table: String = page.lines().filter(|line| line.starts_with("| `")).collect();
    let errors = fs::read_to_string(root().join("driver-api/src/error.rs")).expect("the errors");
    let kinds: Vec<&str> = errors
        .lines()
        .filter_map(|line| line.trim().strip_suffix(',')?.split_once(" = "))
        .filter(|(_, number)| number.parse::<u32>().is_ok())
        .map(|(name, _)| name)
        .collect();
    assert_eq!(kinds.len(), 17, "{kinds:?}");
    for kind in kinds {
        assert!(table.contains(&format!("`{kind}`")), "{kind} is not in the table of errors");
    }
}

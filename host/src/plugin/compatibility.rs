//! Whether the tables of a driver and of this server fit, and if not, where they differ.
//!
//! abi_stable's check is directional: the side that is asked for may not know more fields than the
//! other offers. A driver built against a newer 1.x passes it as it is; one built against an *older*
//! 1.x passes with the roles swapped, and then the missing functions are simply absent. Each check gets
//! fresh globals, so that drivers of different minor versions do not meet in abi_stable's cache.

use docker_registry_driver_api::abi::abi_stable::{
    abi_stability::abi_checking::{AbiInstability, CheckingGlobals, check_layout_compatibility_with_globals},
    type_layout::{TLFieldOrFunction, TypeLayout},
};

/// `Ok` when the layouts fit in either direction, else what differs in a few words.
pub(super) fn check(server: &'static TypeLayout, driver: &'static TypeLayout) -> Result<(), String> {
    let newer_or_equal = check_layout_compatibility_with_globals(server, driver, &CheckingGlobals::new());
    let Err(errors) = newer_or_equal else { return Ok(()) };
    if check_layout_compatibility_with_globals(driver, server, &CheckingGlobals::new()).is_ok() {
        return Ok(());
    }
    tracing::debug!(%errors, "layout difference in full");
    // The deepest place is where the difference is; the outer ones only contain it.
    let deepest = errors.errors.iter().max_by_key(|error| error.stack_trace.len());
    Err(deepest.map_or_else(
        || "the layouts differ".to_owned(),
        |error| {
            let place: Vec<String> = error
                .stack_trace
                .iter()
                .filter_map(|step| match step.expected {
                    TLFieldOrFunction::Field(field) => Some(field.name().to_owned()),
                    TLFieldOrFunction::Function(_) => None,
                })
                .collect();
            let what = error.errs.first().map_or("it differs".to_owned(), describe);
            if place.is_empty() { what } else { format!("in field `{}` {what}", place.join(".")) }
        },
    ))
}

fn describe(difference: &AbiInstability) -> String {
    match difference {
        AbiInstability::Name(names) => {
            format!("the server has type `{}` and the driver `{}`", names.expected, names.found)
        }
        AbiInstability::Size(sizes) => {
            format!("the server's type has {} bytes and the driver's {}", sizes.expected, sizes.found)
        }
        AbiInstability::UnexpectedField(fields) => format!(
            "the server has field `{}` where the driver has `{}`",
            fields.expected.name(),
            fields.found.name()
        ),
        AbiInstability::FieldCountMismatch(counts) => {
            format!("the server has {} fields and the driver {}", counts.expected, counts.found)
        }
        AbiInstability::MismatchedPrefixSize(counts) => {
            format!("the server requires {} functions and the driver {}", counts.expected, counts.found)
        }
        AbiInstability::PackageVersion(versions) => {
            format!(
                "the server's type is of version {} and the driver's of {}",
                versions.expected, versions.found
            )
        }
        other => {
            let text = format!("{other:?}");
            format!("the layouts differ ({})", text.split(['(', '{', ' ']).next().unwrap_or("unknown"))
        }
    }
}

#[cfg(test)]
mod tests {
    use docker_registry_driver_api::abi::abi_stable::StableAbi;

    use super::check;

    /// The same table as three releases of one API would declare it.
    macro_rules! release {
        ($module:ident { $($field:ident: $type:ty,)* } [$($appended:ident: $appended_type:ty,)*]) => {
            #[allow(unsafe_code, unreachable_pub, dead_code)] // all of it made by abi_stable's derive
            mod $module {
                use abi_stable::StableAbi;

                #[repr(C)]
                #[derive(StableAbi)]
                #[sabi(kind(Prefix(prefix_ref = TableRef, prefix_fields = TablePrefix)))]
                #[sabi(missing_field(option))]
                pub(super) struct Table {
                    $(pub $field: $type,)*
                    #[sabi(last_prefix_field)]
                    pub last: u64,
                    $(pub $appended: $appended_type,)*
                }
            }
        };
    }

    release!(first { get: extern "C" fn(u64) -> u64, } []);
    release!(second { get: extern "C" fn(u64) -> u64, } [added: extern "C" fn() -> u32,]);
    release!(foreign { get: extern "C" fn(u64) -> u32, } []);

    #[test]
    fn a_driver_of_the_same_an_older_and_a_newer_minor_version_fits() {
        let (older, newer) = (first::TableRef::LAYOUT, second::TableRef::LAYOUT);
        check(older, older).unwrap();
        check(newer, older).expect("an older driver lacks only what was appended later");
        check(older, newer).expect("a newer driver offers more than this server asks for");
        // In any order, in one process.
        check(older, older).unwrap();
        check(newer, newer).unwrap();
    }

    #[test]
    fn a_changed_function_is_named() {
        let difference = check(first::TableRef::LAYOUT, foreign::TableRef::LAYOUT).unwrap_err();
        assert!(difference.contains("`") && difference.contains("get"), "{difference}");
        assert!(difference.contains("u64") && difference.contains("u32"), "{difference}");
    }
}

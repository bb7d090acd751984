//! The V2/OCI API, asked in process: requests go to [`Api::handle`](docker_registry::http::v2::Api) and
//! the storage below it is looked at directly.
//!
//! A case is a function of a [`registry::Registry`]. [`on_both_drivers`] makes two tests of it, one on
//! the memory driver, whose renames count as copies as in an object store, and one on the local driver, whose blobs
//! are regions of files and which moves what is small to its place. After each one no upload may be left, neither in
//! the repository nor at the driver.

mod abandoned_uploads;
mod registry;
mod revision_race;
mod round_trips;
mod stale_uploads;

/// Makes one test per case and driver, named `memory::CASE` and `local::CASE`.
macro_rules! on_both_drivers {
    ($($case:ident),+ $(,)?) => {
        mod memory {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    let registry = crate::registry::Registry::on_memory().await;
                    super::$case(&registry).await;
                    registry.assert_no_upload_is_left().await;
                }
            )+
        }
        mod local {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    let registry = crate::registry::Registry::on_local().await;
                    super::$case(&registry).await;
                    registry.assert_no_upload_is_left().await;
                }
            )+
        }
    };
}

mod bad_requests;
mod blobs;
mod catalog;
mod fencing;
mod foreign_stores;
mod interrupted;
mod lone_content;
mod manifests;
mod tag_guesses;
mod tags;
mod uploads;

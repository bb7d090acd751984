//! Every guarantee of the [`Driver`] trait, tried on the memory driver and on the local driver.
//!
//! A case is a function of an open driver. [`on_both_drivers`] makes two tests of it, and after each
//! one the store must be empty again once its objects are deleted: no object, no folder, no pending
//! upload, no temporary file.
//!
//! [`Driver`]: docker_registry_driver_api::Driver

mod subject;

/// Makes one test per case and driver, named `memory::CASE` and `local::CASE`.
macro_rules! on_both_drivers {
    ($($case:ident),+ $(,)?) => {
        mod memory {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    let subject = crate::subject::Subject::memory().await;
                    super::$case(subject.driver.clone()).await;
                    subject.assert_nothing_is_left().await;
                }
            )+
        }
        mod local {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    let subject = crate::subject::Subject::local().await;
                    super::$case(subject.driver.clone()).await;
                    subject.assert_nothing_is_left().await;
                }
            )+
        }
    };
}

mod conditions;
mod crashes;
mod deleting;
mod fencing;
mod listing;
mod local_store;
mod memory_store;
mod objects;
mod reading;
mod uploads;

//! What the memory driver or the local driver promises beyond the driver API.
//!
//! What the API promises of every driver is tried by the conformance suite, which `tests/conformance` runs
//! on both. Here a case is a function of an open driver. [`on_both_drivers`] makes two tests of it, and
//! after each one the store must be empty again once its objects are deleted: no object, no folder, no
//! pending upload, no temporary file.

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

mod crashes;
mod local_store;
mod memory_store;
mod running;
mod stricter;

//! How a case ends before its last line: with a finding, a panic, or the wish to be skipped.
//!
//! All three unwind to [`caught`], from any depth of a case and from its tasks. A finding unwinds
//! without a word on the standard error; a panic of the driver in this process is caught with the place
//! where it happened.

use std::{
    any::Any,
    cell::RefCell,
    fmt::Display,
    panic::{self, AssertUnwindSafe, Location},
    pin::pin,
    sync::Once,
    task::Poll,
};

use docker_registry_driver_api::Error;
use futures::future::poll_fn;

use crate::promise::Promise;

/// Where in the suite something was expected.
pub(crate) type Place = &'static Location<'static>;

/// Why a case did not come to its end.
#[derive(Debug, Clone)]
pub(crate) enum Ended {
    Skipped(String),
    Failed(String),
}

/// Ends the case: the driver broke `promise`.
pub(crate) fn broken(expected: impl Display, found: impl Display, promise: Promise, place: Place) -> ! {
    end(Ended::Failed(format!(
        "expected: {expected}\nfound:    {found}\npromise:  {promise}\nplace:    {place}"
    )))
}

/// Ends the case without a verdict.
pub(crate) fn skip(reason: &str) -> ! {
    end(Ended::Skipped(reason.to_owned()))
}

/// Goes on with an end that was caught elsewhere.
pub(crate) fn end(ended: Ended) -> ! {
    // Not a panic: no hook runs, nothing is printed.
    panic::resume_unwind(Box::new(ended))
}

/// The error in one line with its kind, as findings show it.
pub(crate) fn shown(error: &Error) -> String {
    format!("the error {:?}: {error}", error.kind)
}

thread_local! {
    /// Where the last panic on this thread happened, while [`caught`] polls; `None` outside of it.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs a future to its end, whatever the end is.
pub(crate) async fn caught<T>(future: impl Future<Output = T>) -> Result<T, Ended> {
    watch_panics();
    let mut future = pin!(future);
    poll_fn(|context| {
        // The future may be polled inside another one that is watched.
        let outer = PANIC.replace(Some(String::new()));
        let polled = panic::catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context)));
        let place = PANIC.replace(outer).unwrap_or_default();
        match polled {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(value)) => Poll::Ready(Ok(value)),
            Err(payload) => Poll::Ready(Err(ended_by(payload, &place))),
        }
    })
    .await
}

/// Keeps the place of panics inside [`caught`]; others go where they went before.
fn watch_panics() {
    static WATCHED: Once = Once::new();
    WATCHED.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            let watched = PANIC.with_borrow_mut(|place| match place {
                Some(place) => {
                    *place = panic.location().map_or_else(String::new, ToString::to_string);
                    true
                }
                None => false,
            });
            if !watched {
                previous(panic);
            }
        }));
    });
}

fn ended_by(payload: Box<dyn Any + Send>, place: &str) -> Ended {
    let payload = match payload.downcast::<Ended>() {
        Ok(ended) => return *ended,
        Err(payload) => payload,
    };
    let text = payload
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or("a panic without a text");
    Ended::Failed(format!("expected: no panic\nfound:    a panic: {text}\nplace:    {place}"))
}

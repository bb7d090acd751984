//! When a client may come again after a 503: both APIs say it in `Retry-After` (RFC 9110 §10.2.3).

use std::time::Duration;

use docker_registry_driver_api::Error;

/// What is said when the storage did not say how long it needs.
const UNLESS_TOLD: Duration = Duration::from_secs(5);

/// The value of the header, in whole seconds and at least one.
pub(super) fn retry_after(error: &Error) -> u64 {
    seconds(error.retry_after.unwrap_or(UNLESS_TOLD))
}

/// A time in whole seconds, at least one.
pub(super) fn seconds(wait: Duration) -> u64 {
    wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)).max(1)
}

#[cfg(test)]
mod tests {
    use docker_registry_driver_api::ErrorKind;

    use super::*;

    #[test]
    fn seconds_are_whole_and_never_none() {
        let mut error = Error::new(ErrorKind::Unavailable, "away");
        assert_eq!(retry_after(&error), 5);
        for (wait, said) in [(0, 1), (400, 1), (1000, 1), (2001, 3)] {
            error.retry_after = Some(Duration::from_millis(wait));
            assert_eq!(retry_after(&error), said, "{wait}");
        }
    }
}

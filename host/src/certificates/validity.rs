//! From when until when a certificate is valid, and what is said about it.

use std::{
    fmt,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use x509_parser::time::ASN1Time;

/// How long before its end a certificate is warned about.
pub const SOON: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// From when until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first moment.
    pub not_before: SystemTime,
    /// The last moment.
    pub not_after: SystemTime,
}

impl Validity {
    pub(super) fn new(validity: &x509_parser::certificate::Validity) -> Validity {
        Validity { not_before: moment(validity.not_before), not_after: moment(validity.not_after) }
    }

    /// What there is to say about it at `now`; asked again every day, it says when the end comes near.
    pub fn warning(&self, file: PathBuf, now: SystemTime) -> Option<Warning> {
        let Validity { not_before, not_after } = *self;
        if now < not_before {
            Some(Warning::NotYetValid { file, not_before })
        } else if now > not_after {
            Some(Warning::Expired { file, not_after })
        } else if not_after.duration_since(now).unwrap_or_default() <= SOON {
            Some(Warning::EndsSoon { file, not_after })
        } else {
            None
        }
    }
}

/// What does not keep a certificate from being served. Its text is one sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Warning {
    /// Its time has not come, or the clock is wrong.
    NotYetValid {
        /// The file.
        file: PathBuf,
        /// From when on it is valid.
        not_before: SystemTime,
    },
    /// Its time is over.
    Expired {
        /// The file.
        file: PathBuf,
        /// Until when it was valid.
        not_after: SystemTime,
    },
    /// Less than [`SOON`] is left.
    EndsSoon {
        /// The file.
        file: PathBuf,
        /// Until when it is valid.
        not_after: SystemTime,
    },
    /// A certificate of the chain was not issued by the one after it.
    BrokenChain {
        /// The file.
        file: PathBuf,
        /// Which certificate, from 1.
        position: usize,
    },
}

impl Warning {
    /// Whether clients refuse the certificate because of it.
    pub fn is_refused_by_clients(&self) -> bool {
        matches!(self, Self::NotYetValid { .. } | Self::Expired { .. })
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotYetValid { file, not_before } => write!(
                formatter,
                "the certificate in {} is not valid before {}, so clients refuse it; look at the clock of this machine, \
                 or make a new one with `docker-registry cert new HOST`",
                file.display(),
                day(*not_before)
            ),
            Self::Expired { file, not_after } => write!(
                formatter,
                "the certificate in {} has ended on {}, so clients refuse it; renew it, or make a new one with \
                 `docker-registry cert new HOST`",
                file.display(),
                day(*not_after)
            ),
            Self::EndsSoon { file, not_after } => write!(
                formatter,
                "the certificate in {} ends on {}; renew it before, or make a new one with `docker-registry cert new HOST`",
                file.display(),
                day(*not_after)
            ),
            Self::BrokenChain { file, position } => write!(
                formatter,
                "{}: certificate {position} was not issued by the one after it, so clients may not find the way to an \
                 authority; put each certificate's issuer right after it",
                file.display()
            ),
        }
    }
}

/// A moment as a day, as in `2031-05-30`.
pub fn day(moment: SystemTime) -> String {
    let mut text = humantime::format_rfc3339_seconds(moment).to_string();
    text.truncate("2031-05-30".len());
    text
}

/// Moments before 1970 are 1970: they are over either way.
fn moment(time: ASN1Time) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(time.timestamp()).unwrap_or_default())
}

//! Copies at the service, and waiting for them.
//!
//! Copy Blob answers before the copy is there: `x-ms-copy-status` says how far it is. Inside one account it is
//! usually done at once. A copy that failed leaves an empty blob, which is removed again.

use std::time::Duration;

use docker_registry_driver_api::{Error, ErrorKind, Result};
use docker_registry_object_storage::http::{Call, Subject};
use http::{HeaderMap, Method};

use crate::{
    account::{Account, Ask, Place},
    headers::{etag, text},
    sources,
};

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Copies a blob; when it returns, the copy is complete.
pub(crate) async fn copy(account: &Account, from: &str, to: &str) -> Result<()> {
    let call = Call::writing("copy blob", Subject::Object).slow();
    let source = sources::address(account, from).await?;
    let ask = Ask::new(call, Method::PUT, Place::Blob(to)).header(sources::SOURCE, source);
    let answer = account.send(ask).await?;
    let id = text(answer.headers(), "x-ms-copy-id").map(str::to_owned);
    let mut state = State::of(answer.headers());
    let mut pause = FIRST_PAUSE;
    while state.status == Status::Pending {
        tokio::time::sleep(pause).await;
        pause = LONGEST_PAUSE.min(pause * 2);
        let ask = Call::reading("get blob properties", Subject::Object).slow();
        let answer = account.send(Ask::new(ask, Method::HEAD, Place::Blob(to))).await?;
        if text(answer.headers(), "x-ms-copy-id") != id.as_deref() {
            return Err(Error::new(
                ErrorKind::Conflict,
                "somebody else has replaced the copy while it was made",
            ));
        }
        state = State::of(answer.headers());
    }
    if state.status == Status::Failed {
        remove_failed(account, to, state.etag).await;
        let reason = state.description.unwrap_or_else(|| "it says no more".to_owned());
        let text = format!("Azure Blob Storage could not copy the blob: {reason}");
        return Err(Error::new(ErrorKind::Unavailable, text));
    }
    Ok(())
}

/// Removes what a failed copy left, unless somebody has written there since.
async fn remove_failed(account: &Account, key: &str, tag: Option<String>) {
    let Some(tag) = tag else { return };
    let call = Call::writing("delete blob", Subject::Object);
    let ask = Ask::new(call, Method::DELETE, Place::Blob(key)).header("if-match", tag);
    if let Err(refused) = account.send(ask).await {
        tracing::warn!(key, error = %refused.error, "the empty blob of a failed copy stays");
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Status {
    Complete,
    Pending,
    Failed,
}

struct State {
    status: Status,
    description: Option<String>,
    etag: Option<String>,
}

impl State {
    fn of(headers: &HeaderMap) -> Self {
        let status = match text(headers, "x-ms-copy-status") {
            Some("pending") => Status::Pending,
            Some("failed" | "aborted") => Status::Failed,
            _ => Status::Complete,
        };
        let description = text(headers, "x-ms-copy-status-description").map(str::to_owned);
        Self { status, description, etag: etag(headers).map(|tag| tag.0) }
    }
}

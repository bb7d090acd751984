//! An append that hangs in the middle of its body.

use docker_registry_driver_api::{
    ByteStream, Bytes, ErrorKind, Result, UploadProgress, UploadState,
    futures::{StreamExt, channel::mpsc},
};
use tokio::task::JoinHandle;

use crate::subject::{Store, call};

/// An append whose body comes when the test says so.
pub(crate) struct Running {
    body: mpsc::UnboundedSender<Result<Bytes>>,
    task: JoinHandle<Result<UploadProgress>>,
}

impl Running {
    /// Starts an append and returns when it has taken its first byte, a `!`.
    pub(crate) async fn start(store: &Store, state: &UploadState, offset: u64) -> Self {
        let (body, chunks) = mpsc::unbounded();
        let (taken, mut has_taken) = mpsc::unbounded();
        let chunks: ByteStream = chunks.inspect(move |_| drop(taken.unbounded_send(()))).boxed();
        let (store, state) = (store.clone(), state.clone());
        let task = tokio::spawn(async move { store.append(&call(), &state, offset, chunks).await });
        body.unbounded_send(Ok(Bytes::from_static(b"!"))).unwrap();
        has_taken.next().await.expect("the append takes a byte");
        Self { body, task }
    }

    /// Sends enough to be written at once.
    pub(crate) async fn send_much(&self) {
        for _ in 0..2 {
            // The appender may have given up already.
            let _ = self.body.unbounded_send(Ok(Bytes::from(vec![b'!'; 2_000_000])));
            tokio::task::yield_now().await;
        }
    }

    /// Drops the append in the middle of its body.
    pub(crate) async fn cancel(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
    }

    /// Ends the body. The append must have been overtaken.
    pub(crate) async fn fails(self, kinds: &[ErrorKind]) {
        drop(self.body);
        let error = self.task.await.unwrap().unwrap_err();
        assert!(kinds.contains(&error.kind), "{error}");
    }
}

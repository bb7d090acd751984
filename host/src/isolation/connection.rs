//! The server's end of a control socket: calls under way, and what the driver's process says unasked.
//!
//! Guarantees: every call that was begun ends, by its answer or by [`CallError::Lost`] when the connection
//! ends; a call that is dropped is cancelled in the driver's process if it was sent, and never sent if it
//! was not; at most [`MAX_CALLS`] calls are under way and [`QUEUE`] frames wait, further ones wait for a
//! place. Appends, which last as long as their clients send, and questions after the health are not counted:
//! no number of slow uploads keeps others out. A socket that fails ends the connection.

use std::{
    collections::HashMap,
    io,
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot};

use super::{
    channel::{Channel, Incoming, Outgoing},
    facts::{WireContext, WireError},
    messages::{Answer, Request, ToChild, ToServer},
};
use crate::plugin::{count_event, log_event};

/// Calls under way at most, beside appends and questions after the health.
const MAX_CALLS: usize = 1024;
/// Frames that wait for the socket at most.
const QUEUE: usize = 64;

/// The answer to a call.
pub(super) struct Reply {
    pub(super) answer: Result<Answer, WireError>,
    pub(super) content: Bytes,
    pub(super) file: Option<OwnedFd>,
    /// A file came with the answer and could not be taken.
    pub(super) file_lost: bool,
}

/// Why a call has no answer.
#[derive(Debug)]
pub(super) enum CallError {
    /// The connection ended. Unless `begun`, the driver never heard of the call.
    Lost { begun: bool },
    /// The call is larger than a message may be.
    TooLarge(io::Error),
}

/// See the module.
pub(super) struct Connection {
    /// The driver, for lines that do not name one.
    driver: String,
    queue: mpsc::Sender<Queued>,
    /// `None` once the connection has ended.
    waiting: Mutex<Option<HashMap<u64, Waiting>>>,
    next_id: AtomicU64,
    places: Semaphore,
    cancelled: Mutex<Vec<u64>>,
    cancel: Notify,
    /// Who waits for an answer that is not a call's.
    handshake: Mutex<Option<oneshot::Sender<ToServer>>>,
}

struct Waiting {
    reply: oneshot::Sender<Result<Reply, CallError>>,
    /// Whether its frame was sent, or is being sent.
    begun: bool,
}

/// A frame in the queue, and the call that it is for.
struct Queued {
    call: Option<u64>,
    frame: Outgoing,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Connection {
    /// Connects over a socket. The second value runs the connection, which has ended when it is done; it
    /// gives the reason if there is one, and must be polled for anything to happen.
    pub(super) fn new(
        socket: OwnedFd,
        driver: &str,
    ) -> io::Result<(Arc<Self>, impl Future<Output = Option<io::Error>> + Send + use<>)> {
        let channel = Channel::new(socket)?;
        let (queue, queued) = mpsc::channel(QUEUE);
        let connection = Arc::new(Self {
            driver: driver.to_owned(),
            queue,
            waiting: Mutex::new(Some(HashMap::new())),
            next_id: AtomicU64::new(0),
            places: Semaphore::new(MAX_CALLS),
            cancelled: Mutex::default(),
            cancel: Notify::new(),
            handshake: Mutex::default(),
        });
        let running = Arc::clone(&connection);
        let run = async move {
            // However this ends, by being dropped as well, nobody waits in vain.
            let running = EndsTogether(running);
            tokio::select! {
                read = running.0.read(&channel) => read.err(),
                failed = running.0.write(&channel, queued) => Some(failed),
            }
        };
        Ok((connection, run))
    }

    /// Makes a call.
    pub(super) async fn call(
        &self,
        context: WireContext,
        request: Request,
        content: Bytes,
        file: Option<OwnedFd>,
    ) -> Result<Reply, CallError> {
        let lost = CallError::Lost { begun: false };
        let _place = match request {
            Request::Append { .. } | Request::Health => None,
            _ => match self.places.acquire().await {
                Ok(place) => Some(place),
                Err(_) => return Err(lost),
            },
        };
        let Ok(slot) = self.queue.reserve().await else { return Err(lost) };
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let frame = Outgoing::new(&ToChild::Call { id, context, request }, content, file)
            .map_err(CallError::TooLarge)?;
        let (reply, answered) = oneshot::channel();
        match &mut *lock(&self.waiting) {
            Some(waiting) => drop(waiting.insert(id, Waiting { reply, begun: false })),
            None => return Err(lost),
        }
        let _dropped = CancelsWhenDropped { connection: self, id };
        slot.send(Queued { call: Some(id), frame });
        // The sender goes only after it has sent.
        answered.await.unwrap_or(Err(CallError::Lost { begun: true }))
    }

    /// Sends a message that is no call and returns its answer; `None` when the connection ended before.
    pub(super) async fn ask(&self, header: &ToChild, content: Bytes) -> Option<ToServer> {
        let frame = Outgoing::new(header, content, None).ok()?;
        let (said, answer) = oneshot::channel();
        *lock(&self.handshake) = Some(said);
        if lock(&self.waiting).is_none() {
            return None;
        }
        self.queue.send(Queued { call: None, frame }).await.ok()?;
        answer.await.ok()
    }

    /// Sends what is queued until the socket fails in a way that the reader does not notice.
    async fn write(&self, channel: &Channel, mut queued: mpsc::Receiver<Queued>) -> io::Error {
        loop {
            let sent = tokio::select! {
                biased;
                () = self.cancel.notified() => self.send_cancellations(channel).await,
                Some(Queued { call, frame }) = queued.recv() => {
                    if call.is_some_and(|id| !self.begin(id, true)) {
                        continue;
                    }
                    let sent = channel.send(frame).await;
                    if let (Err(_), Some(id)) = (&sent, call) {
                        // A part of a call is no call: the driver has not heard of it.
                        self.begin(id, false);
                    }
                    sent
                }
            };
            match sent {
                Ok(()) => {}
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) =>
                {
                    // The reader finds out and ends the connection. What has already arrived is still read.
                    return std::future::pending().await;
                }
                // No memory for the frame, for instance: the process lives, and would wait for ever.
                Err(error) => return error,
            }
        }
    }

    async fn send_cancellations(&self, channel: &Channel) -> io::Result<()> {
        let cancelled = std::mem::take(&mut *lock(&self.cancelled));
        for id in cancelled {
            channel.send(Outgoing::new(&ToChild::Cancel { id }, Bytes::new(), None)?).await?;
        }
        Ok(())
    }

    /// Notes whether a call may have reached the driver, before it is sent; `false` when nobody waits for it
    /// any more.
    fn begin(&self, id: u64, begun: bool) -> bool {
        let mut waiting = lock(&self.waiting);
        let waiting = waiting.as_mut().and_then(|waiting| waiting.get_mut(&id));
        waiting.map(|call| call.begun = begun).is_some()
    }

    async fn read(&self, channel: &Channel) -> io::Result<()> {
        while let Some(frame) = channel.receive::<ToServer>().await? {
            let Incoming { header, content, file, file_lost } = frame;
            match header {
                ToServer::Answer { id, answer } => {
                    let waiting = lock(&self.waiting).as_mut().and_then(|waiting| waiting.remove(&id));
                    if let Some(call) = waiting {
                        // Nobody may wait any more; then file and content go.
                        let _ = call.reply.send(Ok(Reply { answer, content, file, file_lost }));
                    }
                }
                ToServer::Log { level, driver, module, line } => {
                    log_event(self.named(&driver), level, &module, &line);
                }
                ToServer::Count { driver, counter, amount } => {
                    count_event(self.named(&driver), &counter, amount);
                }
                other => {
                    if let Some(said) = lock(&self.handshake).take() {
                        let _ = said.send(other);
                    }
                }
            }
        }
        Ok(())
    }

    fn named<'a>(&'a self, driver: &'a str) -> &'a str {
        if driver.is_empty() { &self.driver } else { driver }
    }

    fn end(&self) {
        self.places.close();
        let waiting = lock(&self.waiting).take();
        for call in waiting.into_iter().flatten().map(|(_, call)| call) {
            let _ = call.reply.send(Err(CallError::Lost { begun: call.begun }));
        }
        lock(&self.handshake).take();
    }
}

struct EndsTogether(Arc<Connection>);

impl Drop for EndsTogether {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// A call that somebody waits for.
struct CancelsWhenDropped<'a> {
    connection: &'a Connection,
    id: u64,
}

impl Drop for CancelsWhenDropped<'_> {
    fn drop(&mut self) {
        // An answered call is in the table no more.
        let call = lock(&self.connection.waiting).as_mut().and_then(|waiting| waiting.remove(&self.id));
        if call.is_some_and(|call| call.begun) {
            lock(&self.connection.cancelled).push(self.id);
            self.connection.cancel.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use docker_registry_driver_api::CallContext;

    use super::{super::channel::pair, *};

    #[tokio::test]
    async fn appends_take_no_places_of_other_calls() {
        let (ours, theirs) = pair().unwrap();
        let (connection, run) = Connection::new(ours, "x").unwrap();
        tokio::spawn(run);
        let call = |request| {
            let connection = Arc::clone(&connection);
            let context = WireContext::from(&CallContext::default());
            drop(tokio::spawn(async move { connection.call(context, request, Bytes::new(), None).await }));
        };
        for _ in 0..=MAX_CALLS {
            call(Request::Append { expected_offset: 0 });
        }
        for _ in 0..=MAX_CALLS {
            call(Request::Abort);
        }
        call(Request::Health);
        let channel = Channel::new(theirs).unwrap();
        let (mut appends, mut others, mut asked) = (0, 0, false);
        while appends <= MAX_CALLS || others < MAX_CALLS || !asked {
            let frame: Incoming<ToChild> = channel.receive().await.unwrap().unwrap();
            match frame.header {
                ToChild::Call { request: Request::Append { .. }, .. } => appends += 1,
                ToChild::Call { request: Request::Health, .. } => asked = true,
                _ => others += 1,
            }
        }
        assert_eq!(others, MAX_CALLS, "one waits for a place");
    }
}

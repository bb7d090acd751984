//! The socket of one connection, encrypted or not, with what an HTTP library cannot do from above.
//!
//! Guarantees:
//! - a client that sends no request for too long, sends its header too slowly or takes no bytes of a
//!   response is cut off, whatever the protocol above waits for;
//! - slices that are [`Windows`] leave by `sendfile(2)`, at most one window per call and with a pause
//!   for other connections after each; everything else is written as usual;
//! - a request that was answered before its body was read gets its answer: the socket is not reset
//!   under it, but read on for a bounded time after the response.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes};
use rustix::net::SendFlags;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep},
};

use super::{
    listener::Channel,
    sendfile::{FilePart, Windows},
};

/// How long a client may take for what.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// From the first byte of a request (on a new connection: from its start) to the end of its header. On
    /// HTTP/2 only for the first request of a connection.
    pub header: Duration,
    /// Between two requests on one connection, counted from when the response to the first was sent.
    pub idle: Duration,
    /// Between two pieces of a request body.
    pub body: Duration,
    /// Until the client has made room for more bytes of a response. The kernel says so only when about a
    /// third of what it holds for the client is free, which takes a slow client many reads.
    pub write: Duration,
    /// How long a request body that nobody wanted is read and dropped, so that the client sees the
    /// response to it.
    pub linger: Duration,
}

/// What the requests of a connection tell its socket.
#[derive(Debug)]
pub(crate) struct Activity {
    /// Requests between the end of their header and the end of their response.
    active: AtomicUsize,
    /// Requests so far.
    begun: AtomicU64,
    connected: Instant,
    /// When the last request ended, in nanoseconds after `connected`.
    last_end: AtomicU64,
    /// A request body was given up before its end.
    abandoned_body: AtomicBool,
}

impl Activity {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            active: AtomicUsize::new(0),
            begun: AtomicU64::new(0),
            connected: Instant::now(),
            last_end: AtomicU64::new(0),
            abandoned_body: AtomicBool::new(false),
        })
    }

    /// Counts a request as active until the guard is dropped.
    pub(crate) fn begin(self: &Arc<Self>) -> ActiveRequest {
        self.active.fetch_add(1, Relaxed);
        self.begun.fetch_add(1, Relaxed);
        self.abandoned_body.store(false, Relaxed);
        ActiveRequest(Arc::clone(self))
    }

    /// Notes that the rest of a request body will not be read.
    pub(crate) fn abandon_body(&self) {
        self.abandoned_body.store(true, Relaxed);
    }

    /// Whether the client may still be sending a body that nobody reads.
    pub(crate) fn body_was_abandoned(&self) -> bool {
        self.abandoned_body.load(Relaxed)
    }

    fn end(&self) {
        let since = self.connected.elapsed().as_nanos();
        self.last_end.store(u64::try_from(since).unwrap_or(u64::MAX), Relaxed);
        self.active.fetch_sub(1, Relaxed);
    }

    fn idle_since(&self) -> Instant {
        self.connected + Duration::from_nanos(self.last_end.load(Relaxed))
    }
}

/// See [`Activity::begin`].
#[derive(Debug)]
pub(crate) struct ActiveRequest(Arc<Activity>);

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// See the module.
pub(crate) struct Socket {
    stream: Channel,
    /// Bytes that were read to find out the protocol.
    replay: Bytes,
    windows: Option<Arc<Windows>>,
    activity: Arc<Activity>,
    timeouts: Timeouts,
    /// Requests follow each other (HTTP/1), so that bytes between two of them begin the next header. On
    /// HTTP/2 they may be a ping as well.
    in_sequence: bool,
    /// Number of requests when the reading side was last looked at between two of them.
    begun: u64,
    /// When the first byte of the next request header came.
    header_since: Option<Instant>,
    read_alarm: Alarm,
    /// Since when the client takes no bytes.
    write_stalled: Option<Instant>,
    write_alarm: Alarm,
    /// When bytes of a response were last sent. A request ends for its handler when its response is queued above, which
    /// may be long before.
    last_write: Option<Instant>,
    /// A full window has just been sent: others come first.
    pause: bool,
    /// The response is over and its end was sent: until when the rest of the request is dropped.
    linger_until: Option<Instant>,
}

impl Socket {
    /// `replay` is handed out before anything is read. `windows` are for a channel that is not encrypted.
    pub(crate) fn new(
        stream: Channel,
        replay: Bytes,
        windows: Option<Arc<Windows>>,
        activity: Arc<Activity>,
        timeouts: Timeouts,
        in_sequence: bool,
    ) -> Self {
        Self {
            stream,
            replay,
            windows,
            header_since: Some(activity.connected),
            activity,
            timeouts,
            in_sequence,
            begun: 0,
            read_alarm: Alarm::default(),
            write_stalled: None,
            write_alarm: Alarm::default(),
            last_write: None,
            pause: false,
            linger_until: None,
        }
    }

    /// Ends with an error when the client is too slow with its next request.
    fn poll_read_timeout(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        loop {
            if self.activity.active.load(Relaxed) > 0 || self.write_stalled.is_some() {
                // Reading bodies is timed where they are read, a response that is still on its way is timed
                // where it is written, and waiting for a handler is not the client's fault. But the library above may not ask again when the response has ended: look then.
                ready!(self.read_alarm.poll_some_time(self.timeouts.idle, cx));
                continue;
            }
            self.notice_finished_requests();
            let (deadline, what) = match self.header_since {
                Some(since) => (since + self.timeouts.header, "the request header took too long"),
                None => (self.idle_since() + self.timeouts.idle, "no request came for too long"),
            };
            ready!(self.read_alarm.poll_until(deadline, cx));
            return Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, what));
        }
    }

    /// When the last response was handed over and nothing more of it was sent.
    fn idle_since(&self) -> Instant {
        let ended = self.activity.idle_since();
        self.last_write.map_or(ended, |written| written.max(ended))
    }

    fn notice_finished_requests(&mut self) {
        let begun = self.activity.begun.load(Relaxed);
        if begun != self.begun {
            self.begun = begun;
            self.header_since = None;
        }
    }

    /// Ends a write with an error when the client has taken nothing for too long.
    fn timed_write<T>(&mut self, cx: &mut Context<'_>, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.write_stalled = None;
            return result;
        }
        let since = *self.write_stalled.get_or_insert_with(Instant::now);
        ready!(self.write_alarm.poll_until(since + self.timeouts.write, cx));
        let message = "the client took no bytes of the response for too long";
        tracing::debug!(error = message, "a connection is closed");
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, message)))
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let Some(windows) = &self.windows else {
            return Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        };
        match slices.iter().position(|slice| windows.holds(slice)) {
            None => Pin::new(&mut self.stream).poll_write_vectored(cx, slices),
            Some(0) => {
                let part = windows
                    .find(&slices[0])
                    .ok_or_else(|| io::Error::other("a window of a file was closed before it was sent"))?;
                self.poll_send_file(cx, &part, slices[0].len())
            }
            // The usual shape: a header, and a file behind it that fills up the header's packet.
            Some(1) => self.poll_send_more(cx, &slices[0]),
            Some(before) => Pin::new(&mut self.stream).poll_write_vectored(cx, &slices[..before]),
        }
    }

    fn poll_send_more(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let flags = SendFlags::MORE | SendFlags::NOSIGNAL;
        self.stream.poll_write_with(cx, |socket| Ok(rustix::net::send(socket, bytes, flags)?))
    }

    fn poll_send_file(
        &mut self,
        cx: &mut Context<'_>,
        part: &FilePart,
        length: usize,
    ) -> Poll<io::Result<usize>> {
        if std::mem::take(&mut self.pause) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let sent = ready!(self.stream.poll_write_with(cx, |socket| {
            let mut offset = part.offset;
            Ok(rustix::fs::sendfile(socket, &part.file, Some(&mut offset), length)?)
        }))?;
        if sent == 0 {
            let error = super::file_body::too_short(part.offset);
            tracing::error!(%error, "a response was broken off");
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::UnexpectedEof, error)));
        }
        self.pause = sent == length;
        if let Some(windows) = &self.windows {
            windows.count_sent(sent);
        }
        Poll::Ready(Ok(sent))
    }

    /// Reads and drops what the client still sends, until it stops or the time is over.
    fn poll_linger(&mut self, until: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let mut scratch = [0; 16 * 1024];
        for _ in 0..16 {
            if self.read_alarm.poll_until(until, cx).is_ready() {
                return Poll::Ready(());
            }
            let mut buffer = ReadBuf::new(&mut scratch);
            match ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => {}
                _ => return Poll::Ready(()),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        if self.replay.has_remaining() {
            let length = self.replay.len().min(buffer.remaining());
            buffer.put_slice(&self.replay.split_to(length));
        } else if Pin::new(&mut self.stream).poll_read(cx, buffer)?.is_pending() {
            let error = ready!(self.poll_read_timeout(cx));
            tracing::debug!(%error, "a connection is closed");
            return Poll::Ready(Err(error));
        }
        if buffer.filled().len() > before && self.activity.active.load(Relaxed) == 0 {
            self.notice_finished_requests();
            if self.in_sequence {
                self.header_since.get_or_insert_with(Instant::now);
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = self.poll_send(cx, slices);
        // On HTTP/2, bytes that go out at once after a response may be the answer to a ping.
        let is_response = self.in_sequence || self.write_stalled.is_some();
        if is_response && matches!(result, Poll::Ready(Ok(1..))) {
            self.last_write = Some(Instant::now());
        }
        self.timed_write(cx, result)
    }

    /// Always: the library above then queues body slices as they are instead of copying them.
    fn is_write_vectored(&self) -> bool {
        true
    }

    /// TLS holds bytes back that the client has no room for.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let was_stalled = self.write_stalled.is_some();
        let result = Pin::new(&mut self.stream).poll_flush(cx);
        if was_stalled && result.is_ready() {
            self.last_write = Some(Instant::now());
        }
        self.timed_write(cx, result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let until = match self.linger_until {
            Some(until) => until,
            None => {
                let ended = Pin::new(&mut self.stream).poll_shutdown(cx);
                ready!(self.timed_write(cx, ended))?;
                if !self.activity.body_was_abandoned() {
                    return Poll::Ready(Ok(()));
                }
                let until = Instant::now() + self.timeouts.linger;
                self.linger_until = Some(until);
                until
            }
        };
        ready!(self.poll_linger(until, cx));
        Poll::Ready(Ok(()))
    }
}

/// A timer for deadlines that usually move on before they come: it is set once and looks at the clock
/// when it rings, instead of being set anew each time.
#[derive(Default)]
pub(super) struct Alarm {
    sleep: Option<Pin<Box<Sleep>>>,
    set: bool,
}

impl Alarm {
    /// Ready when `deadline` has passed.
    pub(super) fn poll_until(&mut self, deadline: Instant, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
            if !self.set || sleep.deadline() > deadline {
                sleep.as_mut().reset(deadline);
                self.set = true;
            }
            ready!(sleep.as_mut().poll(cx));
            self.set = false;
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
        }
    }

    /// Ready at some time that is at most `within` from now: for looking again, not for measuring.
    fn poll_some_time(&mut self, within: Duration, cx: &mut Context<'_>) -> Poll<()> {
        let latest = Instant::now() + within;
        match &mut self.sleep {
            Some(sleep) if self.set && sleep.deadline() <= latest => {
                ready!(sleep.as_mut().poll(cx));
                self.set = false;
                Poll::Ready(())
            }
            _ => self.poll_until(latest, cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::AsyncWriteExt,
        net::{TcpListener, TcpStream},
    };

    use super::*;

    #[tokio::test]
    async fn a_connection_is_idle_since_its_last_byte_and_not_since_its_response_was_queued() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let activity = Activity::new();
        let long = Duration::from_secs(600);
        let timeouts = Timeouts { header: long, idle: long, body: long, write: long, linger: long };
        let channel = Channel::Plain(stream.into());
        let mut socket = Socket::new(channel, Bytes::new(), None, Arc::clone(&activity), timeouts, true);
        drop(activity.begin());
        let queued = activity.idle_since();
        assert_eq!(socket.idle_since(), queued);
        socket.write_all(b"response").await.unwrap();
        let sent = socket.idle_since();
        assert!(sent > queued);
        drop(activity.begin());
        assert!(socket.idle_since() > sent);
    }
}

//! One connection to a node: many transactions at once over one socket.
//!
//! A connection that breaks, falls silent or sends what makes no sense ends, and every transaction on it with it. It
//! is never made again: the cluster opens another one. A node that is silent while it owes an answer is asked
//! whether it is alive, which it can say without its disks.

use std::{
    collections::HashMap,
    fmt,
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::{Buf, Bytes, BytesMut};
use futures::FutureExt;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{mpsc, oneshot, watch},
    time::{Instant, timeout},
};

use crate::wire::{
    HEADER_SIZE, Header, Malformed, UPDATE_IDS, VERSION, greeting,
    topology::{Backend, Introduction, backends, route_list},
    version_of,
};

/// Largest body of a packet, wanted or not.
const LARGEST_BODY: u64 = 64 << 20;
/// Largest list of nodes or backends.
pub(crate) const LARGEST_LIST: u64 = 16 << 20;
/// Bytes of replies beside what was asked for: headers, attributes, acknowledgements.
const ANSWER_ROOM: u64 = 4096;
/// Packets that wait to be sent. More wait outside, where their callers hold them.
const WAITING_PACKETS: usize = 64;
/// After this silence a node that owes an answer is asked whether it is alive.
const SILENCE: Duration = Duration::from_secs(3);
/// After this silence it is taken for dead.
const DEATH: Duration = Duration::from_secs(10);
/// How often is looked for silence.
const LOOK: Duration = Duration::from_secs(1);
/// Bytes that are written or read at once.
const CHUNK: usize = 256 << 10;

/// One reply of a transaction.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) header: Header,
    pub(crate) body: Bytes,
}

/// Why a transaction has no replies.
#[derive(Debug, Clone)]
pub(crate) enum Failure {
    /// The request never left.
    NotSent(String),
    /// It left, and nobody knows what became of it.
    Lost(String),
}

impl Failure {
    /// Whether the node may have done what it was asked.
    pub(crate) fn may_have_happened(&self) -> bool {
        matches!(self, Self::Lost(_))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::NotSent(text) | Self::Lost(text)) = self;
        formatter.write_str(text)
    }
}

/// Why a node was not connected to.
#[derive(Debug, Clone)]
pub(crate) enum Refusal {
    /// Nobody is there, or nobody answers.
    Unreachable(String),
    /// Somebody is there who does not speak this protocol, or another version of it.
    Foreign(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Unreachable(text) | Self::Foreign(text)) = self;
        formatter.write_str(text)
    }
}

/// Hears of backends that come and go.
pub(crate) type Updates = mpsc::Sender<(SocketAddr, Vec<Backend>)>;

/// A packet, in pieces.
pub(crate) type Packet = Vec<Bytes>;

/// A connection that was greeted.
pub(crate) struct Connection {
    shared: Arc<Shared>,
    outgoing: mpsc::Sender<(u64, Packet)>,
}

struct Shared {
    /// `None` once the connection has ended.
    waiting: Mutex<Option<HashMap<u64, Waiting>>>,
    next: AtomicU64,
    /// Transactions that were answered.
    answered: AtomicU64,
    /// Since when nothing was heard, in milliseconds of `born`.
    quiet: AtomicU64,
    born: Instant,
    /// Why the connection has ended.
    ended: watch::Sender<Option<String>>,
}

struct Waiting {
    replies: Vec<Reply>,
    /// Bytes that may still come, headers included.
    room: u64,
    is_sent: bool,
    done: oneshot::Sender<Result<Vec<Reply>, Failure>>,
}

/// A transaction under way. What comes for it later is thrown away.
struct Open<'a>(&'a Shared, u64);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        if let Some(waiting) = self.0.lock().as_mut() {
            waiting.remove(&self.1);
        }
    }
}

impl Connection {
    /// Connects and greets. `take_in` is given what the node serves, before anything that it says of that later.
    pub(crate) async fn open(
        address: SocketAddr,
        limit: Duration,
        updates: Updates,
        take_in: &(dyn Fn(&[Backend]) + Sync),
    ) -> Result<(Self, Introduction, u32), Refusal> {
        let opening = async {
            let unreachable = |error: std::io::Error| Refusal::Unreachable(error.to_string());
            let mut stream = TcpStream::connect(address).await.map_err(unreachable)?;
            stream.set_nodelay(true).map_err(unreachable)?;
            let (introduction, shards) = greet(&mut stream).await?;
            Ok((stream, introduction, shards))
        };
        let (stream, introduction, shards) = timeout(limit, opening).await.unwrap_or_else(|_| {
            let seconds = limit.as_secs_f64();
            Err(Refusal::Unreachable(format!("nobody answered the greeting within {seconds:.1} seconds")))
        })?;
        take_in(&introduction.backends);
        let (outgoing, packets) = mpsc::channel(WAITING_PACKETS);
        let shared = Arc::new(Shared::new());
        let (read, write) = stream.into_split();
        tokio::spawn(Arc::clone(&shared).read_all(read, address, updates));
        tokio::spawn(Arc::clone(&shared).write_all(write, packets));
        tokio::spawn(Arc::clone(&shared).watch(outgoing.clone()));
        Ok((Self { shared, outgoing }, introduction, shards))
    }

    /// Waits until the connection has ended, and says why it did.
    pub(crate) async fn ended(&self) -> String {
        self.shared.until_end().await
    }

    /// How many requests were answered.
    pub(crate) fn answered(&self) -> u64 {
        self.shared.answered.load(Ordering::Relaxed)
    }

    /// Sends a request and waits for all of its replies, which have no more than so many bytes: a node that sends more is
    /// none. The number of the transaction is put into the header here.
    pub(crate) async fn request(
        &self,
        packet: Packet,
        limit: Duration,
        most: u64,
    ) -> Result<Vec<Reply>, Failure> {
        let transaction = self.shared.next.fetch_add(1, Ordering::Relaxed);
        let packet = numbered(packet, transaction);
        let (done, replies) = oneshot::channel();
        self.shared.wait_for(transaction, most, done)?;
        let _open = Open(&self.shared, transaction);
        let exchange = async {
            if self.outgoing.send((transaction, packet)).await.is_err() {
                return Err(Failure::NotSent("the connection has ended".to_owned()));
            }
            replies.await.unwrap_or_else(|_| Err(Failure::Lost("the connection has ended".to_owned())))
        };
        timeout(limit, exchange).await.unwrap_or_else(|_| {
            let text = format!("no answer within {:.1} seconds", limit.as_secs_f64());
            Err(if self.shared.withdraw(transaction) { Failure::Lost(text) } else { Failure::NotSent(text) })
        })
    }

    /// Ends the connection.
    pub(crate) fn close(&self, why: &str) {
        self.shared.end(why);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.close("the connection is not needed any more");
    }
}

async fn greet(stream: &mut TcpStream) -> Result<(Introduction, u32), Refusal> {
    let unreachable = |error: std::io::Error| Refusal::Unreachable(format!("during the greeting: {error}"));
    let foreign = |error: Malformed| Refusal::Foreign(error.to_string());
    stream.write_all(&greeting()).await.map_err(unreachable)?;
    let mut head = [0; HEADER_SIZE];
    stream.read_exact(&mut head).await.map_err(unreachable)?;
    let header = Header::parse(&head).map_err(foreign)?;
    if !header.is_reply() || header.size > LARGEST_LIST {
        return Err(foreign(Malformed("the answer to the greeting is none")));
    }
    let (version, shards) = version_of(&header);
    let numbers = |version: [u32; 4]| version.map(|number| number.to_string()).join(".");
    let spoken = format!("this driver speaks {}.{}", VERSION[0], VERSION[1]);
    if header.status != 0 {
        return Err(Refusal::Foreign(format!(
            "the node refuses the version of the protocol (status {}): {spoken}",
            header.status
        )));
    }
    if version[..2] != VERSION[..2] {
        return Err(Refusal::Foreign(format!("the node speaks version {}, and {spoken}", numbers(version))));
    }
    let mut body = vec![0; header.size as usize];
    stream.read_exact(&mut body).await.map_err(unreachable)?;
    Ok((Introduction::parse(&body).map_err(foreign)?, shards))
}

/// The packet with the number of its transaction.
fn numbered(mut packet: Packet, transaction: u64) -> Packet {
    const PLACE: std::ops::Range<usize> = 104..112;
    if let Some(head) = packet.first_mut()
        && head.len() >= HEADER_SIZE
    {
        let mut bytes = BytesMut::from(&head[..]);
        bytes[PLACE].copy_from_slice(&transaction.to_le_bytes());
        *head = bytes.freeze();
    }
    packet
}

impl Shared {
    fn new() -> Self {
        Self {
            waiting: Mutex::new(Some(HashMap::new())),
            next: AtomicU64::new(1),
            answered: AtomicU64::new(0),
            quiet: AtomicU64::new(0),
            born: Instant::now(),
            ended: watch::Sender::new(None),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<HashMap<u64, Waiting>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_for(
        &self,
        transaction: u64,
        most: u64,
        done: oneshot::Sender<Result<Vec<Reply>, Failure>>,
    ) -> Result<(), Failure> {
        let mut guard = self.lock();
        let Some(waiting) = guard.as_mut() else {
            return Err(Failure::NotSent("the connection has ended".to_owned()));
        };
        if waiting.is_empty() {
            // Nothing was owed until now.
            self.heard();
        }
        let room = most.saturating_add(ANSWER_ROOM);
        waiting.insert(transaction, Waiting { replies: Vec::new(), room, is_sent: false, done });
        Ok(())
    }

    /// Waits no longer for a transaction. Returns whether it was sent, for all that is known: what was not by now never is.
    fn withdraw(&self, transaction: u64) -> bool {
        let mut guard = self.lock();
        guard.as_mut().is_none_or(|waiting| waiting.remove(&transaction).is_none_or(|one| one.is_sent))
    }

    /// Notes that the node is alive.
    fn heard(&self) {
        self.quiet.store(self.born.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    fn silence(&self) -> Duration {
        self.born.elapsed().saturating_sub(Duration::from_millis(self.quiet.load(Ordering::Relaxed)))
    }

    fn end(&self, why: &str) {
        let Some(waiting) = self.lock().take() else { return };
        self.ended.send_replace(Some(why.to_owned()));
        for one in waiting.into_values() {
            let text = format!("the connection has ended: {why}");
            let failure = if one.is_sent { Failure::Lost(text) } else { Failure::NotSent(text) };
            // Nobody may wait any more.
            let _ = one.done.send(Err(failure));
        }
    }

    async fn until_end(&self) -> String {
        let mut ended = self.ended.subscribe();
        // The sender lives as long as this does.
        ended.wait_for(Option::is_some).await.map_or_else(|_| None, |why| why.clone()).unwrap_or_default()
    }

    async fn write_all(
        self: Arc<Self>,
        mut socket: OwnedWriteHalf,
        mut packets: mpsc::Receiver<(u64, Packet)>,
    ) {
        let sending = async {
            while let Some((transaction, packet)) = packets.recv().await {
                match self.lock().as_mut().and_then(|waiting| waiting.get_mut(&transaction)) {
                    Some(one) => one.is_sent = true,
                    // Its caller has gone.
                    None => continue,
                }
                for piece in packet {
                    for chunk in piece.chunks(CHUNK) {
                        let mut writing = pin!(socket.write_all(chunk));
                        // What the kernel takes at once says nothing of the node.
                        if let Some(written) = writing.as_mut().now_or_never() {
                            written?;
                        } else {
                            writing.await?;
                            self.heard();
                        }
                    }
                }
            }
            Ok::<(), std::io::Error>(())
        };
        tokio::select! {
            sent = sending => if let Err(error) = sent {
                self.end(&error.to_string());
            },
            _ = self.until_end() => {}
        }
    }

    async fn read_all(self: Arc<Self>, socket: OwnedReadHalf, address: SocketAddr, updates: Updates) {
        let why = tokio::select! {
            why = self.receive(socket, address, &updates) => why,
            _ = self.until_end() => return,
        };
        self.end(&why);
    }

    /// Takes packets until the connection ends, and says why it did.
    async fn receive(&self, mut socket: OwnedReadHalf, address: SocketAddr, updates: &Updates) -> String {
        let mut bytes = BytesMut::with_capacity(CHUNK);
        loop {
            let header = match self.fill(&mut socket, &mut bytes, HEADER_SIZE).await {
                Ok(()) => Header::parse(&bytes.split_to(HEADER_SIZE)),
                Err(error) => return error.to_string(),
            };
            let header = match header {
                Ok(header) if header.size <= LARGEST_BODY => header,
                Ok(_) => return Malformed("a packet is too large").to_string(),
                Err(error) => return error.to_string(),
            };
            let room = match header {
                _ if header.is_reply() => self.room(header.transaction),
                _ if header.command == UPDATE_IDS => Some(LARGEST_LIST),
                // Whatever else a node asks of a client is left unanswered, as the original client does.
                _ => None,
            };
            let Some(room) = room else {
                // Nobody waits for it any more.
                if let Err(error) = self.skip(&mut socket, &mut bytes, header.size).await {
                    return error.to_string();
                }
                continue;
            };
            if header.size.saturating_add(HEADER_SIZE as u64) > room {
                return Malformed("an answer is more than what was asked for").to_string();
            }
            let size = header.size as usize;
            if let Err(error) = self.fill(&mut socket, &mut bytes, size).await {
                return error.to_string();
            }
            let body = bytes.split_to(size);
            // A small one would keep a large buffer from being used again.
            let body = if size < CHUNK / 4 { Bytes::copy_from_slice(&body) } else { body.freeze() };
            if header.is_reply() {
                self.take(Reply { header, body });
                continue;
            }
            match backends(&body) {
                // Nobody listens when the driver is being closed.
                Ok(backends) => drop(updates.send((address, backends)).await),
                Err(error) => return error.to_string(),
            }
        }
    }

    /// Bytes that may still come for a transaction; `None` when nobody waits for it.
    fn room(&self, transaction: u64) -> Option<u64> {
        self.lock().as_ref()?.get(&transaction).map(|one| one.room)
    }

    /// Throws away so many bytes.
    async fn skip(
        &self,
        socket: &mut OwnedReadHalf,
        bytes: &mut BytesMut,
        mut size: u64,
    ) -> std::io::Result<()> {
        while size > 0 {
            let step = size.min(CHUNK as u64 / 4) as usize;
            self.fill(socket, bytes, step.min(bytes.len().max(1))).await?;
            let step = step.min(bytes.len());
            bytes.advance(step);
            size -= step as u64;
        }
        Ok(())
    }

    /// Reads until `size` bytes are there.
    async fn fill(
        &self,
        socket: &mut OwnedReadHalf,
        bytes: &mut BytesMut,
        size: usize,
    ) -> std::io::Result<()> {
        while bytes.len() < size {
            bytes.reserve((size - bytes.len()).max(CHUNK / 4));
            if socket.read_buf(bytes).await? == 0 {
                return Err(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "the node hung up"));
            }
            self.heard();
        }
        Ok(())
    }

    fn take(&self, reply: Reply) {
        let mut guard = self.lock();
        let Some(waiting) = guard.as_mut() else { return };
        let transaction = reply.header.transaction;
        let Some(one) = waiting.get_mut(&transaction) else { return };
        let has_more = reply.header.has_more();
        one.room = one.room.saturating_sub(reply.header.size.saturating_add(HEADER_SIZE as u64));
        one.replies.push(reply);
        if !has_more && let Some(one) = waiting.remove(&transaction) {
            drop(guard);
            self.answered.fetch_add(1, Ordering::Relaxed);
            let _ = one.done.send(Ok(one.replies));
        }
    }

    /// Ends the connection when the node owes an answer and says nothing.
    async fn watch(self: Arc<Self>, outgoing: mpsc::Sender<(u64, Packet)>) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                _ = self.until_end() => return,
            }
            let owes = self.lock().as_ref().is_some_and(|waiting| !waiting.is_empty());
            let silence = self.silence();
            if !owes || silence < SILENCE {
                continue;
            }
            if silence >= DEATH {
                let seconds = silence.as_secs_f64();
                self.end(&format!("the node has been silent for {seconds:.1} seconds"));
                return;
            }
            self.probe(&outgoing);
        }
    }

    /// Asks a question that every node can answer, and waits for no answer.
    fn probe(&self, outgoing: &mpsc::Sender<(u64, Packet)>) {
        let transaction = self.next.fetch_add(1, Ordering::Relaxed);
        let (done, _) = oneshot::channel();
        if let Some(waiting) = self.lock().as_mut() {
            waiting.insert(
                transaction,
                Waiting { replies: Vec::new(), room: LARGEST_LIST, is_sent: false, done },
            );
        }
        let packet = numbered(vec![route_list().freeze()], transaction);
        // A full queue is no reason to wait. What is not asked is not owed.
        if outgoing.try_send((transaction, packet)).is_err() {
            self.withdraw(transaction);
        }
    }
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;

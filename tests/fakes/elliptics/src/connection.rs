//! Connections of clients: frames in, frames out.
//!
//! Rules from `library/pool.c` and `library/net.c` of 2.26.11.1: commands of one connection are done side by side and
//! answered when they are done; those for one id wait for each other, in the order in which they came, unless
//! `NOLOCK` is set. A reply to nothing is passed over. A body that is too large for the memory closes the connection.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::net::Shutdown;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::oneshot::{self, error::TryRecvError};
use tokio::sync::{Mutex, Semaphore, watch};

use crate::call::{Answer, Body, Call};
use crate::cluster::Cluster;
use crate::content::{Content, Spool};
use crate::fault::Effect;
use crate::id::Id;
use crate::wire::{Header, IoAttribute, command, flag};

/// Up to here the content of a write is kept in memory.
const IN_MEMORY: u64 = 256 << 10;
/// No other body is longer.
const LONGEST: u64 = 64 << 20;
/// No write is longer.
const LONGEST_WRITE: u64 = 64 << 30;
/// So many commands of one connection are done at a time.
const AT_A_TIME: usize = 64;

/// The end of a connection that is written to.
pub(crate) struct Connection {
    writer: Mutex<OwnedWriteHalf>,
    /// It was told the node's ids, so it is told of their changes.
    pub(crate) ids_sent: AtomicBool,
}

impl fmt::Debug for Connection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a connection")
    }
}

impl Connection {
    /// Sends bytes and then what there is of a file, whole.
    ///
    /// # Errors
    /// When the client is gone.
    async fn send(&self, answer: &Answer) -> std::io::Result<()> {
        let mut writer = self.writer.lock().await;
        writer.write_all(&answer.bytes).await?;
        let Some(piece) = &answer.content else { return Ok(()) };
        let mut position = 0;
        while position < piece.size {
            let bytes = tokio::task::block_in_place(|| piece.next(position))?;
            position += bytes.len() as u64;
            writer.write_all(&bytes).await?;
        }
        Ok(())
    }

    /// Sends a frame.
    pub(crate) async fn send_frame(&self, bytes: Vec<u8>) {
        // Who is gone needs none.
        let _ = self.send(&Answer { bytes, content: None }).await;
    }

    /// Sends the first half of an answer and closes.
    async fn cut(&self, answer: &Answer) {
        let mut writer = self.writer.lock().await;
        // Of content in a file the head and the first bytes are sent.
        let begin = match &answer.content {
            Some(piece) => {
                piece.next(0).map(|bytes| [&answer.bytes[..], &bytes].concat()).unwrap_or_default()
            }
            None => answer.bytes[..answer.bytes.len() / 2].to_vec(),
        };
        let _ = writer.write_all(&begin).await;
        close(&writer);
    }
}

/// Closes both ways of a connection, whoever still has an end of it.
fn close(writer: &OwnedWriteHalf) {
    let stream: &TcpStream = writer.as_ref();
    // It may be closed already.
    let _ = rustix::net::shutdown(stream, Shutdown::Both);
}

/// Serves a connection until the client goes, the node is stopped, or a fault ends it.
pub(crate) async fn serve(
    cluster: Arc<Cluster>,
    place: usize,
    folder: Arc<PathBuf>,
    stream: TcpStream,
    mut stopped: watch::Receiver<bool>,
) {
    let _ = stream.set_nodelay(true);
    let (reader, writer) = stream.into_split();
    let connection = Arc::new(Connection { writer: Mutex::new(writer), ids_sent: AtomicBool::new(false) });
    {
        let mut connections = cluster.nodes[place].connections.lock().expect("no holder panics");
        connections.retain(|one| one.strong_count() > 0);
        connections.push(Arc::downgrade(&connection));
    }
    let mut reading =
        Reading { cluster, place, folder, connection: Arc::clone(&connection), reader, last: HashMap::new() };
    tokio::select! {
        () = reading.run() => {}
        _ = stopped.wait_for(|stopped| *stopped) => {}
    }
    // A writer that waits for the client is ended by this, because the way is closed under it.
    let stream: &TcpStream = reading.reader.as_ref();
    let _ = rustix::net::shutdown(stream, Shutdown::Both);
}

struct Reading {
    cluster: Arc<Cluster>,
    place: usize,
    folder: Arc<PathBuf>,
    connection: Arc<Connection>,
    reader: OwnedReadHalf,
    /// For each id the end of the last command that came for it.
    last: HashMap<Id, oneshot::Receiver<()>>,
}

impl Reading {
    async fn run(&mut self) {
        let turns = Arc::new(Semaphore::new(AT_A_TIME));
        loop {
            let mut head = [0; Header::SIZE];
            if let Err(error) = self.reader.read_exact(&mut head).await {
                self.cluster.journal.line(&format!("{} a connection ends: {error}", self.number()));
                return;
            }
            let header = Header::read(&head);
            let Some(body) = self.body(&header).await else { return };
            self.cluster.journal.frame(self.number(), &head, &body.bytes);
            self.look_at(&header);
            if header.has(flag::REPLY) {
                self.problem("a reply to no transaction");
                continue;
            }
            if header.command == command::UPDATE_IDS {
                self.problem("UPDATE_IDS is for servers");
                continue;
            }
            let Ok(turn) = Arc::clone(&turns).acquire_owned().await else { return };
            let (done, end) = oneshot::channel();
            let before = if header.has(flag::NOLOCK) {
                None
            } else {
                if self.last.len() > 1024 {
                    // Whose command is done, is closed.
                    self.last.retain(|_, end| matches!(end.try_recv(), Err(TryRecvError::Empty)));
                }
                self.last.insert(header.id, end)
            };
            let (cluster, place) = (Arc::clone(&self.cluster), self.place);
            let connection = Arc::clone(&self.connection);
            tokio::spawn(async move {
                if let Some(before) = before {
                    // It is gone as well when that command is.
                    let _ = before.await;
                }
                process(cluster, place, connection, header, body).await;
                drop((turn, done));
            });
        }
    }

    fn number(&self) -> usize {
        self.cluster.nodes[self.place].number
    }

    fn problem(&self, what: &str) {
        self.cluster.journal.problem(self.number(), what);
    }

    fn look_at(&self, header: &Header) {
        let name = command::name(header.command);
        if header.flags & u64::from(u32::MAX) & !flag::KNOWN != 0 {
            self.problem(&format!("{name} has unknown flags {:#x}", header.flags));
        }
        if header.reserved != 0 {
            self.problem(&format!("{name} has something in the reserved place of its id"));
        }
        if header.status != 0 {
            self.problem(&format!("{name} has a status"));
        }
    }

    /// The body that follows. `None` ends the connection.
    async fn body(&mut self, header: &Header) -> Option<Body> {
        let is_write = header.command == command::WRITE && !header.has(flag::REPLY);
        if header.size > if is_write { LONGEST_WRITE } else { LONGEST } {
            self.problem(&format!("{} has a body of {} bytes", command::name(header.command), header.size));
            return None;
        }
        let attribute = IoAttribute::SIZE as u64;
        if !is_write || header.size <= attribute + IN_MEMORY {
            let mut bytes = vec![0; header.size as usize];
            self.read(&mut bytes).await?;
            return Some(Body::of(bytes));
        }
        let mut bytes = vec![0; IoAttribute::SIZE];
        self.read(&mut bytes).await?;
        let content = match self.spool(header.size - attribute).await {
            Ok(spool) => spool,
            Err(error) => {
                self.cluster.journal.line(&format!("{} a connection ends: {error}", self.number()));
                return None;
            }
        };
        Some(Body { bytes, beyond: Some(Content::Spooled(content)) })
    }

    async fn read(&mut self, bytes: &mut [u8]) -> Option<()> {
        let read = self.reader.read_exact(bytes).await;
        if let Err(error) = &read {
            self.cluster.journal.line(&format!("{} a connection ends in a frame: {error}", self.number()));
        }
        read.ok().map(|_| ())
    }

    async fn spool(&mut self, length: u64) -> std::io::Result<Spool> {
        let spool = Spool { path: fresh(&self.folder), length };
        let mut file = File::create_new(&spool.path).await?;
        let copied = tokio::io::copy(&mut (&mut self.reader).take(length), &mut file).await?;
        file.flush().await?;
        if copied == length { Ok(spool) } else { Err(std::io::ErrorKind::UnexpectedEof.into()) }
    }
}

/// A name for a new file.
fn fresh(folder: &Path) -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    folder.join(format!("received-{}", NEXT.fetch_add(1, Ordering::Relaxed)))
}

/// Does a command and answers it, with the trouble that a test has asked for.
async fn process(
    cluster: Arc<Cluster>,
    place: usize,
    connection: Arc<Connection>,
    header: Header,
    body: Body,
) {
    let mut call = Call::new(Arc::clone(&cluster), place, header);
    let (delay, effect) = cluster.faults.strike(call.node().number, call.header.group, call.header.command);
    if !delay.is_zero() {
        let stops = call.node().stops.load(Ordering::SeqCst);
        tokio::time::sleep(delay).await;
        if call.node().stops.load(Ordering::SeqCst) != stops {
            return;
        }
    }
    if effect != Effect::None {
        cluster.journal.line(&format!("{} {:?} for {}", call.node().number, effect, call.header.command));
    }
    match effect {
        Effect::Refused(status) => {
            cluster.journal.done(call.node().number, &call.header, status);
            call.refuse(status);
        }
        Effect::Closed => call.reset = true,
        Effect::Silent => return,
        _ => tokio::task::block_in_place(|| call.run(body)),
    }
    match effect {
        Effect::DoneAndRefused(status) => call.refuse(status),
        Effect::DoneAndSilent => return,
        Effect::WrongChecksum => call.answers.iter_mut().for_each(spoil_checksum),
        Effect::Cut => {
            if let Some(answer) = call.answers.first() {
                connection.cut(answer).await;
            }
            return;
        }
        _ => {}
    }
    if call.reset {
        close(&*connection.writer.lock().await);
        return;
    }
    if call.ids_sent {
        connection.ids_sent.store(true, Ordering::SeqCst);
    }
    for answer in &call.answers {
        if connection.send(answer).await.is_err() {
            return;
        }
    }
}

/// Inverts the checksum in an answer that has one.
fn spoil_checksum(answer: &mut Answer) {
    let begin = match answer.header().command {
        command::READ => Header::SIZE,
        // Behind the address and the length of the path.
        command::LOOKUP | command::WRITE => Header::SIZE + 32 + 4,
        _ => return,
    };
    if let Some(checksum) = answer.bytes.get_mut(begin..begin + Id::SIZE) {
        checksum.iter_mut().for_each(|byte| *byte = !*byte);
    }
}

//! A fake node of Elliptics in this process: as much of one as the driver's tests need.
//!
//! It is written from the description of the packets, and shares no code with the driver.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicUsize, Ordering},
    },
    time::Duration,
};

use sha2::{Digest, Sha512};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{mpsc, watch},
    time::sleep,
};

pub(crate) type Id = [u8; 64];

const NEED_ACK: u64 = 1;
const REPLY: u64 = 1 << 9;
const CHECKSUM: u64 = 1 << 5;
const COMPARE_AND_SWAP: u32 = 1 << 13;

/// An object on a node.
#[derive(Clone, Default)]
pub(crate) struct Stored {
    pub(crate) data: Vec<u8>,
    pub(crate) seconds: u64,
    pub(crate) nanoseconds: u64,
    pub(crate) user_flags: u64,
}

/// What outlives a stop of the node.
#[derive(Default)]
pub(crate) struct Disk {
    pub(crate) objects: HashMap<Id, Stored>,
    /// Shards of secondary indexes: objects with their data.
    pub(crate) shards: HashMap<Id, BTreeMap<Id, Vec<u8>>>,
}

/// What happens to one of the writes of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// It is done and not answered: the connection breaks.
    LosesAnswer,
    /// It waits until the trouble is over, and is done then.
    Waits,
    /// The connection breaks at once, and the write is done when the trouble is over.
    ComesLate,
    /// It is not done, and refused with a status that does not say so.
    Fails,
    /// These bytes come to be there first.
    Overtaken(Vec<u8>),
}

/// The trouble to come: of which object, at which of its writes from now on.
pub(crate) type Coming = Arc<Mutex<Option<(Id, u32, Trouble)>>>;

/// What happens on all connections of a node, and what was seen there.
#[derive(Clone, Default)]
pub(crate) struct Behaviour {
    pub(crate) hangs: Arc<AtomicBool>,
    /// So many of a hundred writes and deletions are done and not answered: the connection breaks.
    pub(crate) lost_answers: Arc<AtomicU32>,
    /// A shorter write leaves the end of what was there.
    pub(crate) keeps_tails: Arc<AtomicBool>,
    /// Every answer takes a moment.
    pub(crate) is_slow: Arc<AtomicBool>,
    /// Every answer has so many bytes more than it should.
    pub(crate) padding: Arc<AtomicUsize>,
    pub(crate) trouble: Coming,
    /// Whether a write waits until the trouble is over.
    pub(crate) is_waiting: Arc<AtomicBool>,
    /// Most requests of one connection that waited at once.
    pub(crate) most_waiting: Arc<AtomicUsize>,
    /// It hangs up once it has said which nodes there are.
    pub(crate) hangs_up: Arc<AtomicBool>,
    /// It names no backend when it is greeted.
    pub(crate) names_none: Arc<AtomicBool>,
    /// It answers greetings and the question which nodes there are, and nothing else.
    pub(crate) only_greets: Arc<AtomicBool>,
    /// The status of every answer but to greetings and to the question which nodes there are; 0 for what it should be.
    pub(crate) refuses: Arc<AtomicI32>,
    /// How often it was greeted.
    pub(crate) greetings: Arc<AtomicUsize>,
    /// Each so many requests it hangs up instead of an answer; 0 for never.
    pub(crate) breaks_every: Arc<AtomicUsize>,
    /// Requests so far, greetings not counted.
    pub(crate) requests: Arc<AtomicUsize>,
}

/// A node that can be stopped, hung and started again.
pub(crate) struct FakeNode {
    pub(crate) group: u32,
    pub(crate) address: SocketAddr,
    pub(crate) disk: Arc<Mutex<Disk>>,
    pub(crate) behaviour: Behaviour,
    pub(crate) has_indexes: bool,
    ids: Vec<Id>,
    others: Arc<Mutex<Vec<SocketAddr>>>,
    stop: Mutex<Option<watch::Sender<bool>>>,
}

impl FakeNode {
    /// Listens on a free port.
    pub(crate) async fn start(group: u32, has_indexes: bool, others: Arc<Mutex<Vec<SocketAddr>>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let ids = (0..4).map(|_| random_id()).collect();
        others.lock().unwrap().push(address);
        let node = Self {
            group,
            address,
            disk: Arc::default(),
            behaviour: Behaviour::default(),
            has_indexes,
            ids,
            others,
            stop: Mutex::new(None),
        };
        node.serve(listener);
        node
    }

    /// Hangs up on everybody, and listens no more.
    pub(crate) fn stop(&self) {
        if let Some(stop) = self.stop.lock().unwrap().take() {
            stop.send_replace(true);
        }
    }

    /// Listens again at the same place, with what it had.
    pub(crate) async fn start_again(&self) {
        let listener = loop {
            let socket = TcpSocket::new_v4().unwrap();
            socket.set_reuseaddr(true).unwrap();
            match socket.bind(self.address).and_then(|()| socket.listen(128)) {
                Ok(listener) => break listener,
                Err(_) => sleep(Duration::from_millis(20)).await,
            }
        };
        self.serve(listener);
    }

    fn serve(&self, listener: TcpListener) {
        let (stop, stopped) = watch::channel(false);
        *self.stop.lock().unwrap() = Some(stop);
        let talk = Arc::new(Talk {
            disk: Arc::clone(&self.disk),
            behaviour: self.behaviour.clone(),
            has_indexes: self.has_indexes,
            introduction: self.introduction(),
            others: Arc::clone(&self.others),
        });
        tokio::spawn(async move {
            let mut until = stopped.clone();
            loop {
                let stream = tokio::select! {
                    accepted = listener.accept() => accepted.unwrap().0,
                    _ = until.wait_for(|stopped| *stopped) => return,
                };
                let (talk, mut until) = (Arc::clone(&talk), stopped.clone());
                tokio::spawn(async move {
                    tokio::select! {
                        _ = talk.speak(stream) => {}
                        _ = until.wait_for(|stopped| *stopped) => {}
                    }
                });
            }
        });
    }

    /// The answer to a greeting, without its header.
    fn introduction(&self) -> Vec<u8> {
        let mut body = Vec::new();
        body.extend([1_u32, 1].map(u32::to_le_bytes).concat());
        body.extend(address_bytes(self.address));
        body.extend([1, 7, self.group, 0, self.ids.len() as u32].map(u32::to_le_bytes).concat());
        self.ids.iter().for_each(|id| body.extend(id));
        body
    }
}

fn address_bytes(address: SocketAddr) -> [u8; 32] {
    let SocketAddr::V4(address) = address else { panic!("the tests use IPv4") };
    let mut bytes = [0; 32];
    bytes[..2].copy_from_slice(&2_u16.to_le_bytes());
    bytes[2..4].copy_from_slice(&address.port().to_be_bytes());
    bytes[4..8].copy_from_slice(&address.ip().octets());
    bytes[28..30].copy_from_slice(&16_u16.to_le_bytes());
    bytes[30..32].copy_from_slice(&2_u16.to_le_bytes());
    bytes
}

struct Talk {
    disk: Arc<Mutex<Disk>>,
    behaviour: Behaviour,
    has_indexes: bool,
    introduction: Vec<u8>,
    others: Arc<Mutex<Vec<SocketAddr>>>,
}

/// A request: its header as it came, and what stands in it.
struct Request {
    header: [u8; 120],
    command: i32,
    flags: u64,
    body: Vec<u8>,
}

fn number(bytes: &[u8], place: usize) -> u64 {
    u64::from_le_bytes(bytes[place..place + 8].try_into().unwrap())
}

fn id_at(bytes: &[u8], place: usize) -> Id {
    bytes[place..place + 64].try_into().unwrap()
}

impl Talk {
    async fn speak(&self, stream: TcpStream) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        let (mut read, mut write) = stream.into_split();
        let (requests, mut waiting) = mpsc::unbounded_channel();
        let listen = async {
            loop {
                let mut header = [0; 120];
                read.read_exact(&mut header).await?;
                let mut body = vec![0; number(&header, 112) as usize];
                read.read_exact(&mut body).await?;
                let command = i32::from_le_bytes(header[80..84].try_into().unwrap());
                let request = Request { header, command, flags: number(&header, 96), body };
                // Whoever answers has gone, and so has the connection.
                let _ = requests.send(request);
            }
        };
        let answer = async {
            while let Some(request) = waiting.recv().await {
                if self.behaviour.is_slow.load(Ordering::Relaxed) {
                    sleep(Duration::from_millis(5)).await;
                }
                self.behaviour.most_waiting.fetch_max(waiting.len() + 1, Ordering::Relaxed);
                match self.reply(&request).await {
                    Some(reply) => write.write_all(&reply).await?,
                    None => return Ok(()),
                }
                if request.command == 8 && self.behaviour.hangs_up.load(Ordering::Relaxed) {
                    return Ok(());
                }
            }
            Ok(())
        };
        tokio::select! {
            ended = listen => ended,
            ended = answer => ended,
        }
    }

    /// Does what is asked, and packs the reply; `None` when the connection breaks.
    async fn reply(&self, request: &Request) -> Option<Vec<u8>> {
        let behaviour = &self.behaviour;
        let is_of_nodes = matches!(request.command, 2 | 8);
        let is_mute = || !is_of_nodes && behaviour.only_greets.load(Ordering::Relaxed);
        while behaviour.hangs.load(Ordering::Relaxed) || is_mute() {
            sleep(Duration::from_millis(50)).await;
        }
        if request.command == 2 {
            behaviour.greetings.fetch_add(1, Ordering::Relaxed);
        } else {
            let requests = behaviour.requests.fetch_add(1, Ordering::Relaxed) + 1;
            let every = behaviour.breaks_every.load(Ordering::Relaxed);
            if every > 0 && requests.is_multiple_of(every) {
                return None;
            }
        }
        let trouble = self.trouble_of(request);
        match &trouble {
            Some(Trouble::ComesLate) => {
                self.come_late(request.body.clone());
                return None;
            }
            Some(Trouble::Overtaken(bytes)) => {
                let stored = Stored { data: bytes.clone(), ..Stored::default() };
                self.disk.lock().unwrap().objects.insert(id_at(&request.body, 64), stored);
            }
            _ => {}
        }
        if trouble == Some(Trouble::Waits) {
            behaviour.is_waiting.store(true, Ordering::Relaxed);
            while behaviour.trouble.lock().unwrap().is_some() {
                sleep(Duration::from_millis(10)).await;
            }
            behaviour.is_waiting.store(false, Ordering::Relaxed);
        }
        let answer = match behaviour.refuses.load(Ordering::Relaxed) {
            status if status != 0 && !is_of_nodes => Err(status),
            _ if trouble == Some(Trouble::Fails) => Err(-5),
            _ => self.answer(request),
        };
        let (status, mut answer) = match answer {
            Ok(answer) => (0, answer),
            Err(status) => (status, Vec::new()),
        };
        let is_lost = [4, 11].contains(&request.command)
            && fastrand::u32(..100) < behaviour.lost_answers.load(Ordering::Relaxed);
        if is_lost || trouble == Some(Trouble::LosesAnswer) {
            return None;
        }
        answer.resize(answer.len() + behaviour.padding.load(Ordering::Relaxed), 0);
        let mut reply = Vec::from(request.header);
        reply[76..80].copy_from_slice(&i32::to_le_bytes(status));
        let flags = request.flags & !NEED_ACK | REPLY;
        reply[96..104].copy_from_slice(&flags.to_le_bytes());
        reply[112..120].copy_from_slice(&(answer.len() as u64).to_le_bytes());
        reply.extend(answer);
        Some(reply)
    }

    /// Does a write when the trouble is over, whoever listens then.
    fn come_late(&self, body: Vec<u8>) {
        let (disk, behaviour) = (Arc::clone(&self.disk), self.behaviour.clone());
        tokio::spawn(async move {
            behaviour.is_waiting.store(true, Ordering::Relaxed);
            while behaviour.trouble.lock().unwrap().is_some() {
                sleep(Duration::from_millis(1)).await;
            }
            // That it is refused is as good.
            let _ = write(&mut disk.lock().unwrap(), &body, false);
            behaviour.is_waiting.store(false, Ordering::Relaxed);
        });
    }

    /// What happens to this request.
    fn trouble_of(&self, request: &Request) -> Option<Trouble> {
        let mut coming = self.behaviour.trouble.lock().unwrap();
        let (id, left, trouble) = coming.as_mut()?;
        if request.command != 4 || id_at(&request.body, 64) != *id || *left == 0 {
            return None;
        }
        *left -= 1;
        if *left > 0 {
            return None;
        }
        let trouble = trouble.clone();
        if !matches!(trouble, Trouble::Waits | Trouble::ComesLate) {
            *coming = None;
        }
        Some(trouble)
    }

    fn answer(&self, request: &Request) -> Result<Vec<u8>, i32> {
        let id = id_at(&request.header, 0);
        let mut disk = self.disk.lock().unwrap();
        match request.command {
            // Lookup.
            1 => {
                let object = disk.objects.get(&id).filter(|object| !object.data.is_empty()).ok_or(-2)?;
                Ok(file_info(object, request.flags & CHECKSUM != 0))
            }
            // Reverse lookup: the greeting.
            2 => {
                let version = u64::from(u32::from_le_bytes(request.header[4..8].try_into().unwrap()));
                let names_none = self.behaviour.names_none.load(Ordering::Relaxed);
                // An address, and behind it the backends.
                let end = if names_none { 40 } else { self.introduction.len() };
                let mut introduction = self.introduction[..end].to_vec();
                if names_none {
                    introduction.extend(0_u32.to_le_bytes());
                }
                if version == 26 { Ok(introduction) } else { Err(-71) }
            }
            4 => {
                let written =
                    write(&mut disk, &request.body, self.behaviour.keeps_tails.load(Ordering::Relaxed))?;
                Ok(file_info(&written, false))
            }
            5 => read(&disk, &request.body),
            8 => {
                let others = self.others.lock().unwrap();
                let mut body = Vec::from(1_u32.to_le_bytes());
                body.extend((others.len() as u32).to_le_bytes());
                others.iter().for_each(|other| body.extend(address_bytes(*other)));
                Ok(body)
            }
            11 => disk.objects.remove(&id).map(|_| Vec::new()).ok_or(-2),
            20 if self.has_indexes => {
                let object = id_at(&request.body, 0);
                disk.shards.values_mut().for_each(|shard| drop(shard.remove(&object)));
                Ok(Vec::new())
            }
            22 if self.has_indexes => find(&disk, &request.body),
            _ => Err(-95),
        }
    }
}

fn write(disk: &mut Disk, body: &[u8], keeps_tail: bool) -> Result<Stored, i32> {
    let (attribute, data) = body.split_at(208);
    let (parent, id) = (id_at(attribute, 0), id_at(attribute, 64));
    let flags = u32::from_le_bytes(attribute[188..192].try_into().unwrap());
    assert_eq!(number(attribute, 200), data.len() as u64, "the size of a write");
    if flags & COMPARE_AND_SWAP != 0
        && let Some(there) = disk.objects.get(&id)
        && Sha512::digest(&there.data)[..] != parent
    {
        return Err(-77);
    }
    let mut data = data.to_vec();
    if keeps_tail && let Some(there) = disk.objects.get(&id) {
        data.extend(there.data.get(data.len()..).unwrap_or_default());
    }
    let stored = Stored {
        data,
        seconds: number(attribute, 144),
        nanoseconds: number(attribute, 152),
        user_flags: number(attribute, 160),
    };
    disk.objects.insert(id, stored.clone());
    Ok(stored)
}

fn read(disk: &Disk, body: &[u8]) -> Result<Vec<u8>, i32> {
    let id = id_at(body, 64);
    let (offset, size) = (number(body, 192) as usize, number(body, 200) as usize);
    let object = disk.objects.get(&id).ok_or(-2)?;
    let total = object.data.len();
    if offset != 0 && offset >= total {
        return Err(-7);
    }
    let end = if size == 0 { total } else { total.min(offset + size) };
    let mut answer = body[..208].to_vec();
    answer[144..152].copy_from_slice(&object.seconds.to_le_bytes());
    answer[152..160].copy_from_slice(&object.nanoseconds.to_le_bytes());
    answer[160..168].copy_from_slice(&object.user_flags.to_le_bytes());
    answer[168..176].copy_from_slice(&(total as u64).to_le_bytes());
    answer[200..208].copy_from_slice(&((end - offset) as u64).to_le_bytes());
    answer.extend(&object.data[offset..end]);
    Ok(answer)
}

fn file_info(object: &Stored, with_checksum: bool) -> Vec<u8> {
    let mut info = vec![0; 32 + 112 + 1];
    info[30] = 2;
    info[32] = 1;
    if with_checksum {
        info[36..100].copy_from_slice(&Sha512::digest(&object.data));
    }
    info[112..120].copy_from_slice(&(object.data.len() as u64).to_le_bytes());
    info[128..136].copy_from_slice(&object.seconds.to_le_bytes());
    info[136..144].copy_from_slice(&object.nanoseconds.to_le_bytes());
    info
}

/// Objects that are in all of the shards that are named.
fn find(disk: &Disk, body: &[u8]) -> Result<Vec<u8>, i32> {
    let count = number(body, 128) as usize;
    let shards: Vec<Id> = (0..count).map(|place| id_at(body, 136 + place * 124)).collect();
    let tables: Vec<&BTreeMap<Id, Vec<u8>>> =
        shards.iter().map(|shard| disk.shards.get(shard)).collect::<Option<_>>().ok_or(-2)?;
    let found: Vec<&Id> =
        tables[0].keys().filter(|object| tables.iter().all(|table| table.contains_key(*object))).collect();
    let mut packed = vec![0xdc];
    packed.extend((found.len() as u16).to_be_bytes());
    for object in found {
        packed.extend([0x93, 1]);
        put_raw(&mut packed, object);
        packed.push(0x90 | tables.len() as u8);
        for (table, shard) in tables.iter().zip(&shards) {
            packed.push(0x92);
            put_raw(&mut packed, shard);
            put_raw(&mut packed, &table[object]);
        }
    }
    Ok(packed)
}

/// Bytes as an old msgpack packs them.
fn put_raw(packed: &mut Vec<u8>, bytes: &[u8]) {
    packed.push(0xda);
    packed.extend((bytes.len() as u16).to_be_bytes());
    packed.extend(bytes);
}

pub(crate) fn random_id() -> Id {
    std::array::from_fn(|_| fastrand::u8(..))
}

/// The id of a key.
pub(crate) fn id_of(namespace: &str, key: &str) -> Id {
    Sha512::digest([namespace.as_bytes(), b"\0", key.as_bytes()].concat()).into()
}

//! One command at one node, from its frame to the frames of its answer.
//!
//! Rules from `library/dnet.c` (`dnet_process_cmd_raw`, `dnet_send_ack`, `dnet_send_reply`, `dnet_send_read_data`) and
//! `library/net.c` (`dnet_process_recv`) of 2.26.11.1:
//!
//! - An answer has the flags of its request and `REPLY`. One that is followed by others has `MORE`.
//! - A reply to a request that wants an acknowledgement has `MORE`, and the acknowledgement is sent behind it. `READ`,
//!   `WRITE` and `LOOKUP` drop the wish, so that their reply is the last frame.
//! - An error at a backend is always acknowledged (before 2.26.8.0 only of those three commands). An error before a backend was found is acknowledged only to who
//!   wants acknowledgements; others hear nothing.
//! - A request without `DIRECT` for an id of another node is done there, and the answer is that node's.

use std::sync::Arc;

use crate::cluster::{Backend, Cluster, Node, since};
use crate::content::{Content, Piece};
use crate::errno::{EINVAL, ENOTSUP, EPERM, EPROTO};
use crate::wire::{Header, IoAttribute, command, flag};
use crate::{indexes, io, routes};

/// The body of a request: bytes in memory, and for a large `WRITE` the rest of it in a file.
#[derive(Debug)]
pub(crate) struct Body {
    pub(crate) bytes: Vec<u8>,
    pub(crate) beyond: Option<Content>,
}

impl Body {
    /// A body in memory.
    pub(crate) fn of(bytes: Vec<u8>) -> Self {
        Self { bytes, beyond: None }
    }

    /// The attribute at its beginning, and what is behind it. `None` when it is too short for one.
    pub(crate) fn attribute(self) -> Option<(IoAttribute, Content)> {
        let attribute = IoAttribute::read(&self.bytes)?;
        let content =
            self.beyond.unwrap_or_else(|| Content::Memory(self.bytes[IoAttribute::SIZE..].to_vec()));
        Some((attribute, content))
    }
}

/// One frame to send: bytes, and then some of a file.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) bytes: Vec<u8>,
    pub(crate) content: Option<Piece>,
}

impl Answer {
    /// The head of the frame.
    pub(crate) fn header(&self) -> Header {
        Header::read(self.bytes.first_chunk().expect("every frame has a head"))
    }
}

/// A command that is being done.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) cluster: Arc<Cluster>,
    /// Position of the node that was asked.
    at: usize,
    /// Position of the node that does it.
    pub(crate) place: usize,
    pub(crate) header: Header,
    pub(crate) answers: Vec<Answer>,
    /// The connection is closed, and nothing is sent.
    pub(crate) reset: bool,
    /// The answer told the client the node's ids, so that it hears of their changes.
    pub(crate) ids_sent: bool,
}

impl Call {
    /// A command that came in at the node at position `at`: done there or at the node that owns its id.
    pub(crate) fn new(cluster: Arc<Cluster>, at: usize, mut header: Header) -> Self {
        let owner = cluster.owner(header.group, &header.id).map(|(node, _)| node);
        let place = owner.filter(|_| !header.has(flag::DIRECT)).unwrap_or(at);
        if place != at {
            // The node that hands on puts in whom it would have taken itself.
            let named = usize::try_from(header.backend).ok().filter(|_| header.has(flag::DIRECT_BACKEND));
            let own = cluster.nodes[at].enabled().find(|(number, _)| Some(*number) == named);
            header.backend = own.map_or(-1, |(_, backend)| backend.number);
        }
        Self { cluster, at, place, header, answers: Vec::new(), reset: false, ids_sent: false }
    }

    /// The node that does it.
    pub(crate) fn node(&self) -> &Node {
        &self.cluster.nodes[self.place]
    }

    /// Position of the backend that does it: the one that the client names, else the one that owns the id.
    fn backend(&self) -> Option<usize> {
        if self.header.has(flag::DIRECT_BACKEND) {
            let number = usize::try_from(self.header.backend).ok();
            return self.node().enabled().map(|(number, _)| number).find(|one| Some(*one) == number);
        }
        if !needs_backend(self.header.command) {
            return None;
        }
        let owner = self.cluster.owner(self.header.group, &self.header.id);
        owner.filter(|(node, _)| *node == self.place).map(|(_, backend)| backend)
    }

    /// Does it. Answers are in `answers` then.
    pub(crate) fn run(&mut self, body: Body) {
        let backend = self.backend();
        self.header.backend = backend.map_or(-1, |backend| self.node().backends[backend].number);
        self.step(backend, body, false);
        if self.place != self.at {
            // The node that hands on takes such an answer for the end of its own request.
            self.answers.retain(|answer| !answer.header().has(flag::DESTROY));
        }
    }

    /// Answers as if a backend had failed with this status.
    pub(crate) fn refuse(&mut self, status: i32) {
        self.answers.clear();
        let backend = self.backend();
        self.header.backend = backend.map_or(-1, |backend| self.node().backends[backend].number);
        self.header.flags |= flag::NEED_ACK;
        self.acknowledge(status, false);
    }

    /// One command, which may be part of another: with its acknowledgement.
    pub(crate) fn step(&mut self, backend: Option<usize>, body: Body, recursive: bool) -> i32 {
        let short = body.bytes.len() < IoAttribute::SIZE;
        let mut status = self.without_backend(&body);
        if status == ENOTSUP
            && let Some(backend) = backend
        {
            status = self.with_backend(backend, body);
            let by_all = self.cluster.settings.has(since::CLEAN_REPLIES);
            let always = matches!(self.header.command, command::READ | command::WRITE | command::LOOKUP);
            if status != 0 && (by_all || always) {
                self.header.flags |= flag::NEED_ACK;
            }
        }
        if short && matches!(self.header.command, command::READ | command::WRITE | command::DEL) {
            status = EINVAL;
        }
        self.cluster.journal.done(self.node().number, &self.header, status);
        if !self.reset {
            self.acknowledge(status, recursive);
        }
        status
    }

    fn without_backend(&mut self, body: &Body) -> i32 {
        match self.header.command {
            command::AUTH => self.check_cookie(&body.bytes),
            command::REVERSE_LOOKUP => self.reverse_lookup(),
            command::ROUTE_LIST => self.route_list(),
            command::JOIN => {
                // The real one lets a server in. It closes the connection when the request is wrong.
                self.problem("JOIN is for servers");
                self.reset = true;
                EINVAL
            }
            command::STATUS
            | command::EXEC
            | command::MONITOR_STAT
            | command::BACKEND_CONTROL
            | command::BACKEND_STATUS => {
                self.problem(&format!("{} is not played", command::name(self.header.command)));
                ENOTSUP
            }
            _ => ENOTSUP,
        }
    }

    fn with_backend(&mut self, backend: usize, body: Body) -> i32 {
        match self.header.command {
            command::READ => io::read(self, backend, body),
            command::WRITE => io::write(self, backend, body),
            command::LOOKUP => io::lookup(self, backend),
            command::DEL => io::delete(self, backend, body),
            command::BULK_READ => io::bulk_read(self, backend, &body),
            command::INDEXES_UPDATE | command::INDEXES_INTERNAL | command::INDEXES_FIND
                if self.cluster.settings.indexes =>
            {
                indexes::process(self, backend, &body.bytes)
            }
            other => {
                self.problem(&format!("{} is not played or not known", command::name(other)));
                ENOTSUP
            }
        }
    }

    /// Its backend at a position.
    pub(crate) fn backend_at(&self, position: usize) -> &Backend {
        &self.node().backends[position]
    }

    /// Notes something that a careful client does not send.
    pub(crate) fn problem(&self, what: &str) {
        self.cluster.journal.problem(self.node().number, what);
    }

    /// The acknowledgement, if it is wanted.
    pub(crate) fn acknowledge(&mut self, status: i32, recursive: bool) {
        if !self.header.has(flag::NEED_ACK) {
            return;
        }
        let mut header = Header { status, ..self.header.clone() };
        header.flags &= !flag::NEED_ACK;
        if !recursive {
            header.flags &= !flag::MORE;
        }
        header.flags |= flag::REPLY;
        self.send(&header, &[], None);
    }

    /// A reply with the head of the request.
    pub(crate) fn reply(&mut self, body: &[u8], more: bool) {
        let mut header = self.header.clone();
        if header.has(flag::NEED_ACK) || more {
            header.flags |= flag::MORE;
        }
        header.flags |= flag::REPLY;
        if self.cluster.settings.has(since::CLEAN_REPLIES) {
            header.flags &= !flag::NEED_ACK;
        }
        self.send(&header, body, None);
    }

    /// A frame as it is.
    pub(crate) fn send(&mut self, header: &Header, body: &[u8], content: Option<Piece>) {
        let beyond = content.as_ref().map_or(0, |piece| piece.size);
        self.answers.push(Answer { bytes: header.frame(body, beyond), content });
    }

    fn check_cookie(&self, body: &[u8]) -> i32 {
        // struct dnet_auth: 32 bytes of cookie, 8 of flags, 24 that are not used.
        if body.len() != 64 {
            EINVAL
        } else if body[..32] == self.cluster.settings.cookie {
            0
        } else {
            self.problem("the cookie is wrong");
            EPERM
        }
    }

    /// The handshake (`library/route.cpp`): versions must have the same first two numbers, else the connection is
    /// closed before the status can be sent.
    fn reverse_lookup(&mut self) -> i32 {
        let ours = self.cluster.settings.version;
        let theirs = routes::version(&self.header.id);
        if theirs[..2] != ours[..2] {
            self.problem(&format!("the client has version {theirs:?}, the server {ours:?}"));
            self.reset = true;
            return EPROTO;
        }
        routes::put_version(&mut self.header.id, ours);
        if self.cluster.settings.indexes {
            routes::put_shards(&mut self.header.id, self.cluster.settings.shards);
        }
        if self.header.group == 0 && self.cluster.settings.has(since::CLEAN_REPLIES) {
            self.header.group = self.node().backends.first().map_or(0, |backend| backend.group);
        }
        let mut body = Vec::new();
        routes::put_addresses(&mut body, &[self.node().address]);
        routes::put_backends(&mut body, self.node());
        let header = Header { flags: flag::NOLOCK | flag::REPLY, ..self.bare_header() };
        self.send(&header, &body, None);
        self.ids_sent = true;
        0
    }

    /// The addresses of all nodes that are there but of the one that asks, the own one first. No acknowledgement follows.
    fn route_list(&mut self) -> i32 {
        let mut addresses = vec![self.node().address];
        let nodes = self.cluster.nodes.iter().enumerate();
        let others = nodes.filter(|(place, node)| node.is_up() && *place != self.place && *place != self.at);
        let others: Vec<_> = others.map(|(_, node)| node.address).collect();
        addresses.extend(others);
        let mut body = Vec::new();
        routes::put_addresses(&mut body, &addresses);
        let header = Header { flags: flag::NOLOCK | flag::REPLY, ..self.bare_header() };
        self.send(&header, &body, None);
        self.header.flags &= !flag::NEED_ACK;
        0
    }

    /// A head with id, command and transaction of the request and nothing else.
    fn bare_header(&self) -> Header {
        Header { status: 0, backend: 0, trace: 0, flags: 0, size: 0, ..self.header.clone() }
    }
}

/// Whether a command is done at a backend; others are done by the node (`library/pool.c`).
fn needs_backend(number: i32) -> bool {
    !matches!(
        number,
        command::AUTH
            | command::STATUS
            | command::REVERSE_LOOKUP
            | command::JOIN
            | command::ROUTE_LIST
            | command::EXEC
            | command::MONITOR_STAT
            | command::BACKEND_CONTROL
            | command::BACKEND_STATUS
    )
}

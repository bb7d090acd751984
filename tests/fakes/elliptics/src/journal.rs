//! What was asked: a log file, counts, the last frames, and what no careful client would have sent.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::Write;
use std::sync::Mutex;

use crate::id::hexadecimal;
use crate::wire::{Header, IoAttribute, command};

/// How many frames are kept.
const FRAMES: usize = 10_000;

/// The journal of a cluster.
#[derive(Debug)]
pub(crate) struct Journal {
    log: Mutex<File>,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// By node and command: how many, and how many of them failed.
    counts: BTreeMap<(usize, &'static str), (u64, u64)>,
    frames: VecDeque<String>,
    problems: Vec<String>,
}

impl Journal {
    pub(crate) fn new(log: File) -> Self {
        Self { log: Mutex::new(log), kept: Mutex::default() }
    }

    /// A frame that came in at a node: its head, and as much of its body as an attribute is long.
    pub(crate) fn frame(&self, node: usize, head: &[u8], body: &[u8]) {
        let attribute = &body[..body.len().min(IoAttribute::SIZE)];
        let line = format!("{node} {} {}", hexadecimal(head), hexadecimal(attribute));
        let mut kept = self.kept.lock().expect("no holder panics");
        if kept.frames.len() == FRAMES {
            kept.frames.pop_front();
        }
        kept.frames.push_back(line);
    }

    /// A command that a node has done, with its status.
    pub(crate) fn done(&self, node: usize, header: &Header, status: i32) {
        let name = command::name(header.command);
        let group = header.group;
        self.line(&format!(
            "{node} {name} group {group} id {:?} flags {:#x}: {status}",
            header.id, header.flags
        ));
        let mut kept = self.kept.lock().expect("no holder panics");
        let count = kept.counts.entry((node, name)).or_default();
        count.0 += 1;
        count.1 += u64::from(status != 0);
    }

    /// Something that a careful client does not send.
    pub(crate) fn problem(&self, node: usize, what: &str) {
        self.line(&format!("{node} PROBLEM: {what}"));
        self.kept.lock().expect("no holder panics").problems.push(format!("{node} {what}"));
    }

    /// Adds a line to the log file.
    pub(crate) fn line(&self, line: &str) {
        let _ = writeln!(self.log.lock().expect("no holder panics"), "{line}");
    }

    /// `NODE COMMAND COUNT FAILED`, a line each.
    pub(crate) fn counts(&self) -> Vec<String> {
        let kept = self.kept.lock().expect("no holder panics");
        kept.counts
            .iter()
            .map(|((node, name), (all, failed))| format!("{node} {name} {all} {failed}"))
            .collect()
    }

    /// `NODE HEAD BODY`, hexadecimal, oldest first.
    pub(crate) fn frames(&self) -> Vec<String> {
        self.kept.lock().expect("no holder panics").frames.iter().cloned().collect()
    }

    /// `NODE SENTENCE`, a line each.
    pub(crate) fn problems(&self) -> Vec<String> {
        self.kept.lock().expect("no holder panics").problems.clone()
    }

    /// Forgets counts, frames and problems.
    pub(crate) fn clear(&self) {
        *self.kept.lock().expect("no holder panics") = Kept::default();
    }
}

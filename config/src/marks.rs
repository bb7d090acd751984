//! Where things stand in a YAML text, and how they are written there.
//!
//! serde_yaml gives values without positions and forgets whether a scalar was quoted. This module reads the
//! same text with `saphyr-parser` and builds a tree of the same shape that knows both. An alias points to
//! the marks of its anchor, so a merged key keeps the line where it is really written.
//!
//! The tree only annotates: `yaml` takes the values from serde_yaml and drops marks that do not fit.

use saphyr_parser::{Event, Parser, ScalarStyle, Span};
use std::collections::HashMap;
use std::rc::Rc;

/// The marks of one node.
pub(crate) enum Mark {
    Scalar {
        text: String,
        plain: bool,
        line: usize,
    },
    List(Vec<Rc<Mark>>),
    /// Pairs of key and value, in the order of the text.
    Map(Vec<(Rc<Mark>, Rc<Mark>)>),
}

/// A list or mapping that is still being read. In a mapping keys and values alternate.
struct Open {
    anchor: usize,
    is_map: bool,
    children: Vec<Rc<Mark>>,
}

/// The marks of the first document, or `None` when this parser does not understand the text.
pub(crate) fn read(text: &str) -> Option<Rc<Mark>> {
    let mut anchors: HashMap<usize, Rc<Mark>> = HashMap::new();
    let mut open: Vec<Open> = Vec::new();
    for step in Parser::new_from_str(text) {
        let (event, span) = step.ok()?;
        let (anchor, finished) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let tagged_text = tag.is_some_and(|tag| tag.suffix == "str" || tag.to_string() == "!");
                let plain = style == ScalarStyle::Plain && !tagged_text;
                (anchor, Rc::new(Mark::Scalar { text: text.into_owned(), plain, line: line_of(&span) }))
            }
            Event::Alias(anchor) => (0, Rc::clone(anchors.get(&anchor)?)),
            Event::SequenceStart(anchor, _) => {
                open.push(Open { anchor, is_map: false, children: Vec::new() });
                continue;
            }
            Event::MappingStart(anchor, _) => {
                open.push(Open { anchor, is_map: true, children: Vec::new() });
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Open { anchor, is_map, children } = open.pop()?;
                (anchor, Rc::new(if is_map { Mark::Map(pairs(children)?) } else { Mark::List(children) }))
            }
            Event::DocumentEnd | Event::StreamEnd => return None,
            Event::Nothing | Event::StreamStart | Event::DocumentStart(_) => continue,
        };
        if anchor != 0 {
            anchors.insert(anchor, Rc::clone(&finished));
        }
        match open.last_mut() {
            Some(parent) => parent.children.push(finished),
            None => return Some(finished),
        }
    }
    None
}

fn line_of(span: &Span) -> usize {
    span.start.line()
}

fn pairs(children: Vec<Rc<Mark>>) -> Option<Vec<(Rc<Mark>, Rc<Mark>)>> {
    let mut pairs = Vec::with_capacity(children.len() / 2);
    let mut children = children.into_iter();
    while let Some(key) = children.next() {
        pairs.push((key, children.next()?));
    }
    Some(pairs)
}

//! A small part of an XML document as a tree, and the safe way to it: no DTD, no entities of its own, bounded depth. Owns XML; knows no
//! report.
use atio_schemas::Code;
use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};
use std::borrow::Cow;

/// Elements of one kept part: a result of a million empty elements must not fill memory.
const NODES: usize = 50_000;

#[derive(Debug, Default)]
pub(super) struct Node<'a> {
    pub(super) name: String,
    attributes: Vec<(String, String)>,
    /// Own text, without the children's.
    text: Cow<'a, str>,
    children: Vec<Node<'a>>,
}

impl<'a> Node<'a> {
    pub(super) fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.trim())
            .filter(|value| !value.is_empty())
    }
    pub(super) fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|node| node.name == name)
    }
    pub(super) fn children(&self, name: &str) -> impl Iterator<Item = &Self> {
        self.children.iter().filter(move |node| node.name == name)
    }
    pub(super) fn at(&self, path: &[&str]) -> Option<&Self> {
        path.iter().try_fold(self, |node, name| node.child(name))
    }
    /// The trimmed text, if any.
    pub(super) fn text(&self) -> Option<Cow<'a, str>> {
        let text = match &self.text {
            Cow::Borrowed(text) => Cow::Borrowed(text.trim()),
            Cow::Owned(text) => Cow::Owned(text.trim().to_owned()),
        };
        (!text.is_empty()).then_some(text)
    }
    pub(super) fn text_at(&self, path: &[&str]) -> Option<Cow<'a, str>> {
        self.at(path)?.text()
    }
}

/// What a walk tells its visitor; offsets are bytes in the text.
pub(super) trait Visit<'a> {
    /// An element starts outside any kept part: true keeps it, with all below it, as a tree.
    fn enter(&mut self, node: &Node<'a>, parents: &[&str]) -> bool;
    /// A kept part, or an element outside of one (its text without children), ends.
    fn leave(&mut self, node: Node<'a>, parents: &[&str], start: usize, end: usize);
}

/// Why a walk ended early, and where what was not read begins.
#[derive(Debug)]
pub(super) struct Broken {
    pub(super) code: Code,
    pub(super) message: String,
    pub(super) from: usize,
}

struct Frame<'a> {
    node: Node<'a>,
    start: usize,
    kept: bool,
}

/// Walks the document, telling `visit`.
///
/// # Errors
/// `XmlEntity` for a DTD or an entity that XML itself does not define, `TooDeep`, `TooMany`, `Truncated`, `InvalidXml`.
pub(super) fn walk<'a>(text: &'a str, depth: usize, visit: &mut impl Visit<'a>) -> Result<(), Broken> {
    let mut reader = Reader::from_str(text);
    let mut open: Vec<Frame<'a>> = Vec::new();
    let mut nodes = 0_usize;
    loop {
        let start = position(&reader);
        let broken = |code, message: String, open: &[Frame<'a>]| {
            let from = open.iter().find(|frame| frame.kept).map_or(start, |frame| frame.start);
            Err(Broken { code, message, from })
        };
        let event = match reader.read_event() {
            Ok(event) => event,
            Err(error) => return broken(code_of(&error), error.to_string(), &open),
        };
        match event {
            Event::Start(tag) => {
                if open.len() >= depth {
                    return broken(Code::TooDeep, format!("elements nest deeper than {depth}"), &open);
                }
                nodes += 1;
                begin(&tag, start, &mut open, visit);
                if !open.last().is_some_and(|frame| frame.kept) {
                    nodes = 0;
                }
                if nodes > NODES {
                    return broken(Code::TooMany, format!("more than {NODES} elements in one part"), &open);
                }
            }
            Event::Empty(tag) => {
                nodes += 1;
                if nodes > NODES {
                    return broken(Code::TooMany, format!("more than {NODES} elements in one part"), &open);
                }
                begin(&tag, start, &mut open, visit);
                end(position(&reader), &mut open, visit);
            }
            Event::End(_) => end(position(&reader), &mut open, visit),
            Event::Text(piece) => add_text(piece.into_inner(), &mut open),
            Event::CData(piece) => add_text(piece.into_inner(), &mut open),
            Event::GeneralRef(reference) => match resolve(&reference) {
                Some(resolved) => add_text(resolved, &mut open),
                None => return broken(Code::XmlEntity, "an entity that is not XML's own".to_owned(), &open),
            },
            Event::DocType(_) => {
                return Err(Broken {
                    code: Code::XmlEntity,
                    message: "a document type declaration".to_owned(),
                    from: 0,
                });
            }
            Event::Decl(_) | Event::PI(_) | Event::Comment(_) => {}
            Event::Eof if open.is_empty() => return Ok(()),
            Event::Eof => {
                return broken(
                    Code::Truncated,
                    "the document ends before its elements are closed".to_owned(),
                    &open,
                );
            }
        }
    }
}

fn position(reader: &Reader<&[u8]>) -> usize {
    usize::try_from(reader.buffer_position()).unwrap_or(usize::MAX)
}

fn code_of(error: &quick_xml::Error) -> Code {
    match error {
        quick_xml::Error::Syntax(_)
        | quick_xml::Error::IllFormed(quick_xml::errors::IllFormedError::MissingEndTag(_)) => Code::Truncated,
        _ => Code::InvalidXml,
    }
}

fn begin<'a>(tag: &BytesStart<'a>, start: usize, open: &mut Vec<Frame<'a>>, visit: &mut impl Visit<'a>) {
    let mut attributes = tag.attributes();
    let pairs = attributes.with_checks(false).flatten().take(64).map(|attribute| {
        let value = attribute.normalized_value(quick_xml::XmlVersion::Implicit1_0);
        (attribute.key.0.to_owned(), value.map_or_else(|_| attribute.value.to_string(), Cow::into_owned))
    });
    let node =
        Node { name: tag.local_name().as_ref().to_owned(), attributes: pairs.collect(), ..Node::default() };
    let kept = match open.last() {
        Some(parent) if parent.kept => true,
        _ => {
            let parents: Vec<&str> = open.iter().map(|frame| frame.node.name.as_str()).collect();
            visit.enter(&node, &parents)
        }
    };
    open.push(Frame { node, start, kept });
}

fn end<'a>(end: usize, open: &mut Vec<Frame<'a>>, visit: &mut impl Visit<'a>) {
    let Some(frame) = open.pop() else { return };
    match open.last_mut() {
        Some(parent) if parent.kept => parent.node.children.push(frame.node),
        _ => {
            let parents: Vec<&str> = open.iter().map(|frame| frame.node.name.as_str()).collect();
            visit.leave(frame.node, &parents, frame.start, end);
        }
    }
}

fn add_text<'a>(piece: Cow<'a, str>, open: &mut [Frame<'a>]) {
    let Some(frame) = open.last_mut() else { return };
    if frame.node.text.is_empty() {
        frame.node.text = piece;
    } else if frame.kept || frame.node.text.len() < 4096 {
        frame.node.text.to_mut().push_str(&piece);
    }
}

/// `&amp;` and its like, and characters by number.
fn resolve(reference: &quick_xml::events::BytesRef<'_>) -> Option<Cow<'static, str>> {
    if let Ok(Some(character)) = reference.resolve_char_ref() {
        return Some(Cow::Owned(character.to_string()));
    }
    quick_xml::escape::resolve_predefined_entity(reference).map(Cow::Borrowed)
}

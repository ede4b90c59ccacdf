//! YAML as a tree that knows where everything stands. Owns limits and what of YAML is refused: anchors, aliases, tags, merge keys,
//! duplicate keys, several documents. Scalars stay text: what a text means depends on the field it is for. Must not know: workflows.
use atio_topics::{Place, Problem};
use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, Span};
use std::sync::Arc;

/// A definition is at most so many bytes.
pub const MAX_FILE: usize = 1024 * 1024;
const MAX_DEPTH: usize = 32;
const MAX_NODES: usize = 50_000;

/// A node and where it starts.
#[derive(Clone, Debug)]
pub struct Node {
    pub place: Place,
    pub value: Value,
}

#[derive(Clone, Debug)]
pub enum Value {
    /// An absent value: `key:` or `~`.
    Null,
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

#[derive(Clone, Debug)]
pub struct Scalar {
    pub text: String,
    style: Style,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    Plain,
    Quoted,
    /// `|`.
    Block,
    /// `>`: where its lines ended is not known any more.
    Folded,
}

#[derive(Clone, Debug)]
pub struct Key {
    pub text: String,
    pub place: Place,
}

impl Node {
    /// What it is, for messages.
    #[must_use]
    pub const fn noun(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Scalar(_) => "a single value",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        if let Value::Scalar(scalar) = &self.value { Some(&scalar.text) } else { None }
    }
    /// As JSON has it: a plain scalar that looks like a number or yes or no is one, what is quoted is a text.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Scalar(scalar) => scalar.json(),
            Value::List(items) => items.iter().map(Self::json).collect(),
            Value::Map(entries) => {
                entries.iter().map(|(key, node)| (key.text.clone(), node.json())).collect()
            }
        }
    }
    /// The elements of a list; what is none is one.
    #[must_use]
    pub fn items(&self) -> &[Self] {
        if let Value::List(items) = &self.value { items } else { std::slice::from_ref(self) }
    }
    /// The place of a byte within a scalar's text; exact where the text stands as it is in the file.
    #[must_use]
    pub fn place_at(&self, offset: usize) -> Place {
        let mut place = self.place.clone();
        let Value::Scalar(scalar) = &self.value else { return place };
        let before = scalar.text.get(..offset).unwrap_or(&scalar.text);
        let columns = |text: &str| u64::try_from(text.chars().count()).unwrap_or(0);
        match scalar.style {
            Style::Plain if !scalar.text.contains('\n') => place.column += columns(before),
            Style::Quoted if !scalar.text.contains('\n') => place.column += columns(before) + 1,
            // The scalar starts with its first line; all lines stand under its first column.
            Style::Block => {
                place.line += u64::try_from(before.matches('\n').count()).unwrap_or(0);
                place.column += columns(before.rsplit('\n').next().unwrap_or_default());
            }
            _ => {}
        }
        place
    }
}

impl Scalar {
    fn json(&self) -> serde_json::Value {
        let text = self.text.as_str();
        if self.style != Style::Plain {
            return text.into();
        }
        match text {
            "true" => true.into(),
            "false" => false.into(),
            // Not `nan`, `inf` nor `+1`: as JSON writes numbers.
            _ => match serde_json::from_str(text) {
                Ok(number @ serde_json::Value::Number(_)) => number,
                _ => text.into(),
            },
        }
    }
}

/// Reads one document.
///
/// # Errors
/// The first thing that is refused, and where.
pub fn read(file: &str, text: &str) -> Result<Node, Problem> {
    let whole = Place::start(file);
    if text.len() > MAX_FILE {
        return Err(Problem::too_long(&whole, text.len() as u64, MAX_FILE as u64));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = Reader { file: Arc::clone(&whole.file), parser: Parser::new_from_str(text), nodes: 0 };
    reader.document()
}

struct Reader<'t, I: serde_saphyr::granit_parser::BorrowedInput<'t>> {
    file: Arc<str>,
    parser: Parser<'t, I>,
    nodes: usize,
}

impl<'t, I: serde_saphyr::granit_parser::BorrowedInput<'t>> Reader<'t, I> {
    fn place(&self, span: &Span) -> Place {
        let count = |n: usize| u64::try_from(n).unwrap_or(0);
        Place {
            file: Arc::clone(&self.file),
            line: count(span.start.line()),
            column: count(span.start.col()) + 1,
        }
    }

    fn next(&mut self) -> Result<(Event<'t>, Place), Problem> {
        loop {
            let Some(event) = self.parser.next_event() else {
                return Err(Problem::new(&Place::start(&self.file), "the document ends too early"));
            };
            let (event, span) = event.map_err(|e| {
                let marker = e.marker();
                let place = self.place(&Span::empty(*marker));
                let message = format!("not YAML: {}", e.info().chars().take(200).collect::<String>());
                let help = "look for a bracket, a quote or an indentation that does not fit, here or above";
                Problem::new(&place, message).help(Some(help.to_owned()))
            })?;
            let place = self.place(&span);
            if let Event::StreamStart | Event::DocumentStart(..) = event {
                continue;
            }
            return Ok((event, place));
        }
    }

    fn document(&mut self) -> Result<Node, Problem> {
        let (event, place) = self.next()?;
        if matches!(event, Event::StreamEnd | Event::DocumentEnd) {
            let help = "begin with `apiVersion: atio/v1` and `kind: Workflow`".to_owned();
            return Err(Problem::new(&place, "there is nothing in it").help(Some(help)));
        }
        let root = self.node(event, place, 0)?;
        loop {
            match self.next()? {
                (Event::DocumentEnd, _) => {}
                (Event::StreamEnd, _) => return Ok(root),
                (_, place) => {
                    let help = "put what follows `---` into a file of its own".to_owned();
                    let message = "a second document: one definition a file";
                    return Err(Problem::new(&place, message).help(Some(help)));
                }
            }
        }
    }

    fn node(&mut self, event: Event<'t>, place: Place, depth: usize) -> Result<Node, Problem> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            let help = "move long lists into a table, or write several workflows".to_owned();
            return Err(Problem::new(&place, format!("more than {MAX_NODES} values")).help(Some(help)));
        }
        if depth > MAX_DEPTH {
            return Err(too_deep(&place));
        }
        let value = match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.plain(&place, anchor, tag.is_some())?;
                scalar(text.into_owned(), style)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.plain(&place, anchor, tag.is_some())?;
                Value::List(self.list(depth)?)
            }
            Event::MappingStart(_, anchor, tag) => {
                self.plain(&place, anchor, tag.is_some())?;
                Value::Map(self.map(depth)?)
            }
            _ => return Err(anchored(&place)),
        };
        Ok(Node { place, value })
    }

    fn plain(&self, place: &Place, anchor: usize, tagged: bool) -> Result<(), Problem> {
        if anchor != 0 {
            return Err(anchored(place));
        }
        if !tagged {
            return Ok(());
        }
        let help = "leave the tag out; quote the value if it begins with `!`".to_owned();
        Err(Problem::new(place, "tags (`!name`) have no meaning here").help(Some(help)))
    }

    fn list(&mut self, depth: usize) -> Result<Vec<Node>, Problem> {
        let mut items = vec![];
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(items),
                (event, place) => items.push(self.node(event, place, depth + 1)?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Vec<(Key, Node)>, Problem> {
        let mut entries: Vec<(Key, Node)> = vec![];
        let mut seen = std::collections::HashMap::new();
        loop {
            let (event, place) = self.next()?;
            if matches!(event, Event::MappingEnd) {
                return Ok(entries);
            }
            let key = self.node(event, place, depth + 1)?;
            let Some(text) = key.text().map(str::to_owned) else {
                let help = "`name: value`".to_owned();
                return Err(Problem::new(&key.place, "a key must be a single text").help(Some(help)));
            };
            if text == "<<" {
                let help = "write the entries out".to_owned();
                return Err(
                    Problem::new(&key.place, "merge keys (`<<`) are not allowed here").help(Some(help))
                );
            }
            if let Some(line) = seen.insert(text.clone(), key.place.line) {
                let help = format!("the first is in line {line}: leave one out, or merge them");
                let message = format!("`{}` stands here twice", short(&text));
                return Err(Problem::new(&key.place, message).help(Some(help)));
            }
            let (event, place) = self.next()?;
            let value = self.node(event, place, depth + 1)?;
            entries.push((Key { text, place: key.place }, value));
        }
    }
}

/// As much of a text as a message quotes.
pub(crate) fn short(text: &str) -> String {
    text.chars().take(80).collect()
}

fn anchored(place: &Place) -> Problem {
    let help = "write out what it stands for".to_owned();
    Problem::new(place, "anchors (`&`) and aliases (`*`) are not allowed here").help(Some(help))
}

fn too_deep(place: &Place) -> Problem {
    let help = "a definition needs no more; is a bracket left open?".to_owned();
    Problem::new(place, format!("nested deeper than {MAX_DEPTH}")).help(Some(help))
}

fn scalar(text: String, style: ScalarStyle) -> Value {
    let style = match style {
        ScalarStyle::Plain => Style::Plain,
        ScalarStyle::Literal => Style::Block,
        ScalarStyle::Folded => Style::Folded,
        _ => Style::Quoted,
    };
    if style == Style::Plain && matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL") {
        return Value::Null;
    }
    Value::Scalar(Scalar { text, style })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_those_of_the_file() {
        let text = "a: 1\nb:\n  - x\n  - {c: 'q', d: |\n";
        assert!(read("f", text).is_err());
        let text = "a: 1\nb:\n  - x\n  - {c: 'quoted'}\nd: |\n  one\n    two\n";
        let node = read("f.yaml", text).unwrap();
        let Value::Map(entries) = &node.value else { panic!("{node:?}") };
        assert_eq!(entries[1].0.place.to_string(), "f.yaml:2:1");
        let Value::List(items) = &entries[1].1.value else { panic!("{node:?}") };
        assert_eq!(items[0].place.to_string(), "f.yaml:3:5");
        let Value::Map(inner) = &items[1].value else { panic!("{node:?}") };
        assert_eq!(inner[0].1.place_at(2).to_string(), "f.yaml:4:12");
        assert_eq!(entries[2].1.text(), Some("one\n  two\n"));
        assert_eq!(entries[2].1.place_at(6).to_string(), "f.yaml:7:5");
    }

    #[test]
    fn bombs_and_ambiguities_are_refused() {
        let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
        let many = format!("[{}]", "1,".repeat(60_000));
        for (text, part) in [
            ("a: &x 1\nb: *x", "anchors"),
            ("a: *x", "not YAML"),
            ("a: 1\na: 2", "twice"),
            ("a: !!binary x", "tags"),
            ("a: 1\n---\nb: 2", "second document"),
            ("<<: {a: 1}", "merge keys"),
            ("? [a]\n: 1", "single text"),
            ("", "nothing in it"),
            ("a: [", "not YAML"),
            (deep.as_str(), "recursion"),
            (many.as_str(), "50000"),
            (&"#".repeat(MAX_FILE + 1), "at most"),
        ] {
            let problem = read("f", text).unwrap_err();
            assert!(problem.to_string().contains(part), "{problem}");
        }
    }
}

//! Which schema may follow which: the compatibility levels of the registry and the check behind them. Pure; must not know subjects or HTTP.
//!
//! The rules are Avro's (specification 1.12, "Schema resolution"). What can be read only for some values (a union that lost a branch, an enum
//! that lost a symbol without a default) is not compatible.
use apache_avro::Schema;
use apache_avro::schema::{Name, UnionSchema};
use apache_avro::schema_compatibility::{Compatibility, SchemaCompatibility};
use std::collections::HashMap;
use std::fmt;

/// Longest schema text, in bytes.
pub const MAX_SCHEMA: usize = 1024 * 1024;
/// Deepest nesting of a schema's JSON.
pub const MAX_DEPTH: usize = 64;
/// Most nodes of a schema whose references are replaced by what they stand for.
const MAX_NODES: usize = 20_000;
/// A message is cut to so many characters.
const MAX_MESSAGE: usize = 300;

/// What a new version of a subject must be able to read, or be read by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Level {
    None,
    #[default]
    Backward,
    BackwardTransitive,
    Forward,
    ForwardTransitive,
    Full,
    FullTransitive,
}

impl Level {
    const ALL: [(Self, &'static str); 7] = [
        (Self::None, "NONE"),
        (Self::Backward, "BACKWARD"),
        (Self::BackwardTransitive, "BACKWARD_TRANSITIVE"),
        (Self::Forward, "FORWARD"),
        (Self::ForwardTransitive, "FORWARD_TRANSITIVE"),
        (Self::Full, "FULL"),
        (Self::FullTransitive, "FULL_TRANSITIVE"),
    ];

    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, name)| name.eq_ignore_ascii_case(text)).map(|(level, _)| *level)
    }

    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(level, _)| *level == self).map_or("NONE", |(_, name)| name)
    }

    /// True when every earlier version counts, false when the newest alone does.
    #[must_use]
    pub const fn is_transitive(self) -> bool {
        matches!(self, Self::BackwardTransitive | Self::ForwardTransitive | Self::FullTransitive)
    }

    const fn reads_earlier(self) -> bool {
        matches!(self, Self::Backward | Self::BackwardTransitive | Self::Full | Self::FullTransitive)
    }

    const fn read_by_earlier(self) -> bool {
        matches!(self, Self::Forward | Self::ForwardTransitive | Self::Full | Self::FullTransitive)
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Reads a schema from its text, within the limits.
///
/// # Errors
/// A sentence: too long, nested too deep, not a valid Avro schema.
pub fn parse(text: &str) -> Result<Schema, String> {
    if text.len() > MAX_SCHEMA {
        return Err(format!("the schema has {} bytes, at most {MAX_SCHEMA} are taken", text.len()));
    }
    if depth(text) > MAX_DEPTH {
        return Err(format!("the schema is nested deeper than {MAX_DEPTH}"));
    }
    atio_schemas::codec::parse_schema(text).map_err(|e| cut(&e))
}

/// How deep objects and lists are nested in a JSON text, without reading it.
pub(crate) fn depth(text: &str) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// Why `candidate` may not follow `earlier` (oldest first, with their versions); empty when it may.
#[must_use]
pub fn check(level: Level, candidate: &Schema, earlier: &[(i32, &str)]) -> Vec<String> {
    if level == Level::None || earlier.is_empty() {
        return vec![];
    }
    let newest = &earlier[earlier.len() - 1..];
    let counted = if level.is_transitive() { earlier } else { newest };
    let candidate = match expanded(candidate) {
        Ok(schema) => schema,
        Err(reason) => return vec![reason],
    };
    counted.iter().filter_map(|(version, text)| against(level, &candidate, *version, text).err()).collect()
}

fn against(level: Level, candidate: &Schema, version: i32, text: &str) -> Result<(), String> {
    let of_version = |reason: String| format!("version {version}: {reason}");
    let earlier = parse(text).and_then(|schema| expanded(&schema)).map_err(of_version)?;
    if level.reads_earlier() {
        reads(&earlier, candidate)
            .map_err(|e| format!("the new schema cannot read version {version}: {e}"))?;
    }
    if level.read_by_earlier() {
        reads(candidate, &earlier)
            .map_err(|e| format!("version {version} cannot read the new schema: {e}"))?;
    }
    Ok(())
}

fn reads(writer: &Schema, reader: &Schema) -> Result<(), String> {
    match SchemaCompatibility::can_read(writer, reader) {
        Ok(Compatibility::Full) => Ok(()),
        Ok(Compatibility::Partial) => {
            Err("only some values can be read (a union's branch or an enum's symbol is missing)".into())
        }
        Err(error) => Err(cut(&error.to_string())),
    }
}

fn cut(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(MAX_MESSAGE).collect()
}

/// The schema with every reference replaced by its definition, recursive ones apart: the check compares a definition with a reference to the
/// same definition as two types, and where the definition stands changes when a field is added before it.
fn expanded(schema: &Schema) -> Result<Schema, String> {
    let mut expansion = Expansion { known: HashMap::new(), inside: vec![], nodes: 0 };
    expansion.walk(schema, 0)
}

struct Expansion<'a> {
    known: HashMap<Name, &'a Schema>,
    inside: Vec<Name>,
    nodes: usize,
}

impl<'a> Expansion<'a> {
    fn walk(&mut self, schema: &'a Schema, depth: usize) -> Result<Schema, String> {
        self.nodes += 1;
        if self.nodes > MAX_NODES || depth > 2 * MAX_DEPTH {
            return Err("the schema refers to itself too often to be compared".into());
        }
        if let (Some(name), false) = (schema.name(), matches!(schema, Schema::Ref { .. })) {
            self.known.insert(name.clone(), schema);
        }
        match schema {
            Schema::Ref { name } => match self.known.get(name).copied() {
                Some(definition) if !self.inside.contains(name) => self.walk(definition, depth + 1),
                _ => Ok(schema.clone()),
            },
            Schema::Array(array) => {
                let mut array = array.clone();
                array.items = Box::new(self.walk(items(schema), depth + 1)?);
                Ok(Schema::Array(array))
            }
            Schema::Map(map) => {
                let mut map = map.clone();
                map.types = Box::new(self.walk(items(schema), depth + 1)?);
                Ok(Schema::Map(map))
            }
            Schema::Union(union) => {
                let variants =
                    union.variants().iter().map(|v| self.walk(v, depth + 1)).collect::<Result<_, _>>()?;
                Ok(UnionSchema::new(variants).map_or_else(|_| schema.clone(), Schema::Union))
            }
            Schema::Record(record) => {
                self.inside.push(record.name.clone());
                let fields = record
                    .fields
                    .iter()
                    .map(|field| self.walk(&field.schema, depth + 1))
                    .collect::<Result<Vec<_>, _>>();
                self.inside.pop();
                let mut record = record.clone();
                for (field, schema) in record.fields.iter_mut().zip(fields?) {
                    field.schema = schema;
                }
                Ok(Schema::Record(record))
            }
            _ => Ok(schema.clone()),
        }
    }
}

/// What a list or a map is of; itself for the others.
fn items(schema: &Schema) -> &Schema {
    match schema {
        Schema::Array(array) => &array.items,
        Schema::Map(map) => &map.types,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(fields: &str) -> String {
        format!(r#"{{"type":"record","name":"R","fields":[{fields}]}}"#)
    }

    fn compatible(level: Level, candidate: &str, earlier: &[&str]) -> bool {
        let earlier: Vec<_> = (1..).zip(earlier.iter().copied()).collect();
        check(level, &parse(candidate).unwrap(), &earlier).is_empty()
    }

    #[test]
    fn the_levels_differ_as_they_should() {
        let a = record(r#"{"name":"a","type":"int"}"#);
        let b = record(r#"{"name":"a","type":"int"},{"name":"b","type":"int","default":0}"#);
        let c = record(r#"{"name":"a","type":"int"},{"name":"b","type":"int"}"#);
        use Level::*;
        // [candidate, earlier …] and the levels under which it may follow.
        let cases: &[(&str, &[&str], &[Level])] = &[
            (&b, &[&a], &[Backward, BackwardTransitive, Forward, ForwardTransitive, Full, FullTransitive]),
            (&c, &[&a], &[Forward, ForwardTransitive]),
            (&a, &[&c], &[Backward, BackwardTransitive]),
            (&c, &[&b], &[Backward, BackwardTransitive, Forward, ForwardTransitive, Full, FullTransitive]),
            // The newest alone is fine, the one before is not.
            (&c, &[&a, &b], &[Backward, Forward, ForwardTransitive, Full]),
            (&a, &[&c, &b], &[Backward, BackwardTransitive, Forward, Full]),
        ];
        for (candidate, earlier, allowed) in cases {
            for (level, _) in Level::ALL {
                let expected = level == None || allowed.contains(&level);
                assert_eq!(
                    compatible(level, candidate, earlier),
                    expected,
                    "{level} {candidate} after {earlier:?}"
                );
            }
        }
    }

    #[test]
    fn what_is_read_only_in_part_is_not_compatible() {
        let wide = record(r#"{"name":"a","type":["null","int","string"]}"#);
        let narrow = record(r#"{"name":"a","type":["null","int"]}"#);
        assert!(compatible(Level::Backward, &wide, &[&narrow]));
        assert!(!compatible(Level::Backward, &narrow, &[&wide]));
        let symbols = |s: &str| {
            record(&format!(r#"{{"name":"a","type":{{"type":"enum","name":"E","symbols":[{s}]}}}}"#))
        };
        assert!(compatible(Level::Backward, &symbols(r#""A","B""#), &[&symbols(r#""A""#)]));
        assert!(!compatible(Level::Backward, &symbols(r#""A""#), &[&symbols(r#""A","B""#)]));
    }

    /// A definition that moves to an earlier field is no change.
    #[test]
    fn references_are_compared_by_what_they_stand_for() {
        let point = r#"{"type":"record","name":"P","fields":[{"name":"x","type":"int"}]}"#;
        let before = record(&format!(r#"{{"name":"b","type":{point}}},{{"name":"c","type":"P"}}"#));
        let other = point.replace("int", "string");
        let after = |point: &str| {
            let null = r#""default":null"#;
            record(&format!(
                r#"{{"name":"a","type":["null",{point}],{null}}},{{"name":"b","type":"P"}},{{"name":"c","type":"P"}}"#
            ))
        };
        assert!(compatible(Level::Full, &after(point), &[&before]));
        assert!(!compatible(Level::Full, &after(&other), &[&before]));
    }

    #[test]
    fn recursive_and_repeated_references_end() {
        let list =
            r#"{"type":"record","name":"L","fields":[{"name":"next","type":["null","L"],"default":null}]}"#;
        assert!(compatible(Level::FullTransitive, list, &[list, list]));
        // Each type holds the one before twice: 2^40 nodes when written out.
        let mut fields = vec![r#"{"name":"f0","type":{"type":"record","name":"T0","fields":[]}}"#.to_owned()];
        for n in 1..40 {
            let p = n - 1;
            fields.push(format!(
                r#"{{"name":"f{n}","type":{{"type":"record","name":"T{n}","fields":[{{"name":"a","type":"T{p}"}},{{"name":"b","type":"T{p}"}}]}}}}"#
            ));
        }
        let bomb = record(&fields.join(","));
        assert!(!compatible(Level::Backward, &bomb, &[&bomb]));
        assert!(compatible(Level::None, &bomb, &[&bomb]));
    }

    #[test]
    fn limits_hold() {
        let deep = "[".repeat(100_000);
        assert!(parse(&deep).unwrap_err().contains("deeper"));
        assert!(parse(&" ".repeat(MAX_SCHEMA + 1)).unwrap_err().contains("bytes"));
        assert_eq!(depth(r#"{"a":"[[[\"[[","b":[1]}"#), 2);
        assert!(parse(r#"{"type":"record"}"#).unwrap_err().len() <= MAX_MESSAGE);
    }

    #[test]
    fn our_own_schemas_follow_themselves() {
        for (subject, text) in atio_schemas::SUBJECTS {
            assert!(compatible(Level::FullTransitive, text, &[text]), "{subject}");
        }
    }
}

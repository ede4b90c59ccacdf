//! Any Avro record as JSON, for looking at topics: unions unwrapped, bytes as base64, times as text. Owns that form; whoever needs a record's
//! columns decodes its type instead.
use super::{Codec, CodecError, HEAD, MAX_RECORD, bytes, guard, record, records, schema_id};
use crate::Timestamp;
use apache_avro::{reader::datum::GenericDatumReader, schema::ResolvedSchema, types::Value as Avro};
use serde_json::{Map, Value};

/// The subject that errors of records of any schema are about.
const ANY: &str = "any record";

impl Codec {
    /// A record of whatever schema its id names, with that schema's name (with its namespace, where it has one).
    ///
    /// # Errors
    /// `not_avro`, `unknown_schema`, `wrong_schema` (recursive or nested too deep), `too_large`, `too_many`, `decode_failed`.
    pub fn to_json(&self, raw: &[u8]) -> Result<(String, Value), CodecError> {
        let id = schema_id(raw).ok_or(CodecError::NotAvro)?;
        if raw.len() > MAX_RECORD {
            return Err(CodecError::TooLarge(raw.len()));
        }
        let writer = self.ids.schema_of(id).ok_or(CodecError::UnknownSchema(id))?;
        if !guard::is_safe(&writer) {
            return Err(CodecError::UnsafeSchema(id));
        }
        let failed = |e: apache_avro::Error| CodecError::DecodeFailed { subject: ANY, reason: e.to_string() };
        let mut datum = &raw[HEAD..];
        let names = ResolvedSchema::try_from(&*writer).map_err(failed)?;
        if !guard::is_countable(&writer, names.get_names(), datum) {
            return Err(CodecError::TooMany);
        }
        let reader = GenericDatumReader::builder(&writer).human_readable(false).build().map_err(failed)?;
        let value = reader.read_value(&mut datum).map_err(failed)?;
        if !datum.is_empty() {
            let reason = format!("{} bytes are left over", datum.len());
            return Err(CodecError::DecodeFailed { subject: ANY, reason });
        }
        let name = record(&writer).map_or_else(|| "no record".to_owned(), |r| r.name.to_string());
        Ok((name, json(value)))
    }

    /// A record of ours as its type's own JSON, with its subject: what people change. A detection's bundle is an object there.
    ///
    /// # Errors
    /// As [`Self::decode`]; `unknown_schema` also for a schema that is none of ours.
    pub fn editable(&self, raw: &[u8]) -> Result<(&'static str, Value), CodecError> {
        let id = schema_id(raw).ok_or(CodecError::NotAvro)?;
        let subject = self.subject_of(raw).ok_or(CodecError::UnknownSchema(id))?;
        let value = records::to_json(self, subject, raw).ok_or(CodecError::UnknownSchema(id))??;
        Ok((subject, value))
    }

    /// The way back. A field that the record does not have is refused, so that a slip of the pen is not lost.
    ///
    /// # Errors
    /// `encode_failed`: which field does not fit; `unknown_schema`: no subject of ours.
    pub fn edited(&self, subject: &str, value: &Value) -> Result<Vec<u8>, CodecError> {
        let unknown = || CodecError::Unregistered(subject.to_owned());
        let raw = records::from_json(self, subject, value.clone()).ok_or_else(unknown)??;
        let (subject, back) = self.editable(&raw)?;
        match unknown_field(value, &back) {
            None => Ok(raw),
            Some(field) => {
                let reason = format!("it has no field `{field}`");
                Err(CodecError::EncodeFailed { subject, reason })
            }
        }
    }

    /// The subject of ours that a record is of.
    #[must_use]
    pub fn subject_of(&self, raw: &[u8]) -> Option<&'static str> {
        let writer = self.ids.schema_of(schema_id(raw)?)?;
        let found = record(&writer)?.name.to_string();
        let is_it = |own: &&super::Own| record(own.schema).is_some_and(|r| r.name.to_string() == found);
        super::OWN.values().find(is_it).map(|own| own.subject)
    }
}

/// The first name in `given` that `back` does not have, with where it stands.
fn unknown_field(given: &Value, back: &Value) -> Option<String> {
    match (given, back) {
        (Value::Object(given), Value::Object(back)) => given.iter().find_map(|(name, value)| {
            let Some(there) = back.get(name) else { return Some(name.clone()) };
            unknown_field(value, there).map(|inner| format!("{name}.{inner}"))
        }),
        (Value::Array(given), Value::Array(back)) => {
            let items = given.iter().zip(back).enumerate();
            items.into_iter().find_map(|(i, (a, b))| unknown_field(a, b).map(|inner| format!("{i}.{inner}")))
        }
        _ => None,
    }
}

fn json(value: Avro) -> Value {
    match value {
        Avro::Null => Value::Null,
        Avro::Boolean(is) => is.into(),
        Avro::Int(n) | Avro::Date(n) | Avro::TimeMillis(n) => n.into(),
        Avro::Long(n) | Avro::TimeMicros(n) => n.into(),
        // NaN and the infinities are no JSON: null.
        Avro::Float(n) => n.into(),
        Avro::Double(n) => n.into(),
        Avro::Bytes(raw) | Avro::Fixed(_, raw) => bytes::encode(&raw).into(),
        Avro::String(text) | Avro::Enum(_, text) => text.into(),
        Avro::Union(_, inner) => json(*inner),
        Avro::Array(items) => items.into_iter().map(json).collect(),
        Avro::Map(entries) => {
            let mut sorted: Vec<_> = entries.into_iter().collect();
            sorted.sort_unstable_by(|a, b| a.0.cmp(&b.0));
            sorted.into_iter().map(|(name, value)| (name, json(value))).collect::<Map<_, _>>().into()
        }
        Avro::Record(fields) => {
            fields.into_iter().map(|(name, value)| (name, json(value))).collect::<Map<_, _>>().into()
        }
        Avro::TimestampMillis(n) | Avro::LocalTimestampMillis(n) => time(n.saturating_mul(1000)),
        Avro::TimestampMicros(n) | Avro::LocalTimestampMicros(n) => time(n),
        Avro::TimestampNanos(n) | Avro::LocalTimestampNanos(n) => time(n.div_euclid(1000)),
        Avro::Uuid(uuid) => uuid.to_string().into(),
        // Of others' schemas, rare: as the library shows them.
        other @ (Avro::Decimal(_) | Avro::BigDecimal(_) | Avro::Duration(_)) => format!("{other:?}").into(),
    }
}

fn time(micros: i64) -> Value {
    Timestamp(micros).rfc3339_micros().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::StaticIds;
    use crate::raw::RawEvent;
    use std::sync::Arc;

    #[test]
    fn a_record_of_any_schema() {
        let codec = Codec::new(Arc::new(StaticIds::new()));
        let event = RawEvent {
            source: "s".into(),
            tenant: "default".into(),
            format: None,
            content_type: None,
            sensor: Some("fw".into()),
            transport: "http".into(),
            received_from: None,
            received_at: Timestamp(1_767_323_045_000_000),
            file: None,
            file_offset: Some(7),
            dedup_key: None,
            index: 0,
            payload: b"\xff{".to_vec(),
        };
        let bytes = codec.encode(&event).unwrap();
        let (name, value) = codec.to_json(&bytes).unwrap();
        assert!(name.ends_with("RawEvent"), "{name}");
        assert_eq!(value["format"], Value::Null);
        assert_eq!(value["sensor"], "fw");
        assert_eq!(value["file_offset"], 7);
        assert_eq!(value["payload"], "/3s=");
        assert_eq!(value["received_at"], "2026-01-02T03:04:05.000000Z");
    }

    #[test]
    fn what_people_have_changed_goes_the_same_way_back() {
        let codec = Codec::new(Arc::new(StaticIds::new()));
        let value: Value = serde_json::from_str(include_str!("../../examples/atio.ack/full.json")).unwrap();
        let bytes = codec.edited("atio.ack", &value).unwrap();
        assert_eq!(codec.editable(&bytes).unwrap(), ("atio.ack", value.clone()));
        let mut wrong = value.clone();
        wrong["coment"] = "x".into();
        let error = codec.edited("atio.ack", &wrong).unwrap_err();
        assert!(error.to_string().contains("no field `coment`"), "{error}");
        wrong["action"] = 7.into();
        assert_eq!(codec.edited("atio.ack", &wrong).unwrap_err().code().as_str(), "encode_failed");
        assert_eq!(codec.edited("atio.none", &value).unwrap_err().code().as_str(), "unknown_schema");
    }

    #[test]
    fn what_is_no_record_is_refused() {
        let codec = Codec::new(Arc::new(StaticIds::new()));
        let ack = r#"{"ack_id":"1","incident_id":"i","action":"comment","actor":"a","sent_at":"2026-01-02T03:04:05Z"}"#;
        let bytes = codec.edited("atio.ack", &serde_json::from_str(ack).unwrap()).unwrap();
        assert_eq!(codec.to_json(b"{}").unwrap_err().code().as_str(), "not_avro");
        assert_eq!(codec.to_json(&[0, 0, 0, 9, 9, 1]).unwrap_err().code().as_str(), "unknown_schema");
        assert_eq!(codec.to_json(&bytes[..bytes.len() / 2]).unwrap_err().code().as_str(), "decode_failed");
    }
}

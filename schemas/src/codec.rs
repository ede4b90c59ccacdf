//! Avro in the Confluent wire format: magic byte 0, schema id (big-endian i32), datum. Owns encoding and decoding; must not know where ids
//! come from (a [`SchemaIds`] is passed in).
use crate::Code;
use apache_avro::{
    Schema,
    reader::datum::GenericDatumReader,
    schema::{RecordSchema, ResolvedSchema},
    writer::datum::GenericDatumWriter,
};
use serde::{Serialize, de::DeserializeOwned};
use std::collections::HashMap;
use std::sync::{
    Arc, LazyLock, PoisonError, RwLock,
    atomic::{AtomicUsize, Ordering},
};

pub mod bytes;
mod guard;
mod json;
mod private_ids;
mod read;
mod records;
mod static_ids;
mod write;

pub use private_ids::PrivateIds;
pub use records::SUBJECTS;
pub use static_ids::StaticIds;

/// Length of the head: magic byte and schema id.
pub const HEAD: usize = 5;
/// The longest record that is read or written, head included. Above the 16 MiB of a raw event, with room for its envelope.
pub const MAX_RECORD: usize = 24 * 1024 * 1024;

/// A record type that has a subject of its own.
pub trait Record: Serialize + DeserializeOwned {
    /// `atio.<record>`.
    const SUBJECT: &'static str;
    /// The newest schema, as JSON text (`schemas/avro/<subject>.v<N>.avsc`).
    const SCHEMA: &'static str;
}

/// Schema ids by subject and schemas by id, from memory. Whoever implements it fetches ahead (see stream): these never block.
pub trait SchemaIds: Send + Sync {
    /// The id under which this subject's newest schema of ours is registered.
    fn id_of(&self, subject: &str) -> Option<i32>;
    /// The parsed writer's schema of an id seen on the wire.
    fn schema_of(&self, id: i32) -> Option<Arc<Schema>>;
}

/// Why a record can't be written or read.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    #[error("not Avro in the Confluent wire format: no magic byte and schema id")]
    NotAvro,
    #[error("schema id {0} is not known")]
    UnknownSchema(i32),
    #[error("schema id {id} is of {found}, not of {expected}")]
    WrongSchema { id: i32, expected: &'static str, found: String },
    #[error("schema id {0} is recursive, nested too deep, or has list items without a length")]
    UnsafeSchema(i32),
    #[error("cannot be read as {subject}: {reason}")]
    DecodeFailed { subject: &'static str, reason: String },
    #[error("subject {0} has no registered schema")]
    Unregistered(String),
    #[error("cannot be written as {subject}: {reason}")]
    EncodeFailed { subject: &'static str, reason: String },
    #[error("lists and maps of the record have more than {} items", guard::MAX_ITEMS)]
    TooMany,
    #[error("record of {0} bytes is above {MAX_RECORD}")]
    TooLarge(usize),
}

impl CodecError {
    /// The bounded reason code.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::NotAvro => Code::NotAvro,
            Self::UnknownSchema(_) | Self::Unregistered(_) => Code::UnknownSchema,
            Self::WrongSchema { .. } | Self::UnsafeSchema(_) => Code::WrongSchema,
            Self::DecodeFailed { .. } => Code::DecodeFailed,
            Self::EncodeFailed { .. } => Code::EncodeFailed,
            Self::TooMany => Code::TooMany,
            Self::TooLarge(_) => Code::TooLarge,
        }
    }
}

/// The schema id of a record in the Confluent wire format; null where the bytes are none.
#[must_use]
pub fn schema_id(bytes: &[u8]) -> Option<i32> {
    match bytes {
        [0, a, b, c, d, ..] => Some(i32::from_be_bytes([*a, *b, *c, *d])),
        _ => None,
    }
}

/// One of our subjects: its parsed schema, with the general writer of its datum.
struct Own {
    subject: &'static str,
    name: &'static str,
    resolved: ResolvedSchema<'static>,
    schema: &'static Schema,
    writer: GenericDatumWriter<'static>,
    /// How long the last record was, at most 64 KiB: what the next one is given room for.
    typical: AtomicUsize,
}

/// The constants of [`SUBJECTS`], parsed once. (A schema of ours that does not parse is missing here; the tests hold that none is.)
static PARSED: LazyLock<Vec<(&'static str, Schema)>> = LazyLock::new(|| {
    apache_avro::util::max_allocation_bytes(MAX_RECORD);
    SUBJECTS.iter().filter_map(|(subject, text)| Some((*subject, Schema::parse_str(text).ok()?))).collect()
});

static OWN: LazyLock<HashMap<&'static str, Own>> = LazyLock::new(|| {
    PARSED.iter().filter_map(|(subject, schema)| Some((*subject, own(subject, schema)?))).collect()
});

/// Reads a schema of somebody else's. The library makes a canonical form of some schemas while it reads them, and ends in a panic where a
/// number of theirs is out of range (`"size": 18446744073709551615`): that is an answer here, not an end.
///
/// # Errors
/// Why it is no Avro schema.
pub fn parse_schema(text: &str) -> Result<Schema, String> {
    let read = std::panic::catch_unwind(|| Schema::parse_str(text));
    read.map_err(|_| "a number in it is out of range".to_owned())?.map_err(|e| e.to_string())
}

fn own(subject: &'static str, schema: &'static Schema) -> Option<Own> {
    let resolved = ResolvedSchema::try_from(schema).ok()?;
    let writer = GenericDatumWriter::builder(schema).human_readable(false).build().ok()?;
    let name = record(schema)?.name.name();
    Some(Own { subject, name, resolved, schema, writer, typical: AtomicUsize::new(512) })
}

fn record(schema: &Schema) -> Option<&RecordSchema> {
    if let Schema::Record(record) = schema { Some(record) } else { None }
}

/// How a schema id relates to one of our subjects.
#[derive(Clone)]
enum Path {
    /// The writer's schema is ours: straight into the type.
    Same,
    /// Another version of ours: through resolution.
    Resolve(Arc<Schema>),
}

/// Writes and reads records. Cheap to clone; clones share what they have learnt about ids.
#[derive(Clone)]
pub struct Codec {
    ids: Arc<dyn SchemaIds>,
    paths: Arc<RwLock<HashMap<(i32, &'static str), Path>>>,
}

impl Codec {
    #[must_use]
    pub fn new(ids: Arc<dyn SchemaIds>) -> Self {
        Self { ids, paths: Arc::default() }
    }

    /// Head and datum of a record.
    ///
    /// # Errors
    /// `unknown_schema` when the subject has no id yet; `too_large`; `encode_failed` when the value does not fit the schema.
    pub fn encode<R: Record>(&self, value: &R) -> Result<Vec<u8>, CodecError> {
        self.framed::<R>(|out| write::write(value, out))
    }

    /// The datum of a record that [`Self::decode`] takes, where it was written with our own schema: it can stand in another record as it is.
    #[must_use]
    pub fn own_datum<'b, R: Record>(&self, bytes: &'b [u8]) -> Option<&'b [u8]> {
        let path = self.path(schema_id(bytes)?, own_of::<R>().ok()?);
        if matches!(path, Ok(Path::Same)) { bytes.get(HEAD..) } else { None }
    }

    /// As [`Self::encode`], of a record with two fields whose second is there as a datum already (see [`Self::own_datum`]).
    ///
    /// # Errors
    /// As [`Self::encode`].
    pub fn encode_with<R: Record>(
        &self,
        first: &impl Serialize,
        second: &[u8],
    ) -> Result<Vec<u8>, CodecError> {
        self.framed::<R>(|out| {
            write::write(first, out)?;
            out.extend_from_slice(second);
            Ok(())
        })
    }

    fn framed<R: Record>(
        &self,
        datum: impl FnOnce(&mut Vec<u8>) -> Result<(), write::Failed>,
    ) -> Result<Vec<u8>, CodecError> {
        let own = own_of::<R>()?;
        let id = self.ids.id_of(R::SUBJECT).ok_or_else(|| CodecError::Unregistered(R::SUBJECT.to_owned()))?;
        let mut out = Vec::with_capacity(own.typical.load(Ordering::Relaxed) + 256);
        out.push(0);
        out.extend_from_slice(&id.to_be_bytes());
        let failed = |e: write::Failed| CodecError::EncodeFailed { subject: R::SUBJECT, reason: e.0 };
        datum(&mut out).map_err(failed)?;
        if out.len() > MAX_RECORD {
            return Err(CodecError::TooLarge(out.len()));
        }
        own.typical.store(out.len().min(64 << 10), Ordering::Relaxed);
        Ok(out)
    }

    /// Reads a record, written with our schema or with another version of it.
    ///
    /// # Errors
    /// `not_avro`, `unknown_schema`, `wrong_schema`, `too_large`, `too_many`, and `decode_failed`, also for bytes left over.
    pub fn decode<R: Record>(&self, bytes: &[u8]) -> Result<R, CodecError> {
        let id = schema_id(bytes).ok_or(CodecError::NotAvro)?;
        if bytes.len() > MAX_RECORD {
            return Err(CodecError::TooLarge(bytes.len()));
        }
        let own = own_of::<R>()?;
        let datum = &bytes[HEAD..];
        let subject = R::SUBJECT;
        let (writer, mut datum) = match self.path(id, own)? {
            Path::Same => {
                return read::read(datum).map_err(|refused| match refused {
                    read::Refused::TooMany => CodecError::TooMany,
                    read::Refused::Failed(reason) => CodecError::DecodeFailed { subject, reason },
                });
            }
            Path::Resolve(writer) => (writer, datum),
        };
        let names = ResolvedSchema::try_from(&*writer).map_err(|e| failed(own, &e))?;
        if !guard::is_countable(&writer, names.get_names(), datum) {
            return Err(CodecError::TooMany);
        }
        let value = resolve(own, &writer, &mut datum)?;
        if datum.is_empty() {
            Ok(value)
        } else {
            let reason = format!("{} bytes are left over", datum.len());
            Err(CodecError::DecodeFailed { subject, reason })
        }
    }

    fn path(&self, id: i32, own: &'static Own) -> Result<Path, CodecError> {
        let key = (id, own.subject);
        if let Some(path) = self.paths.read().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(path.clone());
        }
        let writer = self.ids.schema_of(id).ok_or(CodecError::UnknownSchema(id))?;
        let found = record(&writer).map_or_else(|| "no record".to_owned(), |r| r.name.to_string());
        if record(own.schema).is_none_or(|r| r.name.to_string() != found) {
            return Err(CodecError::WrongSchema { id, expected: own.name, found });
        }
        let path = if *writer == *own.schema {
            Path::Same
        } else if guard::is_safe(&writer) {
            Path::Resolve(writer)
        } else {
            return Err(CodecError::UnsafeSchema(id));
        };
        self.paths.write().unwrap_or_else(PoisonError::into_inner).insert(key, path.clone());
        Ok(path)
    }
}

fn own_of<R: Record>() -> Result<&'static Own, CodecError> {
    OWN.get(R::SUBJECT).ok_or_else(|| CodecError::Unregistered(R::SUBJECT.to_owned()))
}

fn failed(own: &Own, error: &apache_avro::Error) -> CodecError {
    CodecError::DecodeFailed { subject: own.subject, reason: error.to_string() }
}

/// Brings a datum of another version into our schema, then reads it as ours. Slow; only for what older or newer versions wrote.
fn resolve<R: Record>(own: &'static Own, writer: &Schema, datum: &mut &[u8]) -> Result<R, CodecError> {
    let value = GenericDatumReader::builder(writer)
        .reader_schema(own.schema)
        .resolved_reader_schemata(own.resolved.clone())
        .human_readable(false)
        .build()
        .and_then(|reader| reader.read_value(datum))
        .and_then(|value| own.writer.write_value_to_vec(value))
        .map_err(|e| failed(own, &e))?;
    read::read(&value).map_err(|_| CodecError::DecodeFailed {
        subject: own.subject,
        reason: "another version's record does not fit the type".to_owned(),
    })
}

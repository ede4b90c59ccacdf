//! A detection as Avro, by position: the same bytes as the general encoder's, without looking each field up in the schema by its name.
//!
//! Owns the binary encoding (Avro 1.12, "Binary Encoding") of what a detection is made of. Relies on three properties of `atio.detection`,
//! which a test holds by comparing both encoders: fields stand in the struct's order, unions are `[null, T]`, enums have the variants' order.
use atio_schemas::{Codec, CodecError, Detection, Record};
use serde::{Serialize, ser};
use std::fmt;

/// Head and datum.
///
/// # Errors
/// As [`Codec::encode`].
pub(crate) fn encode(codec: &Codec, detection: &Detection) -> Result<Vec<u8>, CodecError> {
    let mut out = Vec::with_capacity(1024 + detection.bundle.len());
    out.extend_from_slice(&codec.head::<Detection>()?);
    let failed = |e: Failed| CodecError::EncodeFailed { subject: Detection::SUBJECT, reason: e.0 };
    detection.serialize(&mut Datum(&mut out)).map_err(failed)?;
    if out.len() > atio_schemas::codec::MAX_RECORD { Err(CodecError::TooLarge(out.len())) } else { Ok(out) }
}

/// What a detection never holds.
#[derive(Debug)]
struct Failed(String);

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl std::error::Error for Failed {}
impl ser::Error for Failed {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

fn unexpected<T>(what: &str) -> Result<T, Failed> {
    Err(Failed(format!("{what} has no place in a detection")))
}

struct Datum<'o>(&'o mut Vec<u8>);

impl Datum<'_> {
    /// Zig-zag, seven bits a byte.
    fn long(&mut self, value: i64) {
        let mut rest = (value.cast_unsigned() << 1) ^ (value >> 63).cast_unsigned();
        while rest > 0x7f {
            self.0.push((rest & 0x7f) as u8 | 0x80);
            rest >>= 7;
        }
        self.0.push(rest as u8);
    }

    fn bytes(&mut self, value: &[u8]) -> Result<(), Failed> {
        self.long(i64::try_from(value.len()).map_err(ser::Error::custom)?);
        self.0.extend_from_slice(value);
        Ok(())
    }
}

impl<'a, 'o> ser::Serializer for &'a mut Datum<'o> {
    type Ok = ();
    type Error = Failed;
    type SerializeSeq = Items<'a, 'o>;
    type SerializeStruct = Self;
    type SerializeTuple = ser::Impossible<(), Failed>;
    type SerializeTupleStruct = ser::Impossible<(), Failed>;
    type SerializeTupleVariant = ser::Impossible<(), Failed>;
    type SerializeMap = ser::Impossible<(), Failed>;
    type SerializeStructVariant = ser::Impossible<(), Failed>;

    fn is_human_readable(&self) -> bool {
        false
    }
    fn serialize_bool(self, v: bool) -> Result<(), Failed> {
        self.0.push(u8::from(v));
        Ok(())
    }
    fn serialize_i32(self, v: i32) -> Result<(), Failed> {
        self.long(i64::from(v));
        Ok(())
    }
    fn serialize_i64(self, v: i64) -> Result<(), Failed> {
        self.long(v);
        Ok(())
    }
    fn serialize_f64(self, v: f64) -> Result<(), Failed> {
        self.0.extend_from_slice(&v.to_le_bytes());
        Ok(())
    }
    fn serialize_str(self, v: &str) -> Result<(), Failed> {
        self.bytes(v.as_bytes())
    }
    fn serialize_bytes(self, v: &[u8]) -> Result<(), Failed> {
        self.bytes(v)
    }
    fn serialize_none(self) -> Result<(), Failed> {
        self.0.push(0);
        Ok(())
    }
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Failed> {
        self.0.push(2);
        value.serialize(self)
    }
    fn serialize_unit_variant(self, _: &'static str, index: u32, _: &'static str) -> Result<(), Failed> {
        self.long(i64::from(index));
        Ok(())
    }
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Failed> {
        value.serialize(self)
    }
    /// One block with all items, then the end.
    fn serialize_seq(self, len: Option<usize>) -> Result<Items<'a, 'o>, Failed> {
        let Some(len) = len else { return unexpected("a list of unknown length") };
        if len > 0 {
            self.long(i64::try_from(len).map_err(ser::Error::custom)?);
        }
        Ok(Items(self))
    }
    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, Failed> {
        Ok(self)
    }

    fn serialize_i8(self, _: i8) -> Result<(), Failed> {
        unexpected("i8")
    }
    fn serialize_i16(self, _: i16) -> Result<(), Failed> {
        unexpected("i16")
    }
    fn serialize_u8(self, _: u8) -> Result<(), Failed> {
        unexpected("u8")
    }
    fn serialize_u16(self, _: u16) -> Result<(), Failed> {
        unexpected("u16")
    }
    fn serialize_u32(self, _: u32) -> Result<(), Failed> {
        unexpected("u32")
    }
    fn serialize_u64(self, _: u64) -> Result<(), Failed> {
        unexpected("u64")
    }
    fn serialize_f32(self, _: f32) -> Result<(), Failed> {
        unexpected("f32")
    }
    fn serialize_char(self, _: char) -> Result<(), Failed> {
        unexpected("char")
    }
    fn serialize_unit(self) -> Result<(), Failed> {
        unexpected("unit")
    }
    fn serialize_unit_struct(self, name: &'static str) -> Result<(), Failed> {
        unexpected(name)
    }
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<(), Failed> {
        unexpected(name)
    }
    fn serialize_tuple(self, _: usize) -> Result<Self::SerializeTuple, Failed> {
        unexpected("a tuple")
    }
    fn serialize_tuple_struct(
        self,
        name: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleStruct, Failed> {
        unexpected(name)
    }
    fn serialize_tuple_variant(
        self,
        name: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, Failed> {
        unexpected(name)
    }
    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, Failed> {
        unexpected("a map")
    }
    fn serialize_struct_variant(
        self,
        name: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, Failed> {
        unexpected(name)
    }
}

impl ser::SerializeStruct for &mut Datum<'_> {
    type Ok = ();
    type Error = Failed;
    fn serialize_field<T: Serialize + ?Sized>(&mut self, _: &'static str, value: &T) -> Result<(), Failed> {
        value.serialize(&mut **self)
    }
    fn end(self) -> Result<(), Failed> {
        Ok(())
    }
}

struct Items<'a, 'o>(&'a mut Datum<'o>);

impl ser::SerializeSeq for Items<'_, '_> {
    type Ok = ();
    type Error = Failed;
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Failed> {
        value.serialize(&mut *self.0)
    }
    fn end(self) -> Result<(), Failed> {
        self.0.0.push(0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use atio_schemas::codec::StaticIds;
    use std::path::Path;
    use std::sync::Arc;

    /// The examples of the schema, full and minimal, and every nullable column by itself.
    fn examples() -> Vec<Detection> {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schemas/examples/atio.detection");
        let read = |entry: std::fs::DirEntry| std::fs::read(entry.path()).unwrap();
        let texts: Vec<Vec<u8>> = std::fs::read_dir(dir).unwrap().map(|entry| read(entry.unwrap())).collect();
        let mut found: Vec<Detection> =
            texts.iter().map(|text| serde_json::from_slice(text).unwrap()).collect();
        let full = found.iter().max_by_key(|d| serde_json::to_string(d).unwrap().len()).unwrap().clone();
        let serde_json::Value::Object(columns) = serde_json::to_value(&full).unwrap() else {
            panic!("an object")
        };
        for name in columns.keys() {
            let mut without = columns.clone();
            let empty =
                if columns[name].is_array() { serde_json::json!([]) } else { serde_json::Value::Null };
            without.insert(name.clone(), empty);
            let text = serde_json::to_string(&without).unwrap();
            found.extend(serde_json::from_str::<Detection>(&text).ok());
        }
        assert!(found.len() > 60, "{}", found.len());
        found
    }

    #[test]
    fn the_bytes_are_the_general_encoders() {
        let codec = Codec::new(Arc::new(StaticIds::new()));
        for detection in examples() {
            let expected = codec.encode(&detection).unwrap();
            assert_eq!(encode(&codec, &detection).unwrap(), expected);
            assert_eq!(codec.decode::<Detection>(&expected).unwrap(), detection);
        }
    }

    #[test]
    fn every_value_of_the_enums_and_long_numbers() {
        use atio_schemas::detection::{
            AssetResolvedBy, Criticality, Decision, Disposition, Exposure, Kind, Status, Tlp, Zone,
        };
        let codec = Codec::new(Arc::new(StaticIds::new()));
        for index in 0..8 {
            let mut d = Detection::new("e".to_owned(), Kind::ALL[index % Kind::ALL.len()], "t", "s");
            d.tlp = Tlp::ALL[index % Tlp::ALL.len()];
            d.zone = Zone::ALL[index % Zone::ALL.len()];
            d.status = Status::ALL.get(index).copied();
            d.decision = Decision::ALL.get(index).copied();
            d.disposition = Disposition::ALL.get(index).copied();
            d.criticality = Criticality::ALL.get(index).copied();
            d.exposure = Exposure::ALL.get(index).copied();
            d.asset_resolved_by = AssetResolvedBy::ALL.get(index).copied();
            d.count = Some([0, -1, 63, 64, -65, i64::MAX, i64::MIN, 1 << 40][index]);
            d.severity_id = Some([0, -1, 63, 64, -65, i32::MAX, i32::MIN, 1 << 20][index]);
            assert_eq!(encode(&codec, &d).unwrap(), codec.encode(&d).unwrap());
        }
    }
}

//! PURE: protobuf bodies as objects, by the schema and the numbers of its fields.
//!
//! `numbers.txt` is made by `cargo run -p xtask -- protobuf`. Go's encoder writes the zero of every scalar that is not
//! behind a pointer: those are absent in JSON. Source: k8s.io/apimachinery `runtime/serializer/protobuf`.

use std::collections::HashMap;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf, Bytes};
use jiff::Timestamp;
use prost::encoding::{WireType, decode_key, decode_varint};
use serde_json::{Map, Value};

use crate::schema::{Shape, named};

/// What every body begins with.
const MAGIC: &[u8] = b"k8s\0";
/// Messages within messages at most.
const DEPTH_MAX: u32 = 64;

/// Why a body cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unreadable(String);

fn unreadable(why: impl Into<String>) -> Unreadable {
    Unreadable(why.into())
}

/// A field's name, and whether its zero is a value.
struct Numbered {
    name: String,
    pointer: bool,
}

/// Fields of a type by their path of numbers.
type Numbers = HashMap<Vec<u32>, Numbered>;

static NUMBERS: LazyLock<HashMap<&'static str, Numbers>> = LazyLock::new(|| {
    let field = |word: &str| {
        let (path, name) = word.split_once(':')?;
        let path = path.split('.').map(str::parse).collect::<Result<Vec<u32>, _>>().ok()?;
        let pointer = name.ends_with('*');
        Some((path, Numbered { name: name.trim_end_matches('*').to_owned(), pointer }))
    };
    let line = |line: &'static str| {
        let (name, words) = line.split_once(' ')?;
        Some((name, words.split(' ').filter_map(field).collect()))
    };
    include_str!("numbers.txt").lines().filter_map(line).collect()
});

/// The fields of a type in the order of their numbers, which is mostly that of Go's structs.
pub(super) fn declared(name: &str) -> Vec<&'static str> {
    let mut fields: Vec<(&Vec<u32>, &str)> =
        NUMBERS.get(name).into_iter().flatten().map(|(path, field)| (path, field.name.as_str())).collect();
    fields.sort_unstable();
    fields.into_iter().map(|(_, name)| name).collect()
}

/// What an enveloped body says that it is, and the message in it.
#[derive(Debug, Default)]
pub struct Envelope {
    /// `apiVersion`
    pub api_version: String,
    /// `kind`
    pub kind: String,
    raw: Bytes,
}

/// Opens the envelope of a body.
///
/// # Errors
/// When the bytes are none, as Kubernetes says it.
pub fn open(body: &Bytes) -> Result<Envelope, Unreadable> {
    let mut bytes = body.clone();
    if bytes.is_empty() {
        return Err(unreadable("empty data"));
    }
    if !bytes.starts_with(MAGIC) {
        let prefix: Vec<String> = MAGIC.iter().map(u8::to_string).collect();
        return Err(unreadable(format!(
            "provided data does not appear to be a protobuf message, expected prefix [{}]",
            prefix.join(" ")
        )));
    }
    bytes.advance(MAGIC.len());
    let mut envelope = Envelope::default();
    each(bytes, |number, field| {
        match (number, field) {
            (1, Wire::Bytes(meta)) => each(meta, |number, field| {
                match (number, field) {
                    (1, Wire::Bytes(word)) => envelope.api_version = text(&word)?,
                    (2, Wire::Bytes(word)) => envelope.kind = text(&word)?,
                    _ => {}
                }
                Ok(())
            })?,
            (2, Wire::Bytes(bytes)) => envelope.raw = bytes,
            _ => {}
        }
        Ok(())
    })?;
    Ok(envelope)
}

impl Envelope {
    /// The message, as an object of the type with this name.
    ///
    /// # Errors
    /// When it holds something of another shape than the schema says.
    pub fn object(self, type_name: &str) -> Result<Map<String, Value>, Unreadable> {
        message(type_name, self.raw, DEPTH_MAX)
    }
}

/// The object in an enveloped body; `type_of` finds the type's name by `apiVersion` and `kind`.
///
/// # Errors
/// When the bytes are no such envelope, or hold something of another shape than the schema says.
pub fn decode(body: &Bytes, type_of: impl Fn(&str, &str) -> Option<String>) -> Result<Value, Unreadable> {
    let envelope = open(body)?;
    let (api_version, kind) = (envelope.api_version.clone(), envelope.kind.clone());
    let name = type_of(&api_version, &kind)
        .ok_or_else(|| unreadable(format!("no kind {kind:?} is registered for version {api_version:?}")))?;
    let mut object = envelope.object(&name)?;
    object.insert("apiVersion".to_owned(), api_version.into());
    object.insert("kind".to_owned(), kind.into());
    Ok(object.into())
}

/// A field as it lies on the wire.
enum Wire {
    Number(u64),
    Bytes(Bytes),
}

fn each(mut rest: Bytes, mut found: impl FnMut(u32, Wire) -> Result<(), Unreadable>) -> Result<(), Unreadable> {
    let wrong = |error: prost::DecodeError| unreadable(error.to_string());
    while rest.has_remaining() {
        let (number, kind) = decode_key(&mut rest).map_err(wrong)?;
        let field = match kind {
            WireType::Varint => Wire::Number(decode_varint(&mut rest).map_err(wrong)?),
            WireType::SixtyFourBit if rest.remaining() >= 8 => Wire::Number(rest.get_u64_le()),
            WireType::ThirtyTwoBit if rest.remaining() >= 4 => Wire::Number(u64::from(rest.get_u32_le())),
            WireType::LengthDelimited => {
                let length = decode_varint(&mut rest).map_err(wrong)?;
                let length = usize::try_from(length).ok().filter(|length| *length <= rest.remaining());
                Wire::Bytes(rest.split_to(length.ok_or_else(|| unreadable("a field is cut short"))?))
            }
            _ => return Err(unreadable("a field is cut short")),
        };
        found(number, field)?;
    }
    Ok(())
}

fn text(bytes: &Bytes) -> Result<String, Unreadable> {
    String::from_utf8(bytes.to_vec()).map_err(|error| unreadable(error.to_string()))
}

fn message(name: &str, bytes: Bytes, depth: u32) -> Result<Map<String, Value>, Unreadable> {
    let mut object = Map::new();
    let numbers = NUMBERS.get(name).ok_or_else(|| unreadable(format!("{name} has no numbers")))?;
    fields(name, numbers, &mut Vec::new(), bytes, &mut object, depth)?;
    Ok(object)
}

/// Fields below a path of numbers; those that the schema does not know are skipped.
fn fields(
    name: &str,
    numbers: &Numbers,
    path: &mut Vec<u32>,
    bytes: Bytes,
    object: &mut Map<String, Value>,
    depth: u32,
) -> Result<(), Unreadable> {
    let depth = depth.checked_sub(1).ok_or_else(|| unreadable("too many messages within messages"))?;
    each(bytes, |number, wire| {
        path.push(number);
        let done = match (numbers.get(path.as_slice()), wire) {
            (Some(field), wire) => place(name, field, wire, object, depth),
            // A struct that JSON inlines.
            (None, Wire::Bytes(bytes))
                if numbers.keys().any(|held| held.len() > path.len() && held.starts_with(path)) =>
            {
                fields(name, numbers, path, bytes, object, depth)
            }
            (None, _) => Ok(()),
        };
        path.pop();
        done
    })
}

fn place(
    owner: &str,
    field: &Numbered,
    wire: Wire,
    object: &mut Map<String, Value>,
    depth: u32,
) -> Result<(), Unreadable> {
    let Some(known) = named(owner).and_then(|owner| owner.fields.get(&field.name)) else { return Ok(()) };
    match &known.shape {
        Shape::List(item) => {
            let items = object.entry(field.name.clone()).or_insert_with(|| Vec::<Value>::new().into());
            let items = items.as_array_mut().ok_or_else(|| unreadable("a list and something else"))?;
            match (&**item, wire) {
                // Packed numbers.
                (Shape::Integer, Wire::Bytes(mut packed)) => {
                    while packed.has_remaining() {
                        let number = decode_varint(&mut packed).map_err(|error| unreadable(error.to_string()))?;
                        items.push(number.cast_signed().into());
                    }
                }
                (item, wire) => items.push(value(item, wire, depth)?),
            }
        }
        Shape::Map(inner) => {
            let Wire::Bytes(entry) = wire else { return Err(unreadable("a map entry is no message")) };
            let (mut key, mut held) = (String::new(), empty(inner));
            each(entry, |number, wire| {
                match (number, wire) {
                    (1, Wire::Bytes(word)) => key = text(&word)?,
                    (2, wire) => held = value(inner, wire, depth)?,
                    _ => {}
                }
                Ok(())
            })?;
            let map = object.entry(field.name.clone()).or_insert_with(|| Map::new().into());
            map.as_object_mut().ok_or_else(|| unreadable("a map and something else"))?.insert(key, held);
        }
        shape => {
            let held = value(shape, wire, depth)?;
            let zero = held == "" || held == 0 || held == 0.0 || held == false || held.is_null();
            if field.pointer || !zero {
                object.insert(field.name.clone(), held);
            }
        }
    }
    Ok(())
}

fn empty(shape: &Shape) -> Value {
    match shape {
        Shape::Integer | Shape::Number => 0.into(),
        Shape::Boolean => false.into(),
        Shape::List(_) => Vec::<Value>::new().into(),
        Shape::Object(_) | Shape::Map(_) => Map::new().into(),
        Shape::String(_) | Shape::IntOrString | Shape::Any => "".into(),
    }
}

fn value(shape: &Shape, wire: Wire, depth: u32) -> Result<Value, Unreadable> {
    Ok(match (shape, wire) {
        (Shape::Integer, Wire::Number(number)) => number.cast_signed().into(),
        (Shape::Boolean, Wire::Number(number)) => (number != 0).into(),
        (Shape::Number, Wire::Number(bits)) => f64::from_bits(bits).into(),
        (Shape::String(format), Wire::Bytes(bytes)) => match format.as_str() {
            "byte" => STANDARD.encode(&bytes).into(),
            "quantity" => only(bytes, 1)?,
            "date-time" => time(bytes)?,
            _ => text(&bytes)?.into(),
        },
        (Shape::IntOrString, Wire::Bytes(bytes)) => {
            let (mut is_text, mut number, mut word) = (false, 0, String::new());
            each(bytes, |tag, wire| {
                match (tag, wire) {
                    (1, Wire::Number(kind)) => is_text = kind == 1,
                    (2, Wire::Number(held)) => number = held.cast_signed(),
                    (3, Wire::Bytes(held)) => word = text(&held)?,
                    _ => {}
                }
                Ok(())
            })?;
            if is_text { word.into() } else { number.into() }
        }
        (Shape::Object(name), Wire::Bytes(bytes)) => message(name, bytes, depth)?.into(),
        // Raw JSON, as in managed fields.
        (Shape::Any, Wire::Bytes(bytes)) => match only(bytes, 1)? {
            Value::String(raw) => serde_json::from_str(&raw).unwrap_or(Value::Null),
            other => other,
        },
        // A list within a map is a message of its own.
        (Shape::List(item), Wire::Bytes(bytes)) => {
            let mut items = Vec::new();
            each(bytes, |_, wire| {
                items.push(value(item, wire, depth)?);
                Ok(())
            })?;
            items.into()
        }
        _ => return Err(unreadable("a field is of another shape than its type says")),
    })
}

/// The text that a message consists of.
fn only(bytes: Bytes, wanted: u32) -> Result<Value, Unreadable> {
    let mut found = Value::Null;
    each(bytes, |number, wire| {
        if let (true, Wire::Bytes(word)) = (number == wanted, wire) {
            found = text(&word)?.into();
        }
        Ok(())
    })?;
    Ok(found)
}

/// A time with its fraction where it has one; the zero time is absent.
fn time(bytes: Bytes) -> Result<Value, Unreadable> {
    let (mut seconds, mut nanos) = (0, 0);
    each(bytes, |number, wire| {
        match (number, wire) {
            (1, Wire::Number(held)) => seconds = held.cast_signed(),
            (2, Wire::Number(held)) => nanos = i32::try_from(held).unwrap_or(0),
            _ => {}
        }
        Ok(())
    })?;
    if seconds == 0 && nanos == 0 {
        return Ok(Value::Null);
    }
    let time = Timestamp::new(seconds, nanos).map_err(|error| unreadable(error.to_string()))?;
    Ok(if nanos == 0 { time.strftime("%Y-%m-%dT%H:%M:%SZ") } else { time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ") }
        .to_string()
        .into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kind;

    /// A field with bytes in it.
    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2, u8::try_from(bytes.len()).expect("short")], bytes].concat()
    }

    fn body(api_version: &str, kind: &str, raw: &[u8]) -> Bytes {
        let meta = [field(1, api_version.as_bytes()), field(2, kind.as_bytes())].concat();
        [MAGIC.to_vec(), field(1, &meta), field(2, raw)].concat().into()
    }

    fn read(body: &Bytes) -> Result<Value, Unreadable> {
        decode(body, |api_version, name| Some((kind::named(api_version, name)?.type_name)().into_owned()))
    }

    #[test]
    fn a_config_map_is_read() {
        let metadata = [field(1, b"x"), field(3, b""), field(8, b"")].concat();
        let data = [field(1, b"k"), field(2, b"v")].concat();
        let raw =
            [field(1, &metadata), field(2, &data), field(3, &[field(1, b"b"), field(2, &[0, 1])].concat())].concat();
        let wanted = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "x" }, "data": { "k": "v" }, "binaryData": { "b": "AAE=" } });
        assert_eq!(read(&body("v1", "ConfigMap", &raw)), Ok(wanted));
    }

    #[test]
    fn inlined_structs_and_zeros_behind_pointers() {
        // A volume: its source is inlined. Replicas of zero are a wish; paused of false is none.
        let volume = [field(1, b"v"), field(2, &field(2, b""))].concat();
        let pod = field(2, &field(1, &volume));
        assert_eq!(
            read(&body("v1", "Pod", &pod)).expect("reads")["spec"],
            json!({ "volumes": [{ "name": "v", "emptyDir": {} }] })
        );
        let spec = [&[1 << 3, 0][..], &[7 << 3, 0]].concat();
        let deployment = field(2, &spec);
        assert_eq!(read(&body("apps/v1", "Deployment", &deployment)).expect("reads")["spec"], json!({ "replicas": 0 }));
    }

    #[test]
    fn what_is_cut_or_foreign_is_refused() {
        let whole = body("v1", "ConfigMap", &field(1, &field(1, b"x")));
        for length in 0..whole.len() {
            let _ = read(&whole.slice(..length));
        }
        assert!(read(&whole.slice(..whole.len() - 1)).is_err() && read(&Bytes::from_static(b"{}")).is_err());
        assert!(read(&body("v1", "Nothing", b"")).is_err());
        let why = "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]";
        assert_eq!(read(&Bytes::from_static(b"{}")), Err(Unreadable(why.to_owned())));
    }
}

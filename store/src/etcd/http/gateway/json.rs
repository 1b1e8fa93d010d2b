//! PURE: messages as JSON and back, by their description.
//!
//! Source: the JSON mapping of proto3, as grpc-gateway's `JSONPb` with `UseProtoNames` and `DiscardUnknown` applies it.

use std::sync::OnceLock;

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use prost_reflect::{
    DescriptorPool, DeserializeOptions, DynamicMessage, MessageDescriptor, MethodDescriptor, SerializeOptions,
};

/// A message on the wire of gRPC: a flag, its length, itself.
pub(super) const HEAD_BYTES: usize = 5;

/// What is known of a method of etcd's.
pub(super) fn method(service: &str, name: &str) -> Option<MethodDescriptor> {
    static POOL: OnceLock<DescriptorPool> = OnceLock::new();
    let pool = POOL.get_or_init(|| DescriptorPool::decode(proto::DESCRIPTORS).unwrap_or_default());
    pool.get_service_by_name(service)?.methods().find(|method| method.name() == name)
}

/// What was found at the beginning of a body.
#[derive(Debug, PartialEq)]
pub(super) enum Found {
    /// A message, in gRPC's frame, and how many bytes of JSON it was.
    Message(Bytes, usize),
    /// Nothing but space, so far.
    Nothing,
    /// Half a message, so far.
    Half,
}

/// Finds where the first object of a body ends, looking at each byte once however the body is cut.
#[derive(Debug, Default)]
pub(super) struct Scan {
    at: usize,
    depth: usize,
    /// Within a string, and perhaps behind a backslash.
    string: bool,
    escaped: bool,
}

impl Scan {
    /// Goes on where it was; whether the object is whole, or what is there is none.
    pub(super) fn whole(&mut self, body: &[u8]) -> bool {
        while let Some(byte) = body.get(self.at) {
            self.at += 1;
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.string => self.escaped = true,
                b'"' if self.string => self.string = false,
                _ if self.string => {}
                b'{' | b'[' => self.depth += 1,
                b'"' if self.depth > 0 => self.string = true,
                b'}' | b']' if self.depth > 1 => self.depth -= 1,
                b'}' | b']' => return true,
                _ if self.depth == 0 && !byte.is_ascii_whitespace() => return true,
                _ => {}
            }
        }
        false
    }
}

/// Reads the first message of a body; unknown fields are left out.
///
/// # Errors
/// When it is no JSON, or a field has a wrong value; in etcd's words where they are simple.
pub(super) fn read(kind: &MessageDescriptor, body: &[u8]) -> Result<Found, String> {
    let Some(first) = body.iter().find(|byte| !byte.is_ascii_whitespace()) else { return Ok(Found::Nothing) };
    if !matches!(first, b'{' | b'[' | b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n') {
        return Err(format!("invalid character {:?} looking for beginning of value", char::from(*first)));
    }
    let options = DeserializeOptions::new().deny_unknown_fields(false);
    let mut values = serde_json::Deserializer::from_slice(body).into_iter::<&serde_json::value::RawValue>();
    let value = match values.next() {
        Some(Ok(value)) => value,
        Some(Err(error)) if error.is_eof() => return Ok(Found::Half),
        Some(Err(error)) => return Err(error.to_string()),
        None => return Ok(Found::Nothing),
    };
    let mut json = serde_json::Deserializer::from_str(value.get());
    let message = DynamicMessage::deserialize_with_options(kind.clone(), &mut json, &options);
    let message = message.map_err(|error| format!("proto: {error}"))?;
    Ok(Found::Message(frame(&message), values.byte_offset()))
}

/// A message of which nothing was said.
pub(super) fn empty(kind: &MessageDescriptor) -> Bytes {
    frame(&DynamicMessage::new(kind.clone()))
}

fn frame(message: &DynamicMessage) -> Bytes {
    let length = message.encoded_len();
    let mut out = BytesMut::with_capacity(HEAD_BYTES + length);
    out.put_u8(0);
    out.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    // Room was made for all of it.
    let _ = message.encode(&mut out);
    out.freeze()
}

/// Takes the first message off what has arrived, without its frame; none when it is not whole yet.
pub(super) fn unframe(arrived: &mut BytesMut) -> Option<Bytes> {
    let head = arrived.get(..HEAD_BYTES)?;
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
    if arrived.len() < HEAD_BYTES + length {
        return None;
    }
    let mut framed = arrived.split_to(HEAD_BYTES + length);
    Some(framed.split_off(HEAD_BYTES).freeze())
}

/// Writes a message as JSON.
///
/// # Errors
/// When the bytes are no such message.
pub(super) fn write(kind: &MessageDescriptor, message: Bytes) -> Result<Vec<u8>, String> {
    let message = DynamicMessage::decode(kind.clone(), message).map_err(|error| error.to_string())?;
    let options = SerializeOptions::new().use_proto_field_name(true);
    let mut out = serde_json::Serializer::new(Vec::new());
    message.serialize_with_options(&mut out, &options).map_err(|error| error.to_string())?;
    Ok(out.into_inner())
}

/// An error as grpc-gateway writes it.
pub(super) fn error(code: i32, message: &str) -> String {
    serde_json::json!({ "code": code, "message": message }).to_string()
}

/// The HTTP status of a code of gRPC.
///
/// Source: grpc-gateway `runtime/errors.go` (`HTTPStatusFromCode`).
pub(super) fn http_status(code: i32) -> u16 {
    match code {
        0 => 200,
        1 => 499,
        3 | 9 | 11 => 400,
        4 => 504,
        5 => 404,
        6 | 10 => 409,
        7 => 403,
        8 => 429,
        12 => 501,
        14 => 503,
        16 => 401,
        _ => 500,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through(service: &str, name: &str, json: &str) -> Result<String, String> {
        let kind = method(service, name).expect("described").input();
        match read(&kind, json.as_bytes())? {
            Found::Message(framed, _) => {
                let mut arrived = BytesMut::from(&framed[..]);
                let message = unframe(&mut arrived).expect("whole");
                write(&kind, message).map(|json| String::from_utf8(json).expect("text"))
            }
            other => Err(format!("{other:?}")),
        }
    }

    #[test]
    fn names_numbers_bytes_and_enums_are_read_in_every_form_and_written_in_one() {
        let json = r#" {"key":"YQ==","rangeEnd":"_-8","limit":5,"revision":"7","sort_order":"DESCEND","sortTarget":2,
            "serializable":true,"unknown":{"x":[1]}} trailing"#;
        let written = through("etcdserverpb.KV", "Range", json).expect("read");
        let wanted = concat!(
            r#"{"key":"YQ==","range_end":"/+8=","limit":"5","revision":"7","sort_order":"DESCEND","#,
            r#""sort_target":"CREATE","serializable":true}"#
        );
        assert_eq!(written, wanted);
        let txn = r#"{"compare":[{"target":"VALUE","key":"YQ==","value":"Yg=="}],"success":[{"requestRange":{"key":"YQ=="}}]}"#;
        let written = through("etcdserverpb.KV", "Txn", txn).expect("read");
        assert!(written.contains(r#""success":[{"request_range":{"key":"YQ=="}}]"#), "{written}");
        assert_eq!(through("etcdserverpb.KV", "Range", r#"{"sort_order":"FOO","key":null}"#).expect("read"), "{}");
        assert_eq!(
            through("etcdserverpb.Lease", "LeaseGrant", r#"{"TTL":"10","ID":5}"#).expect("read"),
            r#"{"TTL":"10","ID":"5"}"#
        );
    }

    #[test]
    fn the_end_of_an_object_is_found_however_it_is_cut() {
        for (body, end) in [
            (r#" {"a":{"b":[1,{}]}}{"c":1}"#, Some(19)),
            (r#"{"a":"}\"}\\"} "#, Some(14)),
            (r#"{"a":"}"#, None),
            ("\n ", None),
            (r#"[[{"#, None),
            ("x", Some(1)),
            (r#""text"#, Some(1)),
            ("}", Some(1)),
        ] {
            let mut scan = Scan::default();
            let found = (1..=body.len()).find(|length| scan.whole(&body.as_bytes()[..*length]));
            assert_eq!(found, end, "{body}");
            assert_eq!(Scan::default().whole(body.as_bytes()), end.is_some(), "{body}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (json, why) in [
            ("x", "invalid character 'x' looking for beginning of value"),
            ("[]", "proto: "),
            ("\"a\"", "proto: "),
            (r#"{"key":"!!"}"#, "proto: "),
            (r#"{"key":5}"#, "proto: "),
            (r#"{"limit":"x"}"#, "proto: "),
            (r#"{"limit":1.5}"#, "proto: "),
            (r#"{"serializable":"true"}"#, "proto: "),
            (r#"{"key" "a"}"#, "expected"),
        ] {
            let said = through("etcdserverpb.KV", "Range", json).expect_err(json);
            assert!(said.starts_with(why), "{json}: {said}");
        }
        let kind = method("etcdserverpb.KV", "Range").expect("described").input();
        assert_eq!(read(&kind, b" \n"), Ok(Found::Nothing));
        assert_eq!(read(&kind, b"{\"key\":"), Ok(Found::Half));
        let deep = [b"[".repeat(100_000), b"]".repeat(100_000)].concat();
        assert!(read(&kind, &deep).is_err(), "depth is bounded");
    }

    #[test]
    fn bodies_of_any_bytes_are_messages_or_refused() {
        let kinds = [
            ("KV", "Range"),
            ("KV", "Txn"),
            ("Watch", "Watch"),
            ("Lease", "LeaseGrant"),
            ("Auth", "RoleGrantPermission"),
        ];
        let kinds =
            kinds.map(|(service, name)| method(&format!("etcdserverpb.{service}"), name).expect("described").input());
        let seeds = [
            r#"0{"key":"YQ==","range_end":"AA==","limit":"5","sort_order":"DESCEND","serializable":true}"#,
            r#"1{"compare":[{"target":"VALUE","result":2,"key":"YQ==","value":"Yg=="}],"success":[{"requestPut":{"key":"YQ=="}}]}"#,
            r#"2{"createRequest":{"key":"YQ==","filters":["NOPUT",1],"startRevision":-1}} {"cancelRequest":{"watchId":"1"}}"#,
            r#"3{"TTL":1e2,"ID":"9223372036854775807","x":[null,{"y":"\u00e9\ud83d\ude00"}]}"#,
            r#"4{"name":"r","perm":{"permType":"READWRITE","key":"YQ","rangeEnd":"_-8="}}"#,
        ];
        let seeds = seeds.iter().map(|seed| seed.as_bytes().to_vec()).collect();
        crate::fuzz::bear("gateway-json", seeds, |bytes| {
            let Some((first, body)) = bytes.split_first() else { return String::new() };
            let kind = &kinds[usize::from(first % 5)];
            let found = read(kind, body);
            if let Ok(Found::Message(framed, length)) = &found {
                assert!(*length <= body.len());
                assert!(Scan::default().whole(&body[..*length]), "what is a message is whole");
                let message = unframe(&mut BytesMut::from(&framed[..])).expect("whole");
                let written = write(kind, message).expect("what was read is written");
                let again = read(kind, &written).expect("and read again");
                assert_eq!(again, Found::Message(framed.clone(), written.len()));
            }
            match found {
                Ok(Found::Message(framed, _)) => format!("a message, {}", framed.len() > HEAD_BYTES),
                other => format!("{other:?}"),
            }
        });
    }
}

//! PURE: the forms of names and other short texts: each check returns what is wrong, nothing when all is well.
//!
//! Source: k8s.io/apimachinery `pkg/util/validation/{validation,ip}.go`, `pkg/api/validate/content`,
//! `pkg/api/validation/path/name.go`; the texts are those that clients of a Kubernetes API server know.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A check of a text's form: what is wrong with it.
pub type Check = fn(&str) -> Vec<String>;

const LABEL: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const SUBDOMAIN: &str = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const LABEL_KEY: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const NAME: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and \
                    must start and end with an alphanumeric character";
/// The longest DNS label, bytes.
pub const LABEL_MAX: usize = 63;
/// The longest DNS name, bytes.
pub const SUBDOMAIN_MAX: usize = 253;

/// `must be no more than 63 characters`.
pub fn too_long(max: usize) -> String {
    format!("must be no more than {max} characters")
}

fn bytes_too_long(max: usize) -> String {
    format!("must be no more than {max} bytes")
}

/// What is said of a text that does not fit an expression.
fn unlike(what: &str, expression: &str, examples: &[&str]) -> String {
    let mut text = format!("{what} (");
    for (at, example) in examples.iter().enumerate() {
        text.push_str(if at == 0 { "e.g. " } else { " or " });
        text.push_str(&format!("'{example}', "));
    }
    text.push_str(&format!("regex used for validation is '{expression}')"));
    text
}

/// Letters and digits at both ends, in between also what `inner` takes.
fn framed(text: &str, ends: fn(u8) -> bool, inner: fn(u8) -> bool) -> bool {
    let bytes = text.as_bytes();
    match bytes {
        [] => false,
        [first, .., last] => ends(*first) && ends(*last) && bytes.iter().all(|byte| ends(*byte) || inner(*byte)),
        [only] => ends(*only),
    }
}

fn lower_alphanumeric(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

fn is_label(text: &str) -> bool {
    framed(text, lower_alphanumeric, |byte| byte == b'-')
}

fn is_subdomain(text: &str) -> bool {
    text.split('.').all(is_label)
}

fn is_label_key(text: &str) -> bool {
    framed(text, |byte| byte.is_ascii_alphanumeric(), |byte| matches!(byte, b'-' | b'_' | b'.'))
}

fn length(text: &str, max: usize) -> Vec<String> {
    if text.len() > max { vec![too_long(max)] } else { Vec::new() }
}

/// A DNS label: `my-name`, `123-abc`.
pub fn dns1123_label(text: &str) -> Vec<String> {
    let mut wrong = length(text, LABEL_MAX);
    if !is_label(text) {
        wrong.push(if is_subdomain(text) {
            "must not contain dots".to_owned()
        } else {
            let what = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must \
                        start and end with an alphanumeric character";
            unlike(what, LABEL, &["my-name", "123-abc"])
        });
    }
    wrong
}

/// A DNS name: `example.com`.
pub fn dns1123_subdomain(text: &str) -> Vec<String> {
    let mut wrong = length(text, SUBDOMAIN_MAX);
    if !is_subdomain(text) {
        wrong.push(unlike(NAME, SUBDOMAIN, &["example.com"]));
    }
    wrong
}

/// A DNS name whose labels may hold and start with underscores.
pub fn dns1123_subdomain_with_underscore(text: &str) -> Vec<String> {
    let mut wrong = length(text, SUBDOMAIN_MAX);
    let fits = |label: &str| {
        let label = label.strip_prefix('_').unwrap_or(label);
        framed(label, lower_alphanumeric, |byte| matches!(byte, b'-' | b'_'))
    };
    if !text.split('.').all(fits) {
        let what = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', \
                    and must start and end with an alphanumeric character";
        let expression = r"_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*";
        wrong.push(unlike(what, expression, &["example.com"]));
    }
    wrong
}

/// A DNS name below a wildcard: `*.example.com`.
pub fn wildcard_dns1123_subdomain(text: &str) -> Vec<String> {
    let mut wrong = length(text, SUBDOMAIN_MAX);
    if !text.strip_prefix("*.").is_some_and(is_subdomain) {
        let what = "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must \
                    consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character";
        wrong.push(unlike(what, &format!(r"\*\.{SUBDOMAIN}"), &["*.example.com"]));
    }
    wrong
}

/// A DNS label that starts with a letter: `my-name`, `abc-123`.
pub fn dns1035_label(text: &str) -> Vec<String> {
    let mut wrong = length(text, LABEL_MAX);
    if !(is_label(text) && text.starts_with(|first: char| first.is_ascii_lowercase())) {
        let what = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic \
                    character, and end with an alphanumeric character";
        wrong.push(unlike(what, "[a-z]([-a-z0-9]*[a-z0-9])?", &["my-name", "abc-123"]));
    }
    wrong
}

/// The key of a label: `MyName`, `example.com/MyName`.
pub fn qualified_name(text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let what = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric \
                character";
    let form = unlike(what, LABEL_KEY, &["MyName", "my.name", "123-abc"]);
    let name = match text.split('/').collect::<Vec<_>>().as_slice() {
        [name] => *name,
        [prefix, name] => {
            if prefix.is_empty() {
                wrong.push("prefix part must be non-empty".to_owned());
            } else if prefix.len() > SUBDOMAIN_MAX {
                wrong.push(format!("prefix part {}", bytes_too_long(SUBDOMAIN_MAX)));
            }
            if !prefix.is_empty() && !is_subdomain(prefix) {
                wrong.push(format!("prefix part {}", unlike(NAME, SUBDOMAIN, &["example.com"])));
            }
            *name
        }
        _ => {
            let prefix = "with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')";
            return vec![format!("a valid label key {form} {prefix}")];
        }
    };
    if name.is_empty() {
        wrong.push("name part must be non-empty".to_owned());
    } else if name.len() > LABEL_MAX {
        wrong.push(format!("name part {}", bytes_too_long(LABEL_MAX)));
    }
    if !is_label_key(name) {
        wrong.push(format!("name part {form}"));
    }
    wrong
}

/// The value of a label; may be empty.
pub fn label_value(text: &str) -> Vec<String> {
    let mut wrong = if text.len() > LABEL_MAX { vec![bytes_too_long(LABEL_MAX)] } else { Vec::new() };
    if !(text.is_empty() || is_label_key(text)) {
        let what = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and \
                    must start and end with an alphanumeric character";
        wrong.push(unlike(what, &format!("({LABEL_KEY})?"), &["MyValue", "my_value", "12345"]));
    }
    wrong
}

/// A number within bounds.
pub fn in_range(number: i64, low: i64, high: i64) -> Vec<String> {
    if (low..=high).contains(&number) {
        return Vec::new();
    }
    vec![format!("must be between {low} and {high}, inclusive")]
}

/// A port that can be reached.
pub fn port_number(number: i64) -> Vec<String> {
    in_range(number, 1, 65535)
}

/// The name of a port as IANA has it: `http`, `web-1`.
pub fn port_name(text: &str) -> Vec<String> {
    let mut wrong = length(text, 15);
    if text.is_empty() || !text.bytes().all(|byte| lower_alphanumeric(byte) || byte == b'-') {
        wrong.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned());
    }
    if !text.bytes().any(|byte| byte.is_ascii_lowercase()) {
        wrong.push("must contain at least one letter (a-z)".to_owned());
    }
    if text.contains("--") {
        wrong.push("must not contain consecutive hyphens".to_owned());
    }
    if text.starts_with('-') || text.ends_with('-') {
        wrong.push("must not begin or end with a hyphen".to_owned());
    }
    wrong
}

/// `10%`.
pub fn percent(text: &str) -> Vec<String> {
    let number = text.strip_suffix('%').unwrap_or_default();
    if !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) {
        return Vec::new();
    }
    let what = "a valid percent string must be a numeric string followed by an ending '%'";
    vec![unlike(what, "[0-9]+%", &["1%", "93%"])]
}

/// The name of an environment variable: printable ASCII without `=`.
pub fn env_var_name(text: &str) -> Vec<String> {
    if text.is_empty() {
        return vec!["environment variable name must be non-empty".to_owned()];
    }
    if text.bytes().all(|byte| (b' '..=b'~').contains(&byte) && byte != b'=') {
        return Vec::new();
    }
    let what = "a valid environment variable name must consist only of printable ASCII characters other than '='";
    vec![what.to_owned()]
}

/// An identifier of C: `my_name`.
pub fn c_identifier(text: &str) -> Vec<String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if text.bytes().all(fits) && text.starts_with(|first: char| !first.is_ascii_digit()) {
        return Vec::new();
    }
    let what = "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric \
                characters or '_'";
    vec![unlike(what, "[A-Za-z_][A-Za-z0-9_]*", &["my_name", "MY_NAME", "MyName"])]
}

/// A key of a ConfigMap or Secret: the name of a file that stays where it belongs.
pub fn config_map_key(text: &str) -> Vec<String> {
    let mut wrong = length(text, SUBDOMAIN_MAX);
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    if text.is_empty() || !text.bytes().all(fits) {
        let what = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'";
        wrong.push(unlike(what, "[-._a-zA-Z0-9]+", &["key.name", "KEY_NAME", "key-name"]));
    }
    match text {
        "." => wrong.push("must not be '.'".to_owned()),
        ".." => wrong.push("must not be '..'".to_owned()),
        _ if text.starts_with("..") => wrong.push("must not start with '..'".to_owned()),
        _ => {}
    }
    wrong
}

/// The name of a header: `X-Header-Name`.
pub fn http_header_name(text: &str) -> Vec<String> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return Vec::new();
    }
    let what = "a valid HTTP header must consist of alphanumeric characters or '-'";
    vec![unlike(what, "[-A-Za-z0-9]+", &["X-Header-Name"])]
}

/// A name that fits into the path of a URL as it stands: what kinds with free names ask for.
pub fn path_segment(text: &str) -> Vec<String> {
    if matches!(text, "." | "..") {
        return vec![format!("may not be '{text}'")];
    }
    path_segment_prefix(text)
}

/// The same for the beginning of a name.
pub fn path_segment_prefix(text: &str) -> Vec<String> {
    ["/", "%"].iter().filter(|part| text.contains(**part)).map(|part| format!("may not contain '{part}'")).collect()
}

/// An absolute path of a file, without steps back.
pub fn absolute_path(text: &str) -> Vec<String> {
    if text.starts_with('/') { no_backsteps(text) } else { vec!["must be an absolute path".to_owned()] }
}

/// A path of a file that never leads upwards.
pub fn no_backsteps(text: &str) -> Vec<String> {
    if text.split('/').any(|part| part == "..") { vec!["must not contain '..'".to_owned()] } else { Vec::new() }
}

/// Reads an address as Kubernetes always did: digits may have zeros before them.
fn sloppy_ip(text: &str) -> Option<IpAddr> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address);
    }
    let octet = |part: &str| {
        let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        let value = part.trim_start_matches('0');
        if !digits || value.len() > 3 {
            return None;
        }
        if value.is_empty() { Some(0) } else { value.parse::<u8>().ok() }
    };
    let parts: Vec<&str> = text.split('.').collect();
    let [a, b, c, d] = parts.as_slice() else { return None };
    Some(IpAddr::V4(Ipv4Addr::new(octet(a)?, octet(b)?, octet(c)?, octet(d)?)))
}

/// An address: `10.9.8.7`, `2001:db8::ffff`.
pub fn ip(text: &str) -> Vec<String> {
    match text.parse::<IpAddr>() {
        Ok(IpAddr::V6(address)) if address.to_ipv4_mapped().is_some() => {
            vec!["must not be an IPv4-mapped IPv6 address".to_owned()]
        }
        Ok(_) => Vec::new(),
        Err(_) if sloppy_ip(text).is_some() => vec!["must not have leading 0s".to_owned()],
        Err(_) => vec!["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)".to_owned()],
    }
}

/// A range of addresses: `10.9.8.0/24`, `2001:db8::/64`.
pub fn cidr(text: &str) -> Vec<String> {
    let wrong = vec!["must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)".to_owned()];
    let Some((base, bits)) = text.split_once('/') else { return wrong };
    let (Some(address), true) = (sloppy_ip(base), !bits.is_empty() && bits.bytes().all(|byte| byte.is_ascii_digit()))
    else {
        return wrong;
    };
    let width = if address.is_ipv4() { 32 } else { 128 };
    let Some(length) = bits.parse::<u32>().ok().filter(|length| *length <= width) else { return wrong };
    if base.parse::<IpAddr>().is_err() || (bits.len() > 1 && bits.starts_with('0')) {
        return vec!["must not have leading 0s in IP or prefix length".to_owned()];
    }
    let beyond = match address {
        IpAddr::V4(address) => u32::from(address).checked_shl(length).unwrap_or(0) != 0,
        IpAddr::V6(address) if address.to_ipv4_mapped().is_some() => {
            return vec!["must not have an IPv4-mapped IPv6 address".to_owned()];
        }
        IpAddr::V6(address) => u128::from(address).checked_shl(length).unwrap_or(0) != 0,
    };
    if beyond { vec!["must not have bits set beyond the prefix length".to_owned()] } else { Vec::new() }
}

/// The address of an endpoint: one that other machines can mean.
pub fn endpoint_ip(text: &str) -> Vec<String> {
    let Some(address) = sloppy_ip(text) else { return vec!["must be a valid IP address".to_owned()] };
    let address = address.to_canonical();
    let link_local = |v6: Ipv6Addr| (v6.segments()[0] & 0xffc0) == 0xfe80;
    let link_local_multicast = match address {
        IpAddr::V4(v4) => v4.octets()[..3] == [224, 0, 0],
        IpAddr::V6(v6) => (v6.segments()[0] & 0xff0f) == 0xff02,
    };
    let mut wrong = Vec::new();
    for (holds, why) in [
        (address.is_unspecified(), format!("may not be unspecified ({text})")),
        (address.is_loopback(), "may not be in the loopback range (127.0.0.0/8, ::1/128)".to_owned()),
        (
            match address {
                IpAddr::V4(v4) => v4.is_link_local(),
                IpAddr::V6(v6) => link_local(v6),
            },
            "may not be in the link-local range (169.254.0.0/16, fe80::/10)".to_owned(),
        ),
        (link_local_multicast, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)".to_owned()),
    ] {
        if holds {
            wrong.push(why);
        }
    }
    wrong
}

#[cfg(test)]
mod tests;

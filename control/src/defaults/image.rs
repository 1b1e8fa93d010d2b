//! References of images, as far as the pull policy depends on them.
//!
//! Source: k8s.io/kubernetes `pkg/util/parsers`, github.com/distribution/reference `reference.go`, `regexp.go`.

/// A name at most, bytes.
const NAME_BYTES_MAX: usize = 255;
/// A tag at most, bytes.
const TAG_BYTES_MAX: usize = 128;

/// When an image is pulled that nobody said it of: always for what may change under its name.
pub(super) fn pull_policy(reference: &str) -> &'static str {
    if tag(reference) == Some("latest") { "Always" } else { "IfNotPresent" }
}

/// The tag of a reference, `latest` when it names neither tag nor digest; none when it is no reference.
fn tag(reference: &str) -> Option<&str> {
    let (rest, digest) = match reference.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (reference, None),
    };
    let begin = rest.rfind('/').map_or(0, |at| at + 1);
    let (name, tag) = match rest[begin..].split_once(':') {
        Some((_, tag)) => (&rest[..rest.len() - tag.len() - 1], Some(tag)),
        None => (rest, None),
    };
    let fits = is_name(name) && tag.is_none_or(is_tag) && digest.is_none_or(is_digest);
    if !fits {
        return None;
    }
    match (tag, digest) {
        (None, None) => Some("latest"),
        (tag, _) => Some(tag.unwrap_or_default()),
    }
}

fn is_name(name: &str) -> bool {
    let (first, rest) = name.split_once('/').unwrap_or(("", name));
    let domain =
        first.contains(['.', ':']) || first == "localhost" || first.bytes().any(|byte| byte.is_ascii_uppercase());
    let (domain, path) = if domain { (first, rest) } else { ("", name) };
    let identifier = path.len() == 64 && path.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    (domain.is_empty() || is_domain(domain))
        && path.split('/').all(is_component)
        && !(identifier && domain.is_empty())
        && name.len() <= NAME_BYTES_MAX
}

fn is_domain(domain: &str) -> bool {
    let (host, port) = domain.rsplit_once(':').map_or((domain, None), |(host, port)| (host, Some(port)));
    let part = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    let address = host.starts_with('[') && host.ends_with(']');
    (address || host.split('.').all(part))
        && port.is_none_or(|port| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Letters and digits, with single separators between them: `.`, `_`, `__`, dashes.
fn is_component(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    let ends = bytes.first().is_some_and(|byte| word(*byte)) && bytes.last().is_some_and(|byte| word(*byte));
    ends && text
        .split(|letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit())
        .all(|between| matches!(between, "" | "." | "_" | "__") || between.bytes().all(|byte| byte == b'-'))
}

fn is_tag(tag: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    tag.len() <= TAG_BYTES_MAX
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|byte| word(byte) || matches!(byte, b'.' | b'-'))
}

fn is_digest(digest: &str) -> bool {
    digest.split_once(':').is_some_and(|(algorithm, hex)| {
        algorithm.starts_with(|letter: char| letter.is_ascii_alphabetic())
            && hex.len() >= 32
            && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies() {
        let digest = format!("nginx@sha256:{}", "a".repeat(64));
        for (image, wanted) in [
            ("nginx", "Always"),
            ("nginx:latest", "Always"),
            ("nginx:1", "IfNotPresent"),
            ("example.com:5000/a/b", "Always"),
            ("example.com:5000/a/b:v1", "IfNotPresent"),
            ("localhost/a_b__c--d.e", "Always"),
            (digest.as_str(), "IfNotPresent"),
            ("", "IfNotPresent"),
            ("NGINX", "IfNotPresent"),
            ("a b", "IfNotPresent"),
            ("a..b", "IfNotPresent"),
            ("nginx:", "IfNotPresent"),
        ] {
            assert_eq!(pull_policy(image), wanted, "{image}");
        }
    }
}

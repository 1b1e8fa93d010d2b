//! PURE: base64 as Go reads it: line breaks do not count, and an error says where it is.
//!
//! Source: Go's `encoding/base64/base64.go`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};

/// Bits after the last byte need not be zero.
const LENIENT: GeneralPurpose =
    GeneralPurpose::new(&base64::alphabet::STANDARD, GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true));

/// The bytes of a text.
///
/// # Errors
/// The place of the first byte that may not be there.
pub fn decode(text: &str) -> Result<Vec<u8>, usize> {
    if let Ok(bytes) = STANDARD.decode(text) {
        return Ok(bytes);
    }
    check(text.as_bytes())?;
    let dense: String = text.chars().filter(|letter| !matches!(letter, '\r' | '\n')).collect();
    LENIENT.decode(dense).map_err(|_| text.len())
}

/// The bytes of a text in the alphabet of addresses, without padding (`base64.RawURLEncoding`).
///
/// # Errors
/// The place of the first byte that may not be there.
pub fn decode_url(text: &str) -> Result<Vec<u8>, usize> {
    const RAW: GeneralPurpose = GeneralPurpose::new(
        &base64::alphabet::URL_SAFE,
        GeneralPurposeConfig::new()
            .with_decode_allow_trailing_bits(true)
            .with_decode_padding_mode(base64::engine::DecodePaddingMode::RequireNone),
    );
    let (mut dense, mut last) = (String::with_capacity(text.len()), 0);
    for (at, letter) in text.char_indices().filter(|(_, letter)| !matches!(letter, '\r' | '\n')) {
        if !letter.is_ascii_alphanumeric() && !matches!(letter, '-' | '_') {
            return Err(at);
        }
        last = at;
        dense.push(letter);
    }
    RAW.decode(dense).map_err(|_| last)
}

fn check(text: &[u8]) -> Result<(), usize> {
    let at = |at: usize| text.get(at).copied();
    let skip = |mut from: usize| {
        while matches!(at(from), Some(b'\r' | b'\n')) {
            from += 1;
        }
        from
    };
    let (mut place, mut held) = (0, 0);
    loop {
        place = skip(place);
        match at(place) {
            None if held == 0 => return Ok(()),
            None => return Err(text.len() - held),
            Some(b'=') if held < 2 => return Err(place),
            Some(b'=') => {
                let mut end = place + 1;
                if held == 2 {
                    end = skip(end);
                    match at(end) {
                        Some(b'=') => end += 1,
                        Some(_) => return Err(end - 1),
                        None => return Err(text.len()),
                    }
                }
                end = skip(end);
                return if end < text.len() { Err(end) } else { Ok(()) };
            }
            Some(byte) if byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/') => {
                held = (held + 1) % 4;
                place += 1;
            }
            Some(_) => return Err(place),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        for (text, wanted) in [
            ("dQ==", Ok("u")),
            ("d\nQ=\r\n=", Ok("u")),
            ("dR==", Ok("u")),
            ("", Ok("")),
            ("not base64!", Err(3)),
            ("dQ", Err(0)),
            ("dQ=", Err(3)),
            ("d===", Err(1)),
            ("dQ==x", Err(4)),
        ] {
            assert_eq!(decode(text), wanted.map(|text| text.as_bytes().to_vec()), "{text:?}");
        }
        for (text, wanted) in [("dQ", Ok("u")), ("dR", Ok("u")), ("d", Err(0)), ("dQ==", Err(2)), ("dQ+", Err(2))] {
            assert_eq!(decode_url(text), wanted.map(|text| text.as_bytes().to_vec()), "{text:?}");
        }
    }
}

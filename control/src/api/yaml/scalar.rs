//! PURE: how a text is written: as it is, quoted, or line by line.
//!
//! Source: go.yaml.in/yaml/v2 `resolve.go`, and `yaml_emitter_analyze_scalar` of `emitterc.go`.

use super::{WIDTH, Writer};

/// What a text allows.
struct Analysis {
    plain: bool,
    single: bool,
    block: bool,
}

pub(super) fn write(writer: &mut Writer, text: &str, indent: usize, key: bool) {
    let analysis = analyze(text);
    if text.contains('\n') {
        if analysis.block && !key { literal(writer, text, indent) } else { double(writer, text, indent, !key) }
    } else if means_something_else(text) {
        double(writer, text, indent, !key);
    } else if analysis.plain {
        plain(writer, text, indent, !key);
    } else if analysis.single {
        single(writer, text, indent, !key);
    } else {
        double(writer, text, indent, !key);
    }
}

/// Whether a reader would take the unquoted text for a number, a truth, a time or nothing.
fn means_something_else(text: &str) -> bool {
    const WORDS: [&str; 32] = [
        "", "~", "null", "Null", "NULL", "y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON", "n",
        "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF", ".nan", ".NaN", ".NAN", ".inf", ".Inf",
    ];
    if WORDS.contains(&text) || text == ".INF" {
        return true;
    }
    match text.as_bytes()[0] {
        b'.' => float(text),
        b'+' | b'-' | b'0'..=b'9' => {
            let bare = text.trim_start_matches(['+', '-']);
            let digits = text.replace('_', "");
            [".inf", ".Inf", ".INF"].contains(&bare)
                || time(text)
                || integer(&digits)
                || float(&digits)
                || base_60(text)
        }
        _ => false,
    }
}

/// As Go's `ParseInt` with base 0 reads it.
fn integer(text: &str) -> bool {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let in_base =
        |rest: &str, base| !rest.is_empty() && u64::from_str_radix(rest, base).is_ok() && !rest.starts_with('+');
    let lower = digits.to_ascii_lowercase();
    match (lower.strip_prefix("0x"), lower.strip_prefix("0b"), lower.strip_prefix("0o"), lower.strip_prefix('0')) {
        (Some(rest), ..) => in_base(rest, 16),
        (_, Some(rest), ..) => in_base(rest, 2),
        (_, _, Some(rest), _) => in_base(rest, 8),
        (_, _, _, Some(rest)) if !rest.is_empty() => in_base(rest, 8),
        _ => in_base(&lower, 10),
    }
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`
fn float(text: &str) -> bool {
    let rest = text.strip_prefix(['+', '-']).unwrap_or(text);
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let whole = digits(rest);
    let rest = &rest[whole..];
    let (fraction, rest) = match rest.strip_prefix('.') {
        Some(rest) => (digits(rest), &rest[digits(rest)..]),
        None => (0, rest),
    };
    if whole + fraction == 0 {
        return false;
    }
    let Some(exponent) = rest.strip_prefix(['e', 'E']) else { return rest.is_empty() };
    let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    !exponent.is_empty() && digits(exponent) == exponent.len()
}

/// `2006-1-2`, and the same with a time of day.
fn time(text: &str) -> bool {
    let bytes = text.as_bytes();
    if bytes.len() < 8 || !bytes[..4].iter().all(u8::is_ascii_digit) || bytes[4] != b'-' {
        return false;
    }
    let number = |text: &str, max: u32| (1..=2).contains(&text.len()) && text.parse::<u32>().is_ok_and(|n| n <= max);
    let (date, clock) = match text.find(['T', 't', ' ']) {
        Some(at) => (&text[5..at], Some((&text[at + 1..], bytes[at] == b' '))),
        None => (&text[5..], None),
    };
    let Some((month, day)) = date.split_once('-') else { return false };
    if !number(month, 12) || !number(day, 31) {
        return false;
    }
    let Some((clock, spaced)) = clock else { return true };
    // Without a zone only after a space, with one only after a `T`.
    let clock = match (spaced, clock.strip_suffix('Z')) {
        (true, None) => clock,
        (false, Some(clock)) => clock,
        (false, None) => {
            let Some(at) = clock.rfind(['+', '-']) else { return false };
            let Some((hours, minutes)) = clock[at + 1..].split_once(':') else { return false };
            if hours.len() != 2 || minutes.len() != 2 || !number(hours, 24) || !number(minutes, 60) {
                return false;
            }
            &clock[..at]
        }
        (true, Some(_)) => return false,
    };
    let mut parts = clock.split(':');
    let (Some(hour), Some(minute), Some(second), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let (second, fraction) = second.split_once('.').unwrap_or((second, "0"));
    number(hour, 23)
        && number(minute, 59)
        && number(second, 59)
        && !fraction.is_empty()
        && fraction.bytes().all(|byte| byte.is_ascii_digit())
}

/// `12:30:45`, which older readers take for a number of base 60.
fn base_60(text: &str) -> bool {
    let rest = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (rest, fraction) = rest.split_once('.').unwrap_or((rest, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let loose = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_');
    let mut parts = rest.split(':');
    let first = parts.next().unwrap_or_default();
    let mut rest = parts.peekable();
    rest.peek().is_some()
        && first.starts_with(|first: char| first.is_ascii_digit())
        && loose(first)
        && loose(fraction)
        && rest.all(|part| (1..=2).contains(&part.len()) && digits(part) && (part.len() == 1 || part < "6"))
}

fn is_break(letter: char) -> bool {
    matches!(letter, '\r' | '\n' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

fn printable(letter: char) -> bool {
    matches!(letter, '\n' | ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}') && letter != '\u{feff}'
}

fn analyze(text: &str) -> Analysis {
    let letters: Vec<char> = text.chars().collect();
    let blank = |at: usize| letters.get(at).is_none_or(|letter| matches!(letter, ' ' | '\t') || is_break(*letter));
    let mut indicators = text.starts_with("---") || text.starts_with("...");
    let (mut special, mut space_break, mut break_space) = (false, false, false);
    for (at, letter) in letters.iter().copied().enumerate() {
        let (first, followed) = (at == 0, blank(at + 1));
        indicators |= match letter {
            ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@' | '`' => first,
            '#' => first || blank(at - 1),
            '?' | '-' => first && followed,
            ':' => followed,
            _ => false,
        };
        special |= !printable(letter);
        if at > 0 {
            space_break |= is_break(letter) && letters[at - 1] == ' ';
            break_space |= letter == ' ' && is_break(letters[at - 1]);
        }
    }
    let edge = |at: usize| letters.get(at).is_some_and(|letter| *letter == ' ' || is_break(*letter));
    let (broken, trailing) = (letters.iter().any(|letter| is_break(*letter)), letters.last() == Some(&' '));
    let framed = !letters.is_empty() && (edge(0) || edge(letters.len() - 1));
    let impossible = special || space_break;
    Analysis {
        plain: !(framed || break_space || impossible || broken || indicators || letters.is_empty()),
        single: !(break_space || impossible),
        block: !(trailing || impossible || letters.is_empty()),
    }
}

pub(super) fn plain(writer: &mut Writer, text: &str, indent: usize, breaks: bool) {
    if !writer.whitespace {
        writer.put(' ');
    }
    folded(writer, text, indent, breaks, false, |_| {});
    writer.whitespace = false;
    writer.indention = false;
}

fn single(writer: &mut Writer, text: &str, indent: usize, breaks: bool) {
    writer.sign("'", true, false);
    folded(writer, text, indent, breaks, true, |writer| writer.put('\''));
    writer.sign("'", false, false);
}

/// Text with its long lines broken at single spaces; quoted text never at its first or last letter.
fn folded(writer: &mut Writer, text: &str, indent: usize, breaks: bool, quoted: bool, quote: fn(&mut Writer)) {
    let letters: Vec<char> = text.chars().collect();
    let mut after_space = false;
    for (at, letter) in letters.iter().copied().enumerate() {
        let next_space = letters.get(at + 1) == Some(&' ');
        let inside = !quoted || (at > 0 && at + 1 < letters.len());
        if letter == ' ' && breaks && !after_space && writer.column > WIDTH && inside && !next_space {
            writer.indention = false;
            writer.indent(indent);
        } else {
            if letter == '\'' {
                quote(writer);
            }
            writer.put(letter);
        }
        after_space = letter == ' ';
        writer.indention = false;
    }
}

fn double(writer: &mut Writer, text: &str, indent: usize, breaks: bool) {
    writer.sign("\"", true, false);
    let letters: Vec<char> = text.chars().collect();
    let mut after_space = false;
    for (at, letter) in letters.iter().copied().enumerate() {
        let space = letter == ' ';
        if !printable(letter) || is_break(letter) || matches!(letter, '"' | '\\') {
            escaped(letter).chars().for_each(|letter| writer.put(letter));
        } else if space && breaks && !after_space && writer.column > WIDTH && at > 0 && at + 1 < letters.len() {
            writer.indention = false;
            writer.indent(indent);
            if letters.get(at + 1) == Some(&' ') {
                writer.put('\\');
            }
        } else {
            writer.put(letter);
        }
        after_space = space;
        writer.indention = false;
    }
    writer.sign("\"", false, false);
}

fn escaped(letter: char) -> String {
    let short = match letter {
        '\0' => '0',
        '\u{7}' => 'a',
        '\u{8}' => 'b',
        '\t' => 't',
        '\n' => 'n',
        '\u{b}' => 'v',
        '\u{c}' => 'f',
        '\r' => 'r',
        '\u{1b}' => 'e',
        '"' => '"',
        '\\' => '\\',
        '\u{85}' => 'N',
        '\u{a0}' => '_',
        '\u{2028}' => 'L',
        '\u{2029}' => 'P',
        other => {
            let number = u32::from(other);
            return match number {
                0..=0xff => format!("\\x{number:02X}"),
                0x100..=0xffff => format!("\\u{number:04X}"),
                _ => format!("\\U{number:08X}"),
            };
        }
    };
    format!("\\{short}")
}

fn literal(writer: &mut Writer, text: &str, indent: usize) {
    writer.sign("|", true, false);
    if text.starts_with(|first| first == ' ' || is_break(first)) {
        writer.put('2');
    }
    let mut end = text.chars().rev();
    match (end.next().is_some_and(is_break), end.next()) {
        (false, _) => writer.put('-'),
        (true, Some(letter)) if !is_break(letter) => {}
        (true, _) => writer.put('+'),
    }
    writer.line_break();
    (writer.indention, writer.whitespace) = (true, true);
    let mut fresh = true;
    for letter in text.chars() {
        if is_break(letter) {
            if letter == '\n' {
                writer.line_break()
            } else {
                writer.put(letter)
            }
            writer.indention = true;
            fresh = true;
        } else {
            if fresh {
                writer.indent(indent);
            }
            writer.put(letter);
            writer.indention = false;
            fresh = false;
        }
    }
}

#[cfg(test)]
mod tests {
    fn written(text: &str) -> String {
        super::super::write(&serde_json::json!({ "k": text }))
    }

    #[test]
    fn what_means_something_else_is_quoted() {
        for text in [
            "",
            "~",
            "null",
            "yes",
            "No",
            "on",
            "true",
            "1",
            "-1",
            "1_000",
            "0x1f",
            "007",
            "1.5",
            "1e3",
            ".5",
            "+.inf",
            "2026-01-02",
            "2026-01-02T03:04:05Z",
            "2026-01-02T03:04:05.123456Z",
            "2026-01-02 03:04:05",
            "1:30",
            "190:20:30.15",
            "08",
        ] {
            assert_eq!(written(text), format!("k: \"{text}\"\n"), "{text}");
        }
        for text in ["1.2.3", "10Gi", "2026-13-01", "a:b", "nothing", "10.0.0.1", "1:60", "0xg", "v1", "+x", "1:99"] {
            assert_eq!(written(text), format!("k: {text}\n"), "{text}");
        }
    }

    #[test]
    fn what_cannot_stand_alone_is_quoted() {
        for text in ["a: b", "- a", "# a", "a #b", "[a", "{a", "*a", " a", "a ", "a:", "@a", "%a", "? a"] {
            assert_eq!(written(text), format!("k: '{text}'\n"), "{text}");
        }
        assert_eq!(written("'a'"), "k: '''a'''\n");
        assert_eq!(written("a\tb\u{7f}"), "k: \"a\\tb\\x7F\"\n");
        assert_eq!(written("ä\u{1f600}"), "k: \"ä\\U0001F600\"\n");
    }

    #[test]
    fn lines_stay_lines() {
        assert_eq!(written("a\nb\n\n"), "k: |+\n  a\n  b\n\n");
        assert_eq!(written(" a\nb"), "k: |2-\n   a\n  b\n");
        assert_eq!(written("a \nb"), "k: \"a \\nb\"\n");
    }
}

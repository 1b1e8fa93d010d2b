//! PURE: JSON as it lies in a body: fields in their order, repeated ones kept, numbers as they are written.
//!
//! A parser of our own since clients are told all of that, and what is wrong with a text, in the words of Go's
//! `encoding/json`. Source: Go's `encoding/json/scanner.go`.

/// Lists and objects within each other at most.
const DEPTH_MAX: usize = 512;

/// A value as it is written.
#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    /// `null`
    Null,
    /// `true`, `false`
    Bool(bool),
    /// Its text.
    Number(String),
    /// Without its escapes.
    Text(String),
    /// In brackets.
    List(Vec<Node>),
    /// In braces, in the order of the text.
    Object(Vec<(String, Node)>),
}

impl Node {
    /// What Go's error texts call it.
    pub fn sort(&self) -> &'static str {
        match self {
            Node::Null => "null",
            Node::Bool(_) => "bool",
            Node::Number(_) => "number",
            Node::Text(_) => "string",
            Node::List(_) => "array",
            Node::Object(_) => "object",
        }
    }
}

/// Reads a text that holds one value.
///
/// # Errors
/// What is wrong with it, as Go says it.
pub fn parse(text: &[u8]) -> Result<Node, String> {
    let mut reader = Reader { text, at: 0, depth: 0 };
    let node = reader.value()?;
    match reader.next_token() {
        None => Ok(node),
        Some(byte) => Err(invalid(byte, "after top-level value")),
    }
}

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
    depth: usize,
}

fn cut() -> String {
    "unexpected end of JSON input".to_owned()
}

fn invalid(byte: u8, place: &str) -> String {
    let shown = match byte {
        b'\'' => "\\'".to_owned(),
        b'"' => "\"".to_owned(),
        b'\\' => "\\\\".to_owned(),
        7 => "\\a".to_owned(),
        8 => "\\b".to_owned(),
        9 => "\\t".to_owned(),
        10 => "\\n".to_owned(),
        11 => "\\v".to_owned(),
        12 => "\\f".to_owned(),
        13 => "\\r".to_owned(),
        0..=31 | 127 => format!("\\x{byte:02x}"),
        128..=160 | 173 => format!("\\u{byte:04x}"),
        other => char::from(other).to_string(),
    };
    format!("invalid character '{shown}' {place}")
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    /// The next byte that is no space, not taken.
    fn next_token(&mut self) -> Option<u8> {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
        self.peek()
    }

    fn value(&mut self) -> Result<Node, String> {
        match self.next_token().ok_or_else(cut)? {
            b'{' => self.nested(Reader::object),
            b'[' => self.nested(Reader::list),
            b'"' => Ok(Node::Text(self.string()?)),
            b't' => self.word("true", Node::Bool(true)),
            b'f' => self.word("false", Node::Bool(false)),
            b'n' => self.word("null", Node::Null),
            b'-' | b'0'..=b'9' => self.number(),
            other => Err(invalid(other, "looking for beginning of value")),
        }
    }

    fn nested(&mut self, read: fn(&mut Self) -> Result<Node, String>) -> Result<Node, String> {
        self.at += 1;
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err("exceeded max depth".to_owned());
        }
        let node = read(self)?;
        self.depth -= 1;
        Ok(node)
    }

    fn object(&mut self) -> Result<Node, String> {
        const KEY: &str = "looking for beginning of object key string";
        let mut fields = Vec::new();
        if self.next_token().ok_or_else(cut)? == b'}' {
            self.at += 1;
            return Ok(Node::Object(fields));
        }
        loop {
            match self.next_token().ok_or_else(cut)? {
                b'"' => {}
                other => return Err(invalid(other, KEY)),
            }
            let name = self.string()?;
            match self.next_token().ok_or_else(cut)? {
                b':' => self.at += 1,
                other => return Err(invalid(other, "after object key")),
            }
            fields.push((name, self.value()?));
            match self.next_token().ok_or_else(cut)? {
                b',' => self.at += 1,
                b'}' => {
                    self.at += 1;
                    return Ok(Node::Object(fields));
                }
                other => return Err(invalid(other, "after object key:value pair")),
            }
        }
    }

    fn list(&mut self) -> Result<Node, String> {
        let mut items = Vec::new();
        if self.next_token().ok_or_else(cut)? == b']' {
            self.at += 1;
            return Ok(Node::List(items));
        }
        loop {
            items.push(self.value()?);
            match self.next_token().ok_or_else(cut)? {
                b',' => self.at += 1,
                b']' => {
                    self.at += 1;
                    return Ok(Node::List(items));
                }
                other => return Err(invalid(other, "after array element")),
            }
        }
    }

    fn word(&mut self, word: &str, node: Node) -> Result<Node, String> {
        for wanted in word.bytes() {
            match self.peek().ok_or_else(cut)? {
                byte if byte == wanted => self.at += 1,
                other => {
                    let place = format!("in literal {word} (expecting '{}')", char::from(wanted));
                    return Err(invalid(other, &place));
                }
            }
        }
        Ok(node)
    }

    fn digits(&mut self, place: &str) -> Result<(), String> {
        match self.peek().ok_or_else(cut)? {
            b'0'..=b'9' => {}
            other => return Err(invalid(other, place)),
        }
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        Ok(())
    }

    fn number(&mut self) -> Result<Node, String> {
        let begin = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits("in numeric literal")?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits("after decimal point in numeric literal")?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits("in exponent of numeric literal")?;
        }
        Ok(Node::Number(String::from_utf8_lossy(&self.text[begin..self.at]).into_owned()))
    }

    fn string(&mut self) -> Result<String, String> {
        self.at += 1;
        let mut bytes = Vec::new();
        loop {
            let begin = self.at;
            while self.peek().is_some_and(|byte| byte >= b' ' && byte != b'"' && byte != b'\\') {
                self.at += 1;
            }
            bytes.extend_from_slice(&self.text[begin..self.at]);
            match self.peek().ok_or_else(cut)? {
                b'"' => {
                    self.at += 1;
                    // Go puts the replacement character where bytes are no UTF-8.
                    return Ok(match String::from_utf8(bytes) {
                        Ok(text) => text,
                        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
                    });
                }
                b'\\' => {
                    let letter = self.escape()?;
                    bytes.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
                }
                other => return Err(invalid(other, "in string literal")),
            }
        }
    }

    fn escape(&mut self) -> Result<char, String> {
        self.at += 1;
        let byte = self.peek().ok_or_else(cut)?;
        self.at += 1;
        Ok(match byte {
            b'"' | b'\\' | b'/' => char::from(byte),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let first = self.hex()?;
                if let Some(letter) = char::from_u32(first) {
                    return Ok(letter);
                }
                // Half of a pair: the other one must follow at once.
                let begin = self.at;
                if first < 0xdc00 && self.text[self.at..].starts_with(b"\\u") {
                    self.at += 2;
                    let second = self.hex()?;
                    if (0xdc00..0xe000).contains(&second) {
                        let letter = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                        return Ok(char::from_u32(letter).unwrap_or(char::REPLACEMENT_CHARACTER));
                    }
                }
                self.at = begin;
                char::REPLACEMENT_CHARACTER
            }
            other => return Err(invalid(other, "in string escape code")),
        })
    }

    fn hex(&mut self) -> Result<u32, String> {
        let mut number = 0;
        for _ in 0..4 {
            let byte = self.peek().ok_or_else(cut)?;
            let digit =
                char::from(byte).to_digit(16).ok_or_else(|| invalid(byte, "in \\u hexadecimal character escape"))?;
            number = number * 16 + digit;
            self.at += 1;
        }
        Ok(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_are_none() {
        for (text, wanted) in [
            ("", "unexpected end of JSON input"),
            ("{", "unexpected end of JSON input"),
            ("a", "invalid character 'a' looking for beginning of value"),
            ("{'a'", "invalid character '\\'' looking for beginning of object key string"),
            ("{\"a\":1,}", "invalid character '}' looking for beginning of object key string"),
            ("[1,]", "invalid character ']' looking for beginning of value"),
            ("{\"a\" 1}", "invalid character '1' after object key"),
            ("{\"a\":01}", "invalid character '1' after object key:value pair"),
            ("[1 2]", "invalid character '2' after array element"),
            ("{} x", "invalid character 'x' after top-level value"),
            ("\"\\q\"", "invalid character 'q' in string escape code"),
            ("\"\\u12g4\"", "invalid character 'g' in \\u hexadecimal character escape"),
            ("\"\n\"", "invalid character '\\n' in string literal"),
            ("tru3", "invalid character '3' in literal true (expecting 'e')"),
            ("-x", "invalid character 'x' in numeric literal"),
            ("1.x", "invalid character 'x' after decimal point in numeric literal"),
            ("1ex", "invalid character 'x' in exponent of numeric literal"),
            ("é", "invalid character 'Ã' looking for beginning of value"),
        ] {
            assert_eq!(parse(text.as_bytes()).expect_err(text), wanted, "{text}");
        }
        assert_eq!(parse("[".repeat(600).as_bytes()).expect_err("deep"), "exceeded max depth");
    }

    #[test]
    fn order_repetition_and_digits_are_kept() {
        let number = |text: &str| Node::Number(text.to_owned());
        let read = parse(br#" {"b": 1.50, "a": [true, null], "b": 99999999999999999999} "#).expect("reads");
        let wanted = vec![
            ("b".to_owned(), number("1.50")),
            ("a".to_owned(), Node::List(vec![Node::Bool(true), Node::Null])),
            ("b".to_owned(), number("99999999999999999999")),
        ];
        assert_eq!(read, Node::Object(wanted));
        let read = parse(br#""\u00e9\ud83d\ude00\ud83dx\/<""#).expect("reads");
        assert_eq!(read, Node::Text("\u{e9}\u{1f600}\u{fffd}x/<".to_owned()));
    }
}

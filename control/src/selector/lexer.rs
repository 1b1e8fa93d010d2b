//! PURE: the words of a label selector.
//!
//! Source: k8s.io/apimachinery `pkg/labels/selector.go`, `Lexer`.

/// What a word is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    End,
    /// Letters that are neither space nor a sign.
    Word,
    In,
    NotIn,
    Open,
    Closed,
    Comma,
    Bang,
    Equals,
    DoubleEquals,
    NotEquals,
    Greater,
    Less,
    /// Signs that mean nothing.
    Wrong,
}

const SIGNS: [(&str, Token); 9] = [
    (")", Token::Closed),
    (",", Token::Comma),
    ("!", Token::Bang),
    ("==", Token::DoubleEquals),
    ("=", Token::Equals),
    (">", Token::Greater),
    ("<", Token::Less),
    ("!=", Token::NotEquals),
    ("(", Token::Open),
];

/// A selector in words; the last is the end.
pub(super) fn words(text: &str) -> Vec<(Token, &str)> {
    let mut words = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches(is_space);
        let Some(first) = rest.chars().next() else {
            words.push((Token::End, ""));
            return words;
        };
        let (token, length) = if is_sign(first) { sign(rest) } else { word(rest) };
        words.push((token, &rest[..length]));
        rest = &rest[length..];
    }
}

fn is_space(letter: char) -> bool {
    matches!(letter, ' ' | '\t' | '\r' | '\n')
}

fn is_sign(letter: char) -> bool {
    "=!(),><".contains(letter)
}

/// The longest sign that the text begins with.
fn sign(text: &str) -> (Token, usize) {
    let fits = |&(sign, token): &(&str, Token)| text.starts_with(sign).then_some((token, sign.len()));
    SIGNS.iter().filter_map(fits).max_by_key(|(_, length)| *length).unwrap_or((Token::Wrong, 1))
}

fn word(text: &str) -> (Token, usize) {
    let length = text.find(|letter| is_space(letter) || is_sign(letter)).unwrap_or(text.len());
    match &text[..length] {
        "in" => (Token::In, length),
        "notin" => (Token::NotIn, length),
        _ => (Token::Word, length),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_are_as_long_as_they_can_be() {
        use Token::*;
        let tokens = |text| words(text).into_iter().map(|(token, _)| token).collect::<Vec<_>>();
        assert_eq!(tokens("a==b,!c"), [Word, DoubleEquals, Word, Comma, Bang, Word, End]);
        assert_eq!(tokens("!!"), [Bang, Bang, End]);
        assert_eq!(tokens(" in notin(x>=1 )"), [In, NotIn, Open, Word, Greater, Equals, Word, Closed, End]);
        assert_eq!(words("key!=v").last(), Some(&(End, "")));
    }
}

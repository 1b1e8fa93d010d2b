//! The words of a line of a case: keys, revisions, options.

use std::collections::BTreeMap;

/// A line, cut into words; `name=value` and flags can stand anywhere after the positional ones.
#[derive(Clone, Debug)]
pub(crate) struct Words {
    pub(crate) positional: Vec<String>,
    options: BTreeMap<String, String>,
}

const FLAGS: &[&str] = &[
    "prev",
    "ignore_value",
    "ignore_lease",
    "keys",
    "count",
    "ser",
    "progress",
    "noput",
    "nodelete",
    "fragment",
    "physical",
    "value",
    "hasleader",
];
const OPTIONS: &[&str] = &[
    "limit",
    "rev",
    "order",
    "sort",
    "minmod",
    "maxmod",
    "mincreate",
    "maxcreate",
    "lease",
    "ttl",
    "id",
    "member",
    "hashed",
];

impl Words {
    pub(crate) fn new(words: &[String]) -> Words {
        let (mut positional, mut options) = (Vec::new(), BTreeMap::new());
        for word in words {
            match word.split_once('=') {
                Some((name, value)) if OPTIONS.contains(&name) => {
                    options.insert(name.to_owned(), value.to_owned());
                }
                _ if FLAGS.contains(&word.as_str()) && positional.len() > 1 => {
                    options.insert(word.clone(), String::new());
                }
                _ => positional.push(word.clone()),
            }
        }
        Words { positional, options }
    }

    pub(crate) fn at(&self, place: usize) -> &str {
        self.positional.get(place).map_or("", String::as_str)
    }

    /// A name: `""` is empty.
    pub(crate) fn text(&self, place: usize) -> String {
        self.at(place).trim_matches('"').to_owned()
    }

    pub(crate) fn bytes(&self, place: usize) -> bytes::Bytes {
        bytes(self.at(place))
    }

    pub(crate) fn flag(&self, name: &str) -> bool {
        self.options.contains_key(name)
    }

    pub(crate) fn option(&self, name: &str) -> Option<&str> {
        self.options.get(name).map(String::as_str)
    }

    pub(crate) fn number(&self, name: &str) -> i64 {
        self.option(name).map_or(0, number)
    }

    pub(crate) fn revision(&self, name: &str, base: i64) -> i64 {
        self.option(name).map_or(0, |word| revision(word, base))
    }
}

pub(crate) fn number(word: &str) -> i64 {
    word.parse().unwrap_or_else(|_| panic!("{word}: not a number"))
}

/// `+3` is three after the revision at the beginning of the case, `3` and `-3` are themselves.
pub(crate) fn revision(word: &str, base: i64) -> i64 {
    if let Some(after) = word.strip_prefix('+') { base + number(after) } else { number(word) }
}

/// `""` is empty, `\0` a zero byte, `\xff` any, `\s` a space, `*1000` so many bytes.
pub(crate) fn bytes(word: &str) -> bytes::Bytes {
    if let Some(count) = word.strip_prefix('*').and_then(|count| count.parse().ok()) {
        return vec![b'x'; count].into();
    }
    let mut out = Vec::new();
    let mut rest = word.as_bytes();
    while let Some((first, more)) = rest.split_first() {
        rest = more;
        match (first, more.first()) {
            (b'\\', Some(b'0')) => out.push(0),
            (b'\\', Some(b's')) => out.push(b' '),
            (b'\\', Some(b'x')) => {
                let hex = std::str::from_utf8(&more[1..3]).expect("two digits");
                out.push(u8::from_str_radix(hex, 16).expect("two hexadecimal digits"));
                rest = &more[2..];
            }
            (b'"', _) => continue,
            _ => {
                out.push(*first);
                continue;
            }
        }
        rest = &rest[1..];
    }
    out.into()
}

/// Cuts a line into words; `3x put k# v` stands for three of them, numbered.
pub(crate) fn cut(line: &str) -> Vec<String> {
    let (mut words, mut rest): (Vec<String>, Vec<&str>) = (Vec::new(), line.split_whitespace().collect());
    let mut separator = ";";
    while !rest.is_empty() {
        let word = rest.remove(0);
        separator = match word {
            "if" => ",",
            "then" | "else" => ";",
            _ => separator,
        };
        let Some(times) = word.strip_suffix('x').and_then(|times| times.parse::<usize>().ok()) else {
            words.push(word.to_owned());
            continue;
        };
        let end = rest.iter().position(|word| [";", ",", "then", "else", ")"].contains(word)).unwrap_or(rest.len());
        let pattern: Vec<&str> = rest.drain(..end).collect();
        for number in 0..times {
            if number > 0 {
                words.push(separator.to_owned());
            }
            words.extend(pattern.iter().map(|word| word.replace('#', &number.to_string())));
        }
    }
    words
}

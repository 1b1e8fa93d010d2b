//! PURE: label selectors, with Kubernetes' words for what is wrong with one.
//!
//! Source: k8s.io/apimachinery `pkg/labels/selector.go`.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::lexer::{Token, words};
use crate::status::Status;
use crate::validate::names::{label_value, qualified_name};

/// One requirement on labels.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Requirement {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Absent(String),
    Greater(String, i64),
    Less(String, i64),
}

/// A label selector; the empty one matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels(Vec<Requirement>);

impl Labels {
    /// Reads `a=b,c!=d,e in (f,g),h notin (i),j,!k,l>1,m<2`.
    ///
    /// # Errors
    /// 400 with what is wrong.
    pub fn parse(text: &str) -> Result<Labels, Status> {
        let mut parser = Parser { words: words(text), at: 0 };
        parser.selector().map(Labels).map_err(Status::bad_request)
    }

    /// Reads a `metav1.LabelSelector`; none for an absent one, which matches nothing.
    pub fn of(selector: &Value) -> Option<Labels> {
        let selector = selector.as_object()?;
        let plain = selector.get("matchLabels").and_then(Value::as_object).into_iter().flatten();
        let plain =
            plain.map(|(key, value)| Requirement::In(key.clone(), vec![value.as_str().unwrap_or_default().to_owned()]));
        let expressions = selector.get("matchExpressions").and_then(Value::as_array).into_iter().flatten();
        let expressions = expressions.filter_map(|expression| {
            let key = expression["key"].as_str()?.to_owned();
            let values = expression["values"].as_array().into_iter().flatten();
            let values = values.filter_map(|value| value.as_str().map(str::to_owned)).collect();
            match expression["operator"].as_str()? {
                "In" => Some(Requirement::In(key, values)),
                "NotIn" => Some(Requirement::NotIn(key, values)),
                "Exists" => Some(Requirement::Exists(key)),
                "DoesNotExist" => Some(Requirement::Absent(key)),
                _ => None,
            }
        });
        Some(Labels(plain.chain(expressions).collect()))
    }

    /// Whether every object matches.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether labels fulfil every requirement.
    pub fn matches(&self, labels: Option<&Map<String, Value>>) -> bool {
        self.takes(|key| labels?.get(key)?.as_str())
    }

    /// Whether labels that are read by key fulfil every requirement.
    pub fn takes<'a>(&self, value: impl Fn(&str) -> Option<&'a str>) -> bool {
        let number = |key: &str| value(key)?.parse::<i64>().ok();
        self.0.iter().all(|requirement| match requirement {
            Requirement::In(key, values) => value(key).is_some_and(|held| values.iter().any(|value| value == held)),
            Requirement::NotIn(key, values) => value(key).is_none_or(|held| values.iter().all(|value| value != held)),
            Requirement::Exists(key) => value(key).is_some(),
            Requirement::Absent(key) => value(key).is_none(),
            Requirement::Greater(key, bound) => number(key).is_some_and(|held| held > *bound),
            Requirement::Less(key, bound) => number(key).is_some_and(|held| held < *bound),
        })
    }
}

/// A `metav1.LabelSelector` as text, requirements in the order of their keys.
pub fn printed(selector: &Value) -> String {
    let Some(Labels(mut requirements)) = Labels::of(selector) else { return String::new() };
    requirements.sort_by_cached_key(|requirement| requirement.key().to_owned());
    let list = |values: &[String]| {
        let mut values = values.to_vec();
        values.sort();
        values.join(",")
    };
    let plain = selector["matchLabels"].as_object();
    let each = requirements.iter().map(|requirement| match requirement {
        Requirement::In(key, values) if plain.is_some_and(|plain| plain.contains_key(key)) => {
            format!("{key}={}", values.join(","))
        }
        Requirement::In(key, values) => format!("{key} in ({})", list(values)),
        Requirement::NotIn(key, values) => format!("{key} notin ({})", list(values)),
        Requirement::Exists(key) => key.clone(),
        Requirement::Absent(key) => format!("!{key}"),
        Requirement::Greater(key, bound) => format!("{key}>{bound}"),
        Requirement::Less(key, bound) => format!("{key}<{bound}"),
    });
    each.collect::<Vec<_>>().join(",")
}

impl Requirement {
    fn key(&self) -> &str {
        match self {
            Requirement::In(key, _)
            | Requirement::NotIn(key, _)
            | Requirement::Exists(key)
            | Requirement::Absent(key)
            | Requirement::Greater(key, _)
            | Requirement::Less(key, _) => key,
        }
    }
}

/// Signs and words between a key and its values, as messages list them.
const OPERATORS: &str = "in, notin, =, ==, !=, gt, lt";

struct Parser<'a> {
    words: Vec<(Token, &'a str)>,
    at: usize,
}

impl<'a> Parser<'a> {
    /// The next word; the end never passes. Where values stand, `in` and `notin` are words like others.
    fn peek(&self) -> (Token, &'a str) {
        match self.words[self.at.min(self.words.len() - 1)] {
            (Token::In | Token::NotIn, text) => (Token::Word, text),
            other => other,
        }
    }

    fn take(&mut self) -> (Token, &'a str) {
        let next = self.peek();
        self.at += 1;
        next
    }

    fn selector(&mut self) -> Result<Vec<Requirement>, String> {
        let mut requirements = Vec::new();
        loop {
            match self.peek() {
                (Token::Word | Token::Bang, _) => {
                    let requirement = self.requirement();
                    requirements.push(requirement.map_err(|why| format!("unable to parse requirement: {why}"))?);
                }
                (Token::End, _) => return Ok(requirements),
                (_, text) => return Err(format!("found '{text}', expected: !, identifier, or 'end of string'")),
            }
            match self.take() {
                (Token::End, _) => return Ok(requirements),
                (Token::Comma, _) => {
                    let (token, text) = self.peek();
                    if !matches!(token, Token::Word | Token::Bang) {
                        return Err(format!("found '{text}', expected: identifier after ','"));
                    }
                }
                (_, text) => return Err(format!("found '{text}', expected: ',' or 'end of string'")),
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let absent = self.peek().0 == Token::Bang;
        if absent {
            self.at += 1;
        }
        let (token, key) = self.take();
        if token != Token::Word {
            return Err(format!("found '{key}', expected: identifier"));
        }
        let wrong = qualified_name(key);
        if !wrong.is_empty() {
            return Err(format!("<nil>: Invalid value: {key:?}: {}", wrong.join("; ")));
        }
        if absent {
            return Ok(Requirement::Absent(key.to_owned()));
        }
        if matches!(self.peek().0, Token::End | Token::Comma) {
            return Ok(Requirement::Exists(key.to_owned()));
        }
        // Only here `in` and `notin` are operators.
        let (operator, text) = self.words[self.at.min(self.words.len() - 1)];
        self.at += 1;
        let values = match operator {
            Token::In | Token::NotIn => self.values()?,
            Token::Equals | Token::DoubleEquals | Token::NotEquals | Token::Greater | Token::Less => self.value()?,
            _ => return Err(format!("found '{text}', expected: {OPERATORS}")),
        };
        built(key, operator, values)
    }

    /// `(a,b)`.
    fn values(&mut self) -> Result<BTreeSet<String>, String> {
        let (token, text) = self.take();
        if token != Token::Open {
            return Err(format!("found '{text}' expected: '('"));
        }
        match self.peek() {
            (Token::Word | Token::Comma, first) => {
                let values = self.list()?;
                if self.take().0 == Token::Closed { Ok(values) } else { Err(format!("found '{first}', expected: ')'")) }
            }
            (Token::Closed, _) => {
                self.at += 1;
                Ok(BTreeSet::from([String::new()]))
            }
            (_, text) => Err(format!("found '{text}', expected: ',', ')' or identifier")),
        }
    }

    /// Values up to the closing parenthesis; nothing between two commas is the empty value.
    fn list(&mut self) -> Result<BTreeSet<String>, String> {
        let mut values = BTreeSet::new();
        loop {
            match self.take() {
                (Token::Word, text) => {
                    values.insert(text.to_owned());
                    match self.peek() {
                        (Token::Comma, _) => {}
                        (Token::Closed, _) => return Ok(values),
                        (_, text) => return Err(format!("found '{text}', expected: ',' or ')'")),
                    }
                }
                (Token::Comma, _) => {
                    if values.is_empty() {
                        values.insert(String::new());
                    }
                    match self.peek().0 {
                        Token::Closed => {
                            values.insert(String::new());
                            return Ok(values);
                        }
                        Token::Comma => {
                            self.at += 1;
                            values.insert(String::new());
                        }
                        _ => {}
                    }
                }
                (_, text) => return Err(format!("found '{text}', expected: ',', or identifier")),
            }
        }
    }

    /// The one value of `=` and its like; it may be left out.
    fn value(&mut self) -> Result<BTreeSet<String>, String> {
        if matches!(self.peek().0, Token::End | Token::Comma) {
            return Ok(BTreeSet::from([String::new()]));
        }
        match self.take() {
            (Token::Word, text) => Ok(BTreeSet::from([text.to_owned()])),
            (_, text) => Err(format!("found '{text}', expected: identifier")),
        }
    }
}

/// A requirement whose values may stand in labels.
fn built(key: &str, operator: Token, values: BTreeSet<String>) -> Result<Requirement, String> {
    let values: Vec<String> = values.into_iter().collect();
    let number = values.first().and_then(|value| value.parse::<i64>().ok());
    let ordered = matches!(operator, Token::Greater | Token::Less);
    let mut wrong = Vec::new();
    if ordered && number.is_none() {
        let why = "for 'Gt', 'Lt' operators, the value must be an integer";
        wrong.extend(values.iter().map(|value| format!("values[0]: Invalid value: {value:?}: {why}")));
    }
    for (at, value) in values.iter().enumerate() {
        let why = label_value(value);
        if !why.is_empty() {
            wrong.push(format!("values[{at}][{key}]: Invalid value: {value:?}: {}", why.join("; ")));
        }
    }
    match wrong.as_slice() {
        [] => {}
        [one] => return Err(one.clone()),
        several => return Err(format!("[{}]", several.join(", "))),
    }
    let key = key.to_owned();
    Ok(match operator {
        Token::NotIn | Token::NotEquals => Requirement::NotIn(key, values),
        Token::Greater => Requirement::Greater(key, number.unwrap_or(i64::MAX)),
        Token::Less => Requirement::Less(key, number.unwrap_or(i64::MIN)),
        _ => Requirement::In(key, values),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn labels_select() {
        let labels = json!({ "app": "web", "tier": "front", "n": "10", "empty": "" });
        let matches = |text: &str| Labels::parse(text).expect("reads").matches(labels.as_object());
        for text in [
            "",
            "app=web",
            "app==web,tier!=back",
            "app in (api, web)",
            "tier notin (back)",
            "app",
            "!gone",
            "gone!=x",
            " app = web , tier ",
            "n>9",
            "n<11",
            "empty=",
            "empty in ()",
            "empty in (,x)",
            "app notin ()",
            "gone notin ()",
        ] {
            assert!(matches(text), "{text}");
        }
        for text in [
            "app=api",
            "app in (api)",
            "tier notin (front)",
            "gone",
            "!app",
            "gone=x",
            "n>10",
            "n<10",
            "app>1",
            "app in ()",
        ] {
            assert!(!matches(text), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_as_in_kubernetes() {
        let table = [
            ("e=p,", "found '', expected: identifier after ','"),
            (",e=p", "found ',', expected: !, identifier, or 'end of string'"),
            ("a b=c", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
            ("e=p q", "found 'q', expected: ',' or 'end of string'"),
            ("!", "unable to parse requirement: found '', expected: identifier"),
            ("!!", "unable to parse requirement: found '!', expected: identifier"),
            ("n>=5", "unable to parse requirement: found '=', expected: identifier"),
            ("a in b", "unable to parse requirement: found 'b' expected: '('"),
            ("a in (b", "unable to parse requirement: found '', expected: ',' or ')'"),
            ("a in (b c)", "unable to parse requirement: found 'c', expected: ',' or ')'"),
            (
                "n>x",
                "unable to parse requirement: values[0]: Invalid value: \"x\": for 'Gt', 'Lt' operators, the value must be an \
                 integer",
            ),
        ];
        for (text, wanted) in table {
            assert_eq!(Labels::parse(text).expect_err(text).message, wanted, "{text}");
        }
        let long = format!("e={}", "v".repeat(64));
        let text = Labels::parse(&long).expect_err("too long").message;
        assert!(text.starts_with("unable to parse requirement: values[0][e]: Invalid value: \"vvv"), "{text}");
        assert!(text.ends_with("\": must be no more than 63 bytes"), "{text}");
        let text = Labels::parse("a/b/c=d").expect_err("no key").message;
        assert!(
            text.starts_with("unable to parse requirement: <nil>: Invalid value: \"a/b/c\": a valid label key"),
            "{text}"
        );
    }

    #[test]
    fn selectors_are_printed() {
        let selector = json!({ "matchLabels": { "b": "1" }, "matchExpressions": [
            { "key": "a", "operator": "In", "values": ["y", "x"] }, { "key": "c", "operator": "Exists" },
            { "key": "d", "operator": "DoesNotExist" },
        ] });
        assert_eq!(printed(&selector), "a in (x,y),b=1,c,!d");
    }
}

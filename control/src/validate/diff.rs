//! PURE: what differs between two values, as messages show it: a unified diff of their JSON.
//!
//! Lines are matched as Python's `difflib` does it (the longest run first, then what lies before and behind it), because
//! Kubernetes uses its translation. Source: k8s.io/apimachinery `pkg/util/diff/diff.go`.

use std::collections::HashMap;
use std::ops::Range;

/// Equal lines that are shown before and after a change.
const CONTEXT: usize = 3;

/// JSON in one line as indented lines, in the same order.
fn lines(json: &str) -> Vec<String> {
    let (mut lines, mut line, mut depth) = (Vec::new(), String::new(), 0_usize);
    let (mut quoted, mut escaped) = (false, false);
    let mut letters = json.chars().peekable();
    let indent = |depth: usize| " ".repeat(depth);
    while let Some(letter) = letters.next() {
        if quoted {
            line.push(letter);
            (quoted, escaped) = (escaped || letter != '"', !escaped && letter == '\\');
            continue;
        }
        match letter {
            '{' | '[' => {
                line.push(letter);
                if let Some(end) = letters.next_if(|next| matches!(next, '}' | ']')) {
                    line.push(end);
                } else {
                    depth += 1;
                    lines.push(std::mem::replace(&mut line, indent(depth)));
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                lines.push(std::mem::replace(&mut line, indent(depth)));
                line.push(letter);
            }
            ',' => {
                line.push(letter);
                lines.push(std::mem::replace(&mut line, indent(depth)));
            }
            ':' => line.push_str(": "),
            other => {
                line.push(other);
                quoted = other == '"';
            }
        }
    }
    lines.push(line);
    lines
}

/// A run of lines that both sides have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Run {
    a: usize,
    b: usize,
    length: usize,
}

/// The longest run within these parts; of several the one that starts first.
fn longest(a: &[String], places: &HashMap<&str, Vec<usize>>, within: (&Range<usize>, &Range<usize>)) -> Run {
    let (in_a, in_b) = within;
    let mut best = Run { a: in_a.start, b: in_b.start, length: 0 };
    let mut ending: HashMap<usize, usize> = HashMap::new();
    for i in in_a.clone() {
        let mut next = HashMap::new();
        for &j in places.get(a[i].as_str()).into_iter().flatten().filter(|j| in_b.contains(j)) {
            let length = j.checked_sub(1).and_then(|before| ending.get(&before)).copied().unwrap_or(0) + 1;
            next.insert(j, length);
            if length > best.length {
                best = Run { a: i + 1 - length, b: j + 1 - length, length };
            }
        }
        ending = next;
    }
    best
}

/// All runs in order, ending with an empty one behind both sides.
fn runs(a: &[String], b: &[String]) -> Vec<Run> {
    let mut places: HashMap<&str, Vec<usize>> = HashMap::new();
    for (at, line) in b.iter().enumerate() {
        places.entry(line).or_default().push(at);
    }
    let (mut found, mut waiting) = (Vec::new(), vec![(0..a.len(), 0..b.len())]);
    while let Some((in_a, in_b)) = waiting.pop() {
        let run = longest(a, &places, (&in_a, &in_b));
        if run.length > 0 {
            waiting.push((in_a.start..run.a, in_b.start..run.b));
            waiting.push((run.a + run.length..in_a.end, run.b + run.length..in_b.end));
            found.push(run);
        }
    }
    found.sort_unstable();
    let mut joined: Vec<Run> = Vec::new();
    for run in found {
        match joined.last_mut() {
            Some(last) if last.a + last.length == run.a && last.b + last.length == run.b => last.length += run.length,
            _ => joined.push(run),
        }
    }
    joined.push(Run { a: a.len(), b: b.len(), length: 0 });
    joined
}

/// A part of a hunk.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Part {
    equal: bool,
    a: Range<usize>,
    b: Range<usize>,
}

/// Changes with their context; what lies further apart is apart.
fn hunks(a: &[String], b: &[String]) -> Vec<Vec<Part>> {
    let (mut parts, mut i, mut j) = (Vec::new(), 0, 0);
    for run in runs(a, b) {
        if i < run.a || j < run.b {
            parts.push(Part { equal: false, a: i..run.a, b: j..run.b });
        }
        (i, j) = (run.a + run.length, run.b + run.length);
        if run.length > 0 {
            parts.push(Part { equal: true, a: run.a..i, b: run.b..j });
        }
    }
    let last = parts.len().saturating_sub(1);
    let (mut hunks, mut hunk): (Vec<Vec<Part>>, Vec<Part>) = (Vec::new(), Vec::new());
    for (at, part) in parts.into_iter().enumerate() {
        if !part.equal {
            hunk.push(part);
            continue;
        }
        let tail = |side: &Range<usize>| side.end.saturating_sub(CONTEXT).max(side.start)..side.end;
        let head = |side: &Range<usize>| side.start..side.end.min(side.start + CONTEXT);
        if at == 0 {
            hunk.push(Part { equal: true, a: tail(&part.a), b: tail(&part.b) });
        } else if at == last {
            hunk.push(Part { equal: true, a: head(&part.a), b: head(&part.b) });
        } else if part.a.len() > 2 * CONTEXT {
            hunk.push(Part { equal: true, a: head(&part.a), b: head(&part.b) });
            hunks.push(std::mem::take(&mut hunk));
            hunk.push(Part { equal: true, a: tail(&part.a), b: tail(&part.b) });
        } else {
            hunk.push(part);
        }
    }
    hunks.push(hunk);
    hunks.retain(|hunk| hunk.iter().any(|part| !part.equal));
    hunks
}

/// Where a hunk lies, as its headline says.
fn place(start: usize, length: usize) -> String {
    match length {
        1 => (start + 1).to_string(),
        0 => format!("{start},0"),
        _ => format!("{},{length}", start + 1),
    }
}

/// The unified diff of two values, each as JSON in one line.
pub fn unified(a: &str, b: &str) -> String {
    let (a, b) = (lines(a), lines(b));
    let mut text = String::new();
    let write = |sign: char, lines: &[String], text: &mut String| {
        for line in lines {
            text.push(sign);
            text.push_str(line);
            text.push('\n');
        }
    };
    for hunk in hunks(&a, &b) {
        let (Some(first), Some(last)) = (hunk.first(), hunk.last()) else { continue };
        let of_a = place(first.a.start, last.a.end - first.a.start);
        let of_b = place(first.b.start, last.b.end - first.b.start);
        text.push_str(&format!("@@ -{of_a} +{of_b} @@\n"));
        for part in &hunk {
            if part.equal {
                write(' ', &a[part.a.clone()], &mut text);
            } else {
                write('-', &a[part.a.clone()], &mut text);
                write('+', &b[part.b.clone()], &mut text);
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_laid_out_as_go_does() {
        assert_eq!(
            lines(r#"{"a":[1,"x:{\"y"],"b":{},"c":[],"d":null}"#),
            ["{", " \"a\": [", "  1,", "  \"x:{\\\"y\"", " ],", " \"b\": {},", " \"c\": [],", " \"d\": null", "}"]
        );
    }

    #[test]
    fn changes_are_shown_with_context() {
        let (a, b) = (r#"{"a":1,"b":2,"c":3,"d":4,"e":5}"#, r#"{"a":1,"b":2,"c":3,"d":9,"e":5}"#);
        assert_eq!(
            unified(a, b),
            "@@ -2,6 +2,6 @@\n  \"a\": 1,\n  \"b\": 2,\n  \"c\": 3,\n- \"d\": 4,\n+ \"d\": 9,\n  \"e\": 5\n }\n"
        );
        assert_eq!(unified(a, a), "");
    }

    #[test]
    fn changes_far_apart_are_two_hunks() {
        let value = |first: u8, last: u8| {
            let inner: Vec<String> = (0..9).map(|at| format!("\"k{at}\":0")).collect();
            format!("{{\"a\":{first},{},\"z\":{last}}}", inner.join(","))
        };
        let text = unified(&value(1, 1), &value(2, 2));
        assert_eq!(text.matches("@@ ").count(), 2, "{text}");
        assert!(text.starts_with("@@ -1,5 +1,5 @@\n {\n- \"a\": 1,\n+ \"a\": 2,\n"), "{text}");
    }
}

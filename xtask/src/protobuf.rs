//! The numbers that fields have in protobuf bodies, from the published sources of the `k8s-pb` crate.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Context;
use serde_json::Value;

/// A message: its fields' numbers, names in Rust, and types where they are messages.
type Message = Vec<(u32, String, String)>;

/// One line per type: `TYPE NUMBER:field…`. A field of a struct that JSON inlines has a path of numbers; `*` marks
/// scalars behind pointers, whose zero is a value.
pub(crate) fn generate(source: &Path, swagger: &Path, pointers: &Path, out: &Path) -> anyhow::Result<()> {
    let mut messages = BTreeMap::new();
    read_dir(&source.join("src"), "io.k8s", &mut messages)?;
    let text = std::fs::read(swagger).with_context(|| format!("{}: cannot be read", swagger.display()))?;
    let swagger: Value = serde_json::from_slice(&text).context("not JSON")?;
    let listed =
        std::fs::read_to_string(pointers).with_context(|| format!("{}: cannot be read", pointers.display()))?;
    let pointers: BTreeSet<String> = listed
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ');
            Some(format!("io.k8s.{}.{}", words.next()?.replace('/', "."), words.next()?))
        })
        .collect();
    let mut lines = String::new();
    for (name, definition) in swagger["definitions"].as_object().context("no definitions")? {
        let names: BTreeMap<String, &String> = definition["properties"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(field, _)| (field.to_lowercase(), field))
            .collect();
        let mut numbers = Vec::new();
        number(name, name, "", &messages, &names, &pointers, &mut numbers, 0);
        if !numbers.is_empty() {
            lines.push_str(&format!("{name} {}\n", numbers.join(" ")));
        }
    }
    std::fs::write(out, lines).with_context(|| format!("{}: cannot be written", out.display()))
}

#[expect(clippy::too_many_arguments, reason = "one recursion over read-only tables")]
fn number(
    owner: &str,
    name: &str,
    path: &str,
    messages: &BTreeMap<String, Message>,
    names: &BTreeMap<String, &String>,
    pointers: &BTreeSet<String>,
    numbers: &mut Vec<String>,
    depth: u32,
) {
    for (tag, field, kind) in messages.get(name).into_iter().flatten() {
        match names.get(&field.replace('_', "")) {
            Some(json) => {
                let mark =
                    if pointers.contains(&format!("{name}.{json}")) || pointers.contains(&format!("{owner}.{json}")) {
                        "*"
                    } else {
                        ""
                    };
                numbers.push(format!("{path}{tag}:{json}{mark}"));
            }
            None if !kind.is_empty() && depth < 3 => {
                number(owner, kind, &format!("{path}{tag}."), messages, names, pointers, numbers, depth + 1);
            }
            None => {}
        }
    }
}

fn read_dir(dir: &Path, package: &str, messages: &mut BTreeMap<String, Message>) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(dir).with_context(|| format!("{}: cannot be read", dir.display()))? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        if path.is_dir() {
            read_dir(&path, &format!("{package}.{name}"), messages)?;
        } else if name == "mod.rs" {
            read(&std::fs::read_to_string(&path)?, package, messages);
        }
    }
    Ok(())
}

fn read(text: &str, package: &str, messages: &mut BTreeMap<String, Message>) {
    let (mut message, mut tag) = (None, None);
    for line in text.lines().map(str::trim) {
        if let Some(rest) = line.strip_prefix("pub struct ") {
            let name = format!("{package}.{}", rest.split([' ', '{']).next().unwrap_or_default());
            messages.insert(name.clone(), Vec::new());
            message = Some(name);
        } else if let Some((_, rest)) = line.split_once("tag = \"") {
            tag = rest.split('"').next().and_then(|number| number.parse::<u32>().ok());
        } else if let (Some(number), Some(held), Some(rest)) = (tag, &message, line.strip_prefix("pub ")) {
            let (field, kind) = rest.split_once(':').unwrap_or((rest, ""));
            let kind = kind.trim().trim_end_matches(',');
            let inner = kind
                .strip_prefix("::core::option::Option<")
                .and_then(|kind| kind.strip_suffix('>'))
                .unwrap_or_default();
            let resolved = resolve(package, inner);
            messages.entry(held.clone()).or_default().push((
                number,
                field.trim_start_matches("r#").to_owned(),
                resolved,
            ));
            tag = None;
        }
    }
}

/// The full name of a message that generated code names relative to its module.
fn resolve(package: &str, path: &str) -> String {
    if path.is_empty() || path.starts_with("::") || !path.chars().any(char::is_uppercase) {
        return String::new();
    }
    let mut at: Vec<&str> = package.split('.').collect();
    for part in path.split("::") {
        if part == "super" {
            at.pop();
        } else {
            at.push(part);
        }
    }
    at.join(".")
}

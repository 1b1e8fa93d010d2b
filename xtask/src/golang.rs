//! What the structs of Kubernetes' published Go modules say of their fields: names of types, pointers, what is written
//! although it is empty, and defaults that a marker declares.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use serde_json::Value;

/// The kinds that the module k8s.io/api registers: `GROUP/VERSION KIND…` per line, sorted.
pub(crate) fn registered(api: &Path) -> anyhow::Result<String> {
    let mut lines = BTreeMap::new();
    for group in std::fs::read_dir(api).with_context(|| format!("{}: cannot be read", api.display()))? {
        let group = group?.path();
        for version in std::fs::read_dir(&group).into_iter().flatten() {
            let version = version?.path();
            let Ok(text) = std::fs::read_to_string(version.join("register.go")) else { continue };
            let quoted = |line: &str| Some(line.split_once(" = \"")?.1.split('"').next()?.to_owned());
            let constant = text
                .lines()
                .find(|line| line.trim().starts_with("const GroupName") || line.trim().starts_with("GroupName "));
            let group = constant.and_then(quoted).unwrap_or_default();
            let version = version.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
            let name = if group.is_empty() { version } else { format!("{group}/{version}") };
            let mut kinds: Vec<&str> =
                text.lines().filter_map(|line| line.trim().strip_prefix('&')?.strip_suffix("{},")).collect();
            if name == "v1" {
                kinds.extend(["APIGroup", "APIGroupList", "APIResourceList", "APIVersions", "List", "Status"]);
            }
            kinds.sort_unstable();
            lines.insert(name, kinds.join(" "));
        }
    }
    lines.retain(|_, kinds| !kinds.is_empty());
    Ok(lines.iter().map(|(name, kinds)| format!("{name} {kinds}\n")).collect())
}

/// A field as a struct declares it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Field {
    /// Its name in JSON; empty: the fields of its type are the struct's own.
    pub(crate) json: String,
    /// Its type, as Go writes it in the source, without the pointer.
    kind: String,
    /// A pointer to it.
    pub(crate) pointer: bool,
    /// Written although it is empty.
    pub(crate) always: bool,
    /// Left out when zero, also where it is a struct.
    pub(crate) omit_zero: bool,
    /// The value of `+default=`, as JSON.
    pub(crate) default: Option<String>,
}

/// Structs by the name that OpenAPI documents give them.
#[derive(Default)]
pub(crate) struct Structs {
    structs: BTreeMap<String, Vec<Field>>,
    /// `const` strings, by package and name.
    constants: BTreeMap<(String, String), String>,
}

impl Structs {
    /// Reads every `types*.go` below the checked-out modules k8s.io/api and k8s.io/apimachinery.
    pub(crate) fn read(api: &Path, apimachinery: &Path) -> anyhow::Result<Structs> {
        let mut structs = Structs::default();
        structs.walk(api, "io.k8s.api")?;
        structs.walk(apimachinery, "io.k8s.apimachinery")?;
        Ok(structs)
    }

    fn walk(&mut self, dir: &Path, package: &str) -> anyhow::Result<()> {
        for entry in std::fs::read_dir(dir).with_context(|| format!("{}: cannot be read", dir.display()))? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
            if path.is_dir() {
                self.walk(&path, &format!("{package}.{name}"))?;
            } else if name.starts_with("types") && name.ends_with(".go") {
                self.source(&std::fs::read_to_string(&path)?, package);
            }
        }
        Ok(())
    }

    fn source(&mut self, text: &str, package: &str) {
        let (mut held, mut default) = (None, None);
        for line in text.lines() {
            let trimmed = line.trim();
            if let Some(name) = line.strip_prefix("type ").and_then(|rest| rest.strip_suffix(" struct {")) {
                held = Some(format!("{package}.{name}"));
            } else if line == "}" {
                held = None;
            } else if let Some(value) = trimmed.strip_prefix("// +default=") {
                default = Some(value.to_owned());
            } else if let (Some(name), Some(mut field)) = (&held, field(trimmed)) {
                field.default = default.take().filter(|value| is_default(value));
                self.structs.entry(name.clone()).or_default().push(field);
            } else if let Some((name, value)) = constant(trimmed) {
                self.constants.insert((package.to_owned(), name.to_owned()), value.to_owned());
            }
        }
        // Constants may come after the structs that name them.
        let prefix = format!("{package}.");
        for (_, fields) in self.structs.iter_mut().filter(|(name, _)| name.starts_with(&prefix)) {
            for field in fields {
                let reference = field.default.as_ref().and_then(|value| value.strip_prefix("ref("));
                if let Some(constant) = reference.and_then(|rest| rest.strip_suffix(')')) {
                    field.default = self.constants.get(&(package.to_owned(), constant.to_owned())).cloned();
                }
            }
        }
    }

    /// The fields of a struct by their names in JSON, those of embedded structs included; none for unknown structs.
    pub(crate) fn fields(&self, name: &str) -> Option<BTreeMap<String, (Field, String)>> {
        let (package, _) = name.rsplit_once('.')?;
        let mut found = BTreeMap::new();
        for field in self.structs.get(name)? {
            if field.json.is_empty() {
                found.extend(self.fields(&embedded(package, &field.kind)).unwrap_or_default());
            } else {
                found.insert(field.json.clone(), (field.clone(), written(package, &field.kind)));
            }
        }
        Some(found)
    }
}

/// `Name Type `json:"name,omitempty" …``, or an embedded struct.
fn field(line: &str) -> Option<Field> {
    let (declared, tag) = line.split_once('`')?;
    let json = tag.split_once("json:\"")?.1.split('"').next()?;
    let mut words = json.split(',');
    let name = words.next().unwrap_or_default();
    let options: Vec<&str> = words.collect();
    let kind = declared.split_whitespace().last()?;
    let inline = options.contains(&"inline");
    Some(Field {
        json: if inline { String::new() } else { name.to_owned() },
        kind: kind.trim_start_matches('*').to_owned(),
        pointer: kind.starts_with('*'),
        always: !options.contains(&"omitempty") && !options.contains(&"omitzero"),
        omit_zero: options.contains(&"omitzero"),
        default: None,
    })
}

/// Whether a marker's value is JSON, or names a constant.
fn is_default(value: &str) -> bool {
    value.starts_with("ref(") || serde_json::from_str::<Value>(value).is_ok()
}

/// `Name Type = "value"`, as JSON.
fn constant(line: &str) -> Option<(&str, &str)> {
    let (declared, value) = line.split_once(" = ")?;
    let name = declared.split_whitespace().next()?;
    (value.starts_with('"') && value.ends_with('"')).then_some((name, value))
}

/// Where an embedded struct lies.
fn embedded(package: &str, kind: &str) -> String {
    match kind.split_once('.') {
        Some(("metav1", name)) => format!("io.k8s.apimachinery.pkg.apis.meta.v1.{name}"),
        Some((_, name)) => format!("io.k8s.api.core.v1.{name}"),
        None => format!("{package}.{kind}"),
    }
}

/// A type as Go's error texts write it: with the name of its package in place of an import's alias.
fn written(package: &str, kind: &str) -> String {
    if let Some(item) = kind.strip_prefix("[]") {
        return format!("[]{}", written(package, item));
    }
    if let Some((key, value)) = kind.strip_prefix("map[").and_then(|rest| rest.split_once(']')) {
        return format!("map[{}]{}", written(package, key), written(package, value));
    }
    match kind.split_once('.') {
        Some(("metav1" | "corev1" | "v1", name)) => format!("v1.{name}"),
        Some(_) => kind.to_owned(),
        None if kind == "byte" => "uint8".to_owned(),
        None if kind.starts_with(char::is_uppercase) => {
            format!("{}.{kind}", package.rsplit('.').next().unwrap_or_default())
        }
        None => kind.to_owned(),
    }
}

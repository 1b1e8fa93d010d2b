//! `metadata.managedFields`: who wrote which fields, how and when.
//!
//! Source: k8s.io/apimachinery `util/managedfields/internal/{managedfields,capmanagers}.go`.

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::fields::set::Set;

/// Entries of updates at most; the oldest beyond it are merged.
const UPDATERS_MAX: usize = 10;
/// Who is said to have written what merged entries held.
const ANCIENT: &str = "ancient-changes";
/// The one form of field sets.
const FIELDS_V1: &str = "FieldsV1";

/// How a manager wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// It said what it wants, and owns that until it no longer says so.
    Apply,
    /// It changed something.
    Update,
}

/// What one manager owns.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Its name.
    pub manager: String,
    /// How it wrote.
    pub operation: Operation,
    /// In which version.
    pub api_version: String,
    /// Through which subresource; empty: the object itself.
    pub subresource: String,
    /// When it last changed anything.
    pub time: Option<String>,
    /// What it owns.
    pub fields: Set,
}

impl Entry {
    /// Whether both are of the same writer: appliers are the same in every version.
    pub(crate) fn same_writer(&self, other: &Entry) -> bool {
        self.operation == other.operation
            && self.manager == other.manager
            && self.subresource == other.subresource
            && (self.operation == Operation::Apply || self.api_version == other.api_version)
    }

    /// As messages name it.
    pub(crate) fn shown(&self) -> String {
        let mut text = format!("{:?}", self.manager);
        if !self.subresource.is_empty() {
            text = format!("{text} with subresource {:?}", self.subresource);
        }
        if self.operation == Operation::Update {
            text = format!("{text} using {}", self.api_version);
        }
        text
    }

    fn seconds(&self) -> i64 {
        let time = self.time.as_deref().and_then(|time| time.parse::<Timestamp>().ok());
        time.map_or(0, Timestamp::as_second)
    }

    fn parse(value: Value, at: usize, trusted: bool) -> Result<Entry, String> {
        let Value::Object(mut entry) = value else { return Err("an entry is an object".to_owned()) };
        let mut word = |key: &str| match entry.remove(key) {
            Some(Value::String(word)) => word,
            _ => String::new(),
        };
        let operation = match word("operation").as_str() {
            "Apply" => Operation::Apply,
            "Update" => Operation::Update,
            _ => return Err("operation must be `Apply` or `Update`".to_owned()),
        };
        let api_version = word("apiVersion");
        if api_version.is_empty() {
            return Err("apiVersion must not be empty".to_owned());
        }
        match word("fieldsType").as_str() {
            FIELDS_V1 => {}
            "" => return Err(format!("missing fieldsType in managed fields entry {at}")),
            other => return Err(format!("invalid fieldsType {other:?} in managed fields entry {at}")),
        }
        let time = Some(word("time")).filter(|time| !time.is_empty());
        let (manager, subresource) = (word("manager"), word("subresource"));
        let fields = match entry.remove("fieldsV1") {
            Some(Value::Object(fields)) if trusted => Set(fields),
            other => Set::parse(&other.unwrap_or_default())?,
        };
        Ok(Entry { manager, operation, api_version, subresource, time, fields })
    }

    fn into_value(self) -> Value {
        let operation = if self.operation == Operation::Apply { "Apply" } else { "Update" };
        let mut entry = Map::new();
        entry.insert("apiVersion".to_owned(), self.api_version.into());
        entry.insert("fieldsType".to_owned(), FIELDS_V1.into());
        entry.insert("fieldsV1".to_owned(), self.fields.into_value());
        if !self.manager.is_empty() {
            entry.insert("manager".to_owned(), self.manager.into());
        }
        entry.insert("operation".to_owned(), operation.into());
        if !self.subresource.is_empty() {
            entry.insert("subresource".to_owned(), self.subresource.into());
        }
        if let Some(time) = self.time {
            entry.insert("time".to_owned(), time.into());
        }
        entry.into()
    }
}

/// All managers of an object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Managers(pub(crate) Vec<Entry>);

impl Managers {
    /// Reads what a client wrote.
    ///
    /// # Errors
    /// When an entry is none.
    pub fn parse(list: Value) -> Result<Managers, String> {
        Managers::read(list, false)
    }

    /// Reads what this server wrote.
    pub(crate) fn stored(object: &Value) -> Managers {
        let list = object["metadata"].get("managedFields").cloned().unwrap_or_default();
        Managers::read(list, true).unwrap_or_default()
    }

    fn read(list: Value, trusted: bool) -> Result<Managers, String> {
        let Value::Array(list) = list else { return Ok(Managers::default()) };
        let mut all: Vec<Entry> = Vec::with_capacity(list.len());
        for (at, value) in list.into_iter().enumerate() {
            let entry = Entry::parse(value, at, trusted)?;
            match all.iter_mut().find(|held| held.same_writer(&entry)) {
                Some(held) => *held = entry,
                None => all.push(entry),
            }
        }
        Ok(Managers(all))
    }

    /// Whether nobody owns anything.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As objects hold it, in Kubernetes' order; none when there is nobody.
    pub fn into_value(mut self) -> Option<Value> {
        self.0.retain(|entry| !entry.fields.is_empty());
        if self.0.is_empty() {
            return None;
        }
        self.0.sort_by(|a, b| {
            let key = |entry: &Entry| (entry.operation, entry.seconds());
            let words = |entry: &Entry| [entry.manager.clone(), entry.api_version.clone(), entry.subresource.clone()];
            key(a).cmp(&key(b)).then_with(|| words(a).cmp(&words(b)))
        });
        Some(self.0.into_iter().map(Entry::into_value).collect())
    }

    /// Merges the oldest updates of a version until there are few enough.
    pub(crate) fn cap(&mut self) {
        let updaters = |all: &[Entry]| all.iter().filter(|entry| entry.operation == Operation::Update).count();
        let mut many = updaters(&self.0);
        if many <= UPDATERS_MAX {
            return;
        }
        let (appliers, mut old): (Vec<Entry>, Vec<Entry>) =
            std::mem::take(&mut self.0).into_iter().partition(|entry| entry.operation == Operation::Apply);
        old.sort_by(|a, b| (a.seconds(), &a.manager).cmp(&(b.seconds(), &b.manager)));
        let mut kept: Vec<Entry> = Vec::with_capacity(old.len());
        for entry in old {
            let first = kept.iter().position(|held| held.api_version == entry.api_version);
            match first.filter(|_| many > UPDATERS_MAX) {
                None => kept.push(entry),
                Some(at) => {
                    let bucket = &mut kept[at];
                    ANCIENT.clone_into(&mut bucket.manager);
                    bucket.subresource.clear();
                    bucket.fields.add(&entry.fields);
                    bucket.time = entry.time;
                    many -= 1;
                }
            }
        }
        self.0 = appliers;
        self.0.extend(kept);
    }
}

/// Whether a client's list asks for a fresh start: there, and empty or with one empty entry.
pub(crate) fn is_reset(list: &Value) -> bool {
    match list.as_array().map(Vec::as_slice) {
        Some([]) => true,
        Some([Value::Object(entry)]) => entry.values().all(|value| value.is_null() || value == ""),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn update(manager: &str, second: usize, field: &str) -> Value {
        json!({
            "manager": manager, "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1",
            "time": format!("2026-01-01T00:00:{second:02}Z"), "fieldsV1": { field: {} },
        })
    }

    #[test]
    fn lists_come_back_in_order() {
        let list = json!([
            update("b", 1, "f:b"),
            update("a", 1, "f:a"),
            { "manager": "z", "operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": { "f:z": {} } },
        ]);
        let back = Managers::parse(list).expect("entries").into_value().expect("some");
        let names: Vec<&str> = back.as_array().expect("a list").iter().filter_map(|e| e["manager"].as_str()).collect();
        assert_eq!(names, ["z", "a", "b"]);
        assert_eq!(back[1], update("a", 1, "f:a"));
    }

    #[test]
    fn what_is_no_entry_is_refused() {
        let with = |key: &str, value: Value| {
            let mut entry = update("a", 1, "f:a");
            entry[key] = value;
            Managers::parse(json!([entry]))
        };
        assert!(with("operation", json!("Nope")).is_err() && with("apiVersion", json!("")).is_err());
        assert!(with("fieldsType", json!("V2")).is_err() && with("fieldsV1", json!({ "x": {} })).is_err());
        assert!(is_reset(&json!([])) && is_reset(&json!([{}])) && !is_reset(&json!([update("a", 1, "f:a")])));
        assert!(!is_reset(&Value::Null));
    }

    #[test]
    fn the_oldest_updates_are_merged() {
        let list: Vec<Value> = (0..12).map(|at| update(&format!("m{at:02}"), at, &format!("f:x{at:02}"))).collect();
        let mut managers = Managers::parse(list.into()).expect("entries");
        managers.cap();
        let back = managers.into_value().expect("some");
        assert_eq!(back.as_array().map(Vec::len), Some(10));
        assert_eq!(back[0]["manager"], "ancient-changes");
        assert_eq!(back[0]["fieldsV1"], json!({ "f:x00": {}, "f:x01": {}, "f:x02": {} }));
        assert_eq!(back[0]["time"], "2026-01-01T00:00:02Z");
    }
}

//! Which objects of a collection are wanted, and the collection as it lies in a picture of the store.

use std::collections::HashMap;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use store::View;
use store::api::Revision;

use crate::api::options::ListOptions;
use crate::api::serve::Call;
use crate::api::splice;
use crate::kind::Kind;
use crate::registry::key;
use crate::registry::shell::Registry;
use crate::selector::{Fields, Labels};
use crate::status::Status;

/// What of a collection is wanted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selection {
    labels: Labels,
    fields: Fields,
}

/// Of an object's metadata, what selectors look at.
#[derive(Deserialize)]
struct Labelled {
    #[serde(default)]
    labels: Option<HashMap<String, String>>,
}

impl Selection {
    pub(crate) fn parse(call: &Call<'_>, options: &ListOptions) -> Result<Selection, Status> {
        Ok(Selection {
            labels: Labels::parse(&options.label_selector)?,
            fields: Fields::parse(call.kind, &options.field_selector)?,
        })
    }

    /// Whether everything is wanted.
    pub(crate) fn is_plain(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    /// The one name that can match, if the selector fixes it.
    pub(crate) fn name(&self) -> Option<&str> {
        self.fields.name()
    }

    pub(crate) fn takes(&self, object: &Value) -> bool {
        self.is_plain()
            || (self.labels.matches(object["metadata"]["labels"].as_object()) && self.fields.matches(object))
    }

    /// Whether an object is wanted, as far as its namespace and name tell; none: they do not.
    pub(crate) fn by_place(&self, (namespace, name): (&str, &str)) -> Option<bool> {
        if self.is_plain() {
            return Some(true);
        }
        self.fields.by_name(namespace, name).filter(|wanted| !wanted || self.labels.is_empty())
    }

    /// The same for a stored object, which is decoded only as far as needed. `place`: its namespace and name.
    pub(crate) fn takes_stored(&self, place: (&str, &str), stored: &[u8]) -> Result<bool, Status> {
        match self.fields.by_name(place.0, place.1) {
            Some(false) => Ok(false),
            Some(true) if self.labels.is_empty() => Ok(true),
            Some(true) if let Some(metadata) = splice::metadata(stored) => {
                let held: Labelled = serde_json::from_slice(metadata).map_err(Status::internal)?;
                Ok(self.labels.takes(|key| held.labels.as_ref()?.get(key).map(String::as_str)))
            }
            _ => Ok(self.takes(&serde_json::from_slice(stored).map_err(Status::internal)?)),
        }
    }
}

/// The namespace and the name in a key of the store.
pub(crate) fn place<'a>(kind: &Kind, stored_at: &'a [u8]) -> (&'a str, &'a str) {
    let text = std::str::from_utf8(stored_at).unwrap_or_default();
    let rest = text.strip_prefix(key::prefix(kind, "").as_str()).unwrap_or_default();
    if kind.namespaced { rest.split_once('/').unwrap_or_default() } else { ("", rest) }
}

/// The wanted objects of a collection, one after the other, at one revision.
pub(crate) struct Rows {
    registry: Registry,
    kind: &'static Kind,
    view: View,
    /// Of all keys.
    prefix: String,
    from: Vec<u8>,
    end: Vec<u8>,
    selection: Selection,
}

impl Rows {
    /// `start`: where an earlier page ended, below the prefix.
    pub(crate) fn new(call: &Call<'_>, view: View, start: Option<&str>, selection: Selection) -> Rows {
        let prefix = key::prefix(call.kind, &call.path.namespace);
        let mut end = key::range_end(&prefix);
        let mut from = format!("{prefix}{}", start.unwrap_or_default()).into_bytes();
        let single = !call.kind.namespaced || !call.path.namespace.is_empty();
        if let Some(name) = selection.name().filter(|_| single) {
            let only = format!("{prefix}{name}").into_bytes();
            end = [only.as_slice(), b"\0"].concat();
            from = from.max(only);
        }
        // Nothing, rather than everything after it.
        from = from.min(end.clone());
        Rows { registry: call.api.registry.clone(), kind: call.kind, view, prefix, from, end, selection }
    }

    /// The revision that is shown.
    pub(crate) fn revision(&self) -> Revision {
        self.view.revision()
    }

    /// Passes objects on until it is told that they suffice; answers whether the end was reached.
    pub(crate) fn each(
        &mut self,
        mut take: impl FnMut(&[u8], Revision) -> Result<bool, Status>,
    ) -> Result<bool, Status> {
        let mut last: Option<Bytes> = None;
        if self.from < self.end {
            for kv in self.view.range(&self.from, &self.end) {
                let stored = self.registry.opened_as(self.kind, &kv)?;
                let wanted =
                    self.selection.is_plain() || self.selection.takes_stored(place(self.kind, &kv.key), &stored)?;
                let more = !wanted || take(&stored, kv.mod_revision)?;
                if !more {
                    last = Some(kv.key.clone());
                    break;
                }
            }
        }
        match last {
            Some(key) => {
                self.from = [&key, b"\0".as_slice()].concat();
                Ok(false)
            }
            None => {
                self.from.clone_from(&self.end);
                Ok(true)
            }
        }
    }

    /// Where the next page begins, and how many objects follow if that is known without looking at them.
    pub(crate) fn rest(&self) -> Option<(String, Option<u64>)> {
        if self.from >= self.end {
            return None;
        }
        let next = self.view.range(&self.from, &self.end).next()?;
        let start = String::from_utf8_lossy(&next.key[self.prefix.len()..]).into_owned();
        Some((start, self.selection.is_plain().then(|| self.view.count(&self.from, &self.end))))
    }
}

//! Content negotiation: what an `Accept` header gets, and what a `Content-Type` means.
//!
//! Source: k8s.io/apiserver `endpoints/handlers/negotiation/negotiate.go`.

use serde_json::json;

use crate::status::Status;

/// How bytes are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `application/json`
    Json,
    /// `application/yaml`
    Yaml,
}

/// Which view of an object is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As it is.
    Plain,
    /// `Table` of meta.k8s.io, with its version.
    Table(&'static str),
    /// `PartialObjectMetadata` of meta.k8s.io, with its version.
    Metadata(&'static str),
    /// `PartialObjectMetadataList` of meta.k8s.io, with its version.
    MetadataList(&'static str),
    /// `APIGroupDiscoveryList`: all groups with all their resources.
    Aggregated,
}

/// What was agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Representation {
    /// How bytes are written.
    pub format: Format,
    /// Which view.
    pub form: Form,
    /// Indented JSON.
    pub pretty: bool,
}

impl Representation {
    /// What errors and plain answers use when nothing was agreed on.
    pub const JSON: Representation = Representation { format: Format::Json, form: Form::Plain, pretty: false };
}

/// What an endpoint can offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// Objects and lists, also as tables and as metadata.
    Any,
    /// Only as they are.
    Plain,
    /// A stream of events.
    Stream,
    /// What is served: lists of names, or everything at once.
    Discovery,
}

/// Media types this server writes, and protobuf, which it names as Kubernetes does but answers in JSON.
const WRITTEN: &str = "application/json, application/yaml, application/vnd.kubernetes.protobuf";

/// Finds what to answer with. A missing or empty header takes anything.
///
/// # Errors
/// 406 in the wording of the layer that refuses in Kubernetes.
pub fn negotiate(accept: Option<&str>, offer: Offer) -> Result<Representation, Status> {
    let accept = accept.map(str::trim).unwrap_or_default();
    if accept.is_empty() {
        return Ok(Representation::JSON);
    }
    let mut clauses: Vec<Clause<'_>> = accept.split(',').map(Clause::parse).collect();
    clauses.sort_by(|a, b| b.quality.total_cmp(&a.quality));
    if let Some(found) = clauses.iter().find_map(|clause| clause.representation(offer)) {
        return Ok(found);
    }
    let known = clauses.iter().any(|clause| clause.format().is_some() || clause.media == PROTOBUF);
    if !known {
        let mut status =
            Status::new(406, "NotAcceptable", format!("406: Not Acceptable\n\nAvailable representations: {WRITTEN}"));
        status.details = json!({});
        return Err(status);
    }
    Err(unacceptable(offer))
}

/// The refusal of a client that takes nothing of what is offered.
pub fn unacceptable(offer: Offer) -> Status {
    let accepted = match offer {
        Offer::Stream => "application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch",
        Offer::Any | Offer::Plain | Offer::Discovery => WRITTEN,
    };
    Status::new(406, "NotAcceptable", format!("only the following media types are accepted: {accepted}"))
}

/// How an error is written: as the answer would have been, else as JSON.
pub fn format(accept: Option<&str>) -> Format {
    negotiate(accept, Offer::Any).map_or(Format::Json, |found| found.format)
}

/// The media type of protobuf bodies.
pub const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

struct Clause<'a> {
    media: &'a str,
    quality: f32,
    kind: Option<&'a str>,
    version: Option<&'a str>,
    group: Option<&'a str>,
}

impl<'a> Clause<'a> {
    fn parse(text: &'a str) -> Clause<'a> {
        let mut parts = text.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default();
        let mut clause = Clause { media, quality: 1.0, kind: None, version: None, group: None };
        for (key, value) in parts.filter_map(|part| part.split_once('=')) {
            match key {
                "q" => clause.quality = value.parse().unwrap_or(1.0),
                "as" => clause.kind = Some(value),
                "v" => clause.version = Some(value),
                "g" => clause.group = Some(value),
                _ => {}
            }
        }
        clause
    }

    fn format(&self) -> Option<Format> {
        match self.media {
            "application/json" | "application/*" | "*/*" => Some(Format::Json),
            "application/yaml" => Some(Format::Yaml),
            _ => None,
        }
    }

    fn representation(&self, offer: Offer) -> Option<Representation> {
        let format = self.format()?;
        if offer == Offer::Stream && format == Format::Yaml {
            return None;
        }
        let form = match (self.kind, offer) {
            (None, _) => Form::Plain,
            (Some(_), Offer::Plain) => return None,
            (Some(kind), Offer::Discovery) => match (kind, self.group, self.version) {
                ("APIGroupDiscoveryList", Some("apidiscovery.k8s.io"), Some("v2")) => Form::Aggregated,
                _ => return None,
            },
            (Some(kind), _) => {
                let version = match (self.group, self.version) {
                    (Some("meta.k8s.io"), Some("v1")) => "v1",
                    (Some("meta.k8s.io"), Some("v1beta1")) => "v1beta1",
                    _ => return None,
                };
                match kind {
                    "Table" => Form::Table(version),
                    "PartialObjectMetadata" => Form::Metadata(version),
                    "PartialObjectMetadataList" => Form::MetadataList(version),
                    _ => return None,
                }
            }
        };
        Some(Representation { format, form, pretty: false })
    }
}

/// Whether JSON is indented: as asked, else for people's tools (k8s.io/apiserver `negotiate.go`, `isPrettyPrint`).
pub fn pretty(parameter: Option<&str>, user_agent: &str) -> bool {
    match parameter {
        Some(value) => !value.eq_ignore_ascii_case("false") && value != "0",
        None => ["curl", "Wget", "Mozilla/5.0"].iter().any(|tool| user_agent.starts_with(tool)),
    }
}

/// The media type of a header value, without parameters.
pub fn media_type(header: &str) -> &str {
    header.split(';').next().unwrap_or_default().trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agreed(accept: &str, offer: Offer) -> String {
        match negotiate(Some(accept), offer) {
            Ok(Representation { format, form, .. }) => format!("{format:?} {form:?}"),
            Err(status) => status.message,
        }
    }

    #[test]
    fn headers() {
        let none = "406: Not Acceptable\n\nAvailable representations: application/json, application/yaml, application/vnd.kubernetes.protobuf";
        let only = "only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf";
        let table = [
            ("", Offer::Any, "Json Plain"),
            ("text/html,application/xml;q=0.9,*/*;q=0.8", Offer::Any, "Json Plain"),
            ("application/yaml;q=0.1,application/json;q=0.9", Offer::Any, "Json Plain"),
            ("application/yaml", Offer::Any, "Yaml Plain"),
            ("APPLICATION/JSON", Offer::Any, none),
            ("application/cbor", Offer::Any, none),
            ("application/json;as=Table;v=v1;g=meta.k8s.io,application/json", Offer::Any, "Json Table(\"v1\")"),
            ("application/json;as=Table;v=v1;g=meta.k8s.io", Offer::Plain, only),
            ("application/json;as=Table;v=v2;g=meta.k8s.io", Offer::Any, only),
            ("application/json;as=Table;v=v2;g=meta.k8s.io,application/json", Offer::Any, "Json Plain"),
            ("application/vnd.kubernetes.protobuf,application/json", Offer::Any, "Json Plain"),
            (
                "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1beta1",
                Offer::Any,
                "Json Metadata(\"v1beta1\")",
            ),
            (
                "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList, application/json",
                Offer::Discovery,
                "Json Aggregated",
            ),
            (
                "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json",
                Offer::Discovery,
                "Json Plain",
            ),
            ("application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList", Offer::Discovery, only),
            (
                "application/yaml",
                Offer::Stream,
                "only the following media types are accepted: application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch",
            ),
        ];
        for (accept, offer, want) in table {
            assert_eq!(agreed(accept, offer), want, "{accept}");
        }
    }
}

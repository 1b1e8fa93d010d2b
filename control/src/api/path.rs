//! What a request names: path and method in, group, version, resource, namespace, name, subresource and verb out.
//!
//! Source: k8s.io/apiserver `endpoints/request/requestinfo.go`.

/// What is done to a resource, in RBAC's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "Kubernetes' own names")]
pub enum Verb {
    Get,
    List,
    Watch,
    Create,
    Update,
    Patch,
    Delete,
    DeleteCollection,
}

impl Verb {
    /// As rules spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Verb::Get => "get",
            Verb::List => "list",
            Verb::Watch => "watch",
            Verb::Create => "create",
            Verb::Update => "update",
            Verb::Patch => "patch",
            Verb::Delete => "delete",
            Verb::DeleteCollection => "deletecollection",
        }
    }
}

/// A path that names a resource, whether or not anybody serves it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResourcePath {
    /// API group, empty for the core group.
    pub group: String,
    /// API version.
    pub version: String,
    /// Plural resource name.
    pub resource: String,
    /// Empty at the cluster scope.
    pub namespace: String,
    /// Empty for collections.
    pub name: String,
    /// Empty for the main resource.
    pub subresource: String,
    /// What follows the subresource, `/` included: the path to proxy to. Empty otherwise.
    pub rest: String,
    /// The old form `/api/v1/watch/…`.
    pub watch: bool,
}

/// Where a path leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Below a group and version.
    Resource(ResourcePath),
    /// Below this group and a version, but of no form that any resource has.
    Unserved(String),
    /// Discovery, health, and everything else; without a trailing slash.
    Other(String),
}

/// Subresources of a namespace; any other word after its name is a resource in it.
const OF_NAMESPACES: [&str; 2] = ["status", "finalize"];

/// Reads a path (without the query).
pub fn parse(path: &str) -> Target {
    let trimmed = path.trim_end_matches('/');
    let raw: Vec<&str> = trimmed.split('/').skip(1).collect();
    let (group, version, rest) = match raw.as_slice() {
        ["api", version, rest @ ..] if !rest.is_empty() => ("", *version, rest),
        ["apis", group, version, rest @ ..] if !rest.is_empty() => (*group, *version, rest),
        _ => return Target::Other(if trimmed.is_empty() { "/".to_owned() } else { trimmed.to_owned() }),
    };
    let (watch, rest) = match rest {
        ["watch", rest @ ..] if !rest.is_empty() => (true, rest),
        rest => (false, rest),
    };
    let (namespace, rest) = match rest {
        ["namespaces", namespace, next, ..] if !OF_NAMESPACES.contains(next) => (*namespace, &rest[2..]),
        ["namespaces", namespace, _, ..] => (*namespace, rest),
        rest => ("", rest),
    };
    let unserved = || Target::Unserved(group.to_owned());
    let Some((resource, rest)) = rest.split_first() else { return unserved() };
    let (name, rest) = rest.split_first().map_or(("", rest), |(name, rest)| (*name, rest));
    let (subresource, rest) = rest.split_first().map_or(("", rest), |(subresource, rest)| (*subresource, rest));
    let proxied = subresource == "proxy";
    let empty_inside = resource.is_empty() || (name.is_empty() && !subresource.is_empty());
    if empty_inside || (!rest.is_empty() && !proxied) {
        return unserved();
    }
    let namespace = if *resource == "namespaces" { name } else { namespace };
    Target::Resource(ResourcePath {
        group: group.to_owned(),
        version: version.to_owned(),
        resource: (*resource).to_owned(),
        namespace: decode(namespace, false),
        name: decode(name, false),
        subresource: subresource.to_owned(),
        rest: if proxied { rest.iter().map(|part| format!("/{part}")).collect() } else { String::new() },
        watch,
    })
}

/// The verb of a method on a path; `None` for methods Kubernetes does not know. A HEAD is authorized as a GET, and then
/// not allowed.
pub fn verb(method: &str, path: &ResourcePath, query: &Query) -> Option<Verb> {
    Some(match (method, path.name.is_empty()) {
        ("GET" | "HEAD", _) if path.watch => Verb::Watch,
        ("GET" | "HEAD", false) => Verb::Get,
        ("GET" | "HEAD", true) if query.truthy("watch") => Verb::Watch,
        ("GET" | "HEAD", true) => Verb::List,
        ("POST", _) => Verb::Create,
        ("PUT", _) => Verb::Update,
        ("PATCH", _) => Verb::Patch,
        ("DELETE", false) => Verb::Delete,
        ("DELETE", true) => Verb::DeleteCollection,
        _ => return None,
    })
}

/// A decoded query, in its order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Reads `a=b&c`.
    pub fn parse(text: &str) -> Query {
        let pairs = text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(key, true), decode(value, true))
        });
        Query(pairs.collect())
    }

    /// The first value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// Every value of a key.
    pub fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// The first value, empty when there is none.
    pub fn text(&self, key: &str) -> &str {
        self.get(key).unwrap_or_default()
    }

    /// A switch as Kubernetes reads it: on for everything but `false` and `0`
    /// (k8s.io/apimachinery `runtime/converter.go`, `Convert_Slice_string_To_bool`).
    pub fn truthy(&self, key: &str) -> bool {
        self.get(key).is_some_and(|value| !value.eq_ignore_ascii_case("false") && value != "0")
    }
}

/// Undoes percent-encoding; `+` is a space in queries. What is no escape stays as it is.
pub(crate) fn decode(text: &str, query: bool) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escaped = (bytes[at] == b'%')
            .then(|| text.get(at + 1..at + 3).and_then(|hex| u8::from_str_radix(hex, 16).ok()))
            .flatten();
        match (bytes[at], escaped) {
            (_, Some(byte)) => {
                out.push(byte);
                at += 2;
            }
            (b'+', None) if query => out.push(b' '),
            (byte, None) => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(method: &str, path: &str, query: &str) -> String {
        match parse(path) {
            Target::Other(path) => format!("other {path}"),
            Target::Unserved(group) => format!("unserved {group}").trim_end().to_owned(),
            Target::Resource(p) => {
                let verb = verb(method, &p, &Query::parse(query)).map_or("-", Verb::as_str);
                format!(
                    "{verb} {}/{} ns={} {} {} {}{}",
                    p.group, p.version, p.namespace, p.resource, p.name, p.subresource, p.rest
                )
                .trim_end()
                .to_owned()
            }
        }
    }

    #[test]
    fn paths() {
        let table = [
            ("GET", "/api/v1/namespaces/x/pods/p/log", "", "get /v1 ns=x pods p log"),
            ("GET", "/api/v1/namespaces/x", "", "get /v1 ns=x namespaces x"),
            ("GET", "/api/v1/namespaces/x/", "", "get /v1 ns=x namespaces x"),
            ("PUT", "/api/v1/namespaces/x/finalize", "", "update /v1 ns=x namespaces x finalize"),
            ("GET", "/api/v1/namespaces", "watch=maybe", "watch /v1 ns= namespaces"),
            ("GET", "/api/v1/namespaces", "watch=false", "list /v1 ns= namespaces"),
            ("GET", "/apis/apps/v1/namespaces/x/deployments/d/scale", "", "get apps/v1 ns=x deployments d scale"),
            ("DELETE", "/apis/apps/v1/namespaces/x/deployments", "", "deletecollection apps/v1 ns=x deployments"),
            ("GET", "/api/v1/watch/namespaces/x/pods", "", "watch /v1 ns=x pods"),
            ("GET", "/api/v1/nodes/n/proxy/a/b", "", "get /v1 ns= nodes n proxy/a/b"),
            ("GET", "/api/v1/namespaces/x/pods/a/log/b", "", "unserved"),
            ("GET", "/api/v1//namespaces", "", "unserved"),
            ("GET", "/apis/apps/v1//x", "", "unserved apps"),
            ("GET", "/api/v1", "", "other /api/v1"),
            ("GET", "/api/", "", "other /api"),
            ("GET", "/", "", "other /"),
            ("FROB", "/api/v1/pods", "", "- /v1 ns= pods"),
            (
                "GET",
                "/apis/rbac.authorization.k8s.io/v1/clusterroles/system%3Anode",
                "",
                "get rbac.authorization.k8s.io/v1 ns= clusterroles system:node",
            ),
        ];
        for (method, path, query, want) in table {
            assert_eq!(line(method, path, query), want, "{method} {path}?{query}");
        }
    }

    #[test]
    fn queries() {
        let query = Query::parse("labelSelector=a%3Db%2Cc&x=1+2&command=ls&command=-l&bad=%zz");
        assert_eq!(query.text("labelSelector"), "a=b,c");
        assert_eq!(query.text("x"), "1 2");
        assert_eq!(query.all("command").collect::<Vec<_>>(), ["ls", "-l"]);
        assert_eq!(query.text("bad"), "%zz");
    }
}

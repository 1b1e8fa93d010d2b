//! Which resource a word means, by what the cluster says that it serves.
//!
//! Source: Kubernetes' aggregated discovery, `apidiscovery.k8s.io/v2`; the words are those that kubectl takes.

use serde_json::Value;

/// A resource that the cluster serves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Resource {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) kind: String,
    pub(crate) plural: String,
    singular: String,
    short_names: Vec<String>,
    categories: Vec<String>,
    pub(crate) namespaced: bool,
    listed: bool,
}

impl Resource {
    /// `v1`, `apps/v1`.
    pub(crate) fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// `pod/web`, `deployment.apps/web`: how an object is named to people.
    pub(crate) fn title(&self, name: &str) -> String {
        let dot = if self.group.is_empty() { "" } else { "." };
        format!("{}{dot}{}/{name}", self.singular, self.group)
    }

    /// The path of its objects; of all namespaces when none is given.
    pub(crate) fn collection(&self, namespace: Option<&str>) -> String {
        let root = if self.group.is_empty() { "/api" } else { "/apis" };
        let place = match namespace.filter(|_| self.namespaced) {
            Some(namespace) => format!("namespaces/{namespace}/"),
            None => String::new(),
        };
        format!("{root}/{}/{place}{}", self.api_version(), self.plural)
    }

    /// The path of one object.
    pub(crate) fn object(&self, namespace: &str, name: &str) -> String {
        format!("{}/{name}", self.collection(Some(namespace)))
    }

    fn answers_to(&self, word: &str) -> bool {
        let qualified = |name: &str| word == name || word == format!("{name}.{}", self.group);
        let words = [self.plural.as_str(), self.singular.as_str()].into_iter();
        words.chain(self.short_names.iter().map(String::as_str)).any(qualified) || word == self.kind.to_lowercase()
    }
}

/// The resources of discovery documents, in their order: the core group's first.
pub(crate) fn parse(documents: &[Value]) -> Vec<Resource> {
    let mut all = Vec::new();
    for group in documents.iter().flat_map(|document| document["items"].as_array()).flatten() {
        let name = text(&group["metadata"]["name"]);
        // Versions come in the order of preference: only the first is asked for.
        for version in group["versions"].as_array().into_iter().flatten().take(1) {
            let resources = version["resources"].as_array().into_iter().flatten();
            all.extend(resources.map(|resource| one(&name, &text(&version["version"]), resource)));
        }
    }
    all
}

fn one(group: &str, version: &str, resource: &Value) -> Resource {
    let words = |key: &str| resource[key].as_array().into_iter().flatten().map(text).collect();
    Resource {
        group: group.to_owned(),
        version: version.to_owned(),
        kind: text(&resource["responseKind"]["kind"]),
        plural: text(&resource["resource"]),
        singular: text(&resource["singularResource"]),
        short_names: words("shortNames"),
        categories: words("categories"),
        namespaced: resource["scope"] == "Namespaced",
        listed: resource["verbs"].as_array().is_some_and(|verbs| verbs.iter().any(|verb| verb == "list")),
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The resources that a word means: one by its name, or those of a category (`all`), several with commas between.
///
/// # Errors
/// Which word means nothing here.
pub(crate) fn find<'a>(all: &'a [Resource], words: &str) -> Result<Vec<&'a Resource>, String> {
    let mut found: Vec<&Resource> = Vec::new();
    for word in words.split(',').map(str::to_lowercase) {
        let named = all.iter().find(|resource| resource.answers_to(&word));
        let of_category = |resource: &&Resource| resource.listed && resource.categories.contains(&word);
        let before = found.len();
        match named {
            Some(resource) => found.push(resource),
            None => found.extend(all.iter().filter(of_category)),
        }
        if found.len() == before {
            return Err(format!(
                "the cluster serves no resource {word:?}; `kubectl api-resources` lists those it does"
            ));
        }
    }
    Ok(found)
}

/// The resource of an object.
///
/// # Errors
/// When the cluster does not serve its kind.
pub(crate) fn of<'a>(all: &'a [Resource], object: &Value) -> Result<&'a Resource, String> {
    let (api_version, kind) = (text(&object["apiVersion"]), text(&object["kind"]));
    let found = all.iter().find(|resource| resource.kind == kind && resource.api_version() == api_version);
    found.ok_or_else(|| format!("the cluster serves no kind {kind:?} in {api_version:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn served() -> Vec<Resource> {
        let resource = |plural: &str, singular: &str, kind: &str, short: &[&str], categories: &[&str]| {
            json!({ "resource": plural, "singularResource": singular, "responseKind": { "kind": kind },
                "shortNames": short, "categories": categories, "scope": "Namespaced", "verbs": ["list"] })
        };
        let group = |name: &str, resources: Vec<Value>| json!({ "items": [{ "metadata": { "name": name }, "versions": [{ "version": "v1", "resources": resources }] }] });
        parse(&[
            group(
                "",
                vec![
                    resource("pods", "pod", "Pod", &["po"], &["all"]),
                    resource("events", "event", "Event", &["ev"], &[]),
                ],
            ),
            group("apps", vec![resource("deployments", "deployment", "Deployment", &["deploy"], &["all"])]),
        ])
    }

    fn meant(words: &str) -> String {
        match find(&served(), words) {
            Ok(found) => found.iter().map(|resource| resource.title("x")).collect::<Vec<_>>().join(" "),
            Err(why) => why,
        }
    }

    #[test]
    fn words_mean_resources() {
        assert_eq!(meant("po"), "pod/x");
        assert_eq!(meant("Deployment"), "deployment.apps/x");
        assert_eq!(meant("deployments.apps,ev"), "deployment.apps/x event/x");
        assert_eq!(meant("all"), "pod/x deployment.apps/x");
        assert!(meant("pots").starts_with("the cluster serves no resource \"pots\""));
    }

    #[test]
    fn paths_lead_to_objects() {
        let all = served();
        let deployment = of(&all, &json!({ "apiVersion": "apps/v1", "kind": "Deployment" })).expect("served");
        assert_eq!(deployment.object("shop", "web"), "/apis/apps/v1/namespaces/shop/deployments/web");
        assert_eq!(all[0].collection(None), "/api/v1/pods");
        assert!(of(&all, &json!({ "apiVersion": "v1", "kind": "Deployment" })).is_err());
    }
}

//! PURE: what was entered on the page "Deploy" as objects, and where on it the API's refusals belong.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::api::path::Query;
use crate::dashboard::order::Refusal;
use crate::kind::{self, Kind};

/// Objects in one pasted text at most.
const OBJECTS_MAX: usize = 100;

/// The form for an application, as it was entered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Application {
    /// Name of the Deployment and the Service.
    pub name: String,
    /// Where they go.
    pub namespace: String,
    /// What the container runs.
    pub image: String,
    /// How many pods.
    pub replicas: String,
    /// The port that the container listens on; empty for none.
    pub port: String,
    /// `none`, `cluster` (a ClusterIP), `nodes` (a NodePort).
    pub expose: String,
    /// Instead of the image's command: one argument a line.
    pub command: String,
    /// `NAME=value`, one a line.
    pub environment: String,
}

/// What is wrong, by the field of the form where it is shown; the empty field is the form as a whole.
pub type Errors = BTreeMap<&'static str, String>;

/// A kind and an object of it, with the namespace it goes to.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// Its kind.
    pub kind: &'static Kind,
    /// Empty at the cluster scope.
    pub namespace: String,
    /// Empty when the API chooses one.
    pub name: String,
    /// The object.
    pub object: Value,
}

impl Application {
    /// The empty form.
    pub fn empty(namespace: &str) -> Application {
        Application {
            namespace: if namespace.is_empty() { "default" } else { namespace }.to_owned(),
            replicas: "1".to_owned(),
            expose: "none".to_owned(),
            ..Application::default()
        }
    }

    /// Reads a submitted form.
    pub fn parse(form: &Query) -> Application {
        let field = |name: &str| form.text(name).trim().to_owned();
        Application {
            name: field("name"),
            namespace: field("namespace"),
            image: field("image"),
            replicas: field("replicas"),
            port: field("port"),
            expose: field("expose"),
            command: field("command").replace('\r', ""),
            environment: field("environment").replace('\r', ""),
        }
    }

    /// The objects that make it.
    ///
    /// # Errors
    /// What cannot be put into objects at all; everything else is the API's to judge.
    pub fn objects(&self) -> Result<Vec<Wanted>, Errors> {
        let mut errors = Errors::new();
        for (field, value, what) in [
            ("name", &self.name, "a name"),
            ("image", &self.image, "an image"),
            ("namespace", &self.namespace, "a namespace"),
        ] {
            if value.is_empty() {
                errors.insert(field, format!("Enter {what}."));
            }
        }
        let replicas = self.replicas.parse::<i32>();
        if replicas.is_err() {
            errors.insert("replicas", "Enter a whole number.".to_owned());
        }
        let port = if self.port.is_empty() { Ok(None) } else { self.port.parse::<u16>().map(Some) };
        match &port {
            Err(_) => drop(errors.insert("port", "Enter a number from 1 to 65535.".to_owned())),
            Ok(None) if self.expose != "none" => {
                errors.insert("port", "A Service needs the port that the container listens on.".to_owned());
            }
            Ok(_) => {}
        }
        let environment = self.variables().map_err(|why| errors.insert("environment", why));
        let (Ok(replicas), Ok(port), Ok(environment), true) = (replicas, port, environment, errors.is_empty()) else {
            return Err(errors);
        };
        let mut wanted = vec![self.wanted(self.deployment(replicas, port, &environment))];
        if let Some(port) = port.filter(|_| self.expose != "none") {
            wanted.push(self.wanted(self.service(port)));
        }
        Ok(wanted)
    }

    fn wanted(&self, object: Value) -> Wanted {
        let word = |field: &str| object[field].as_str().unwrap_or_default();
        let kind = kind::named(word("apiVersion"), word("kind")).expect("Deployment and Service are rows of the table");
        Wanted { kind, namespace: self.namespace.clone(), name: self.name.clone(), object }
    }

    fn variables(&self) -> Result<Vec<Value>, String> {
        let lines = self.environment.lines().map(str::trim).filter(|line| !line.is_empty());
        let variable = |line: &str| match line.split_once('=') {
            Some((name, value)) => Ok(json!({ "name": name.trim(), "value": value })),
            None => Err(format!("“{line}” is not of the form NAME=value.")),
        };
        lines.map(variable).collect()
    }

    fn deployment(&self, replicas: i32, port: Option<u16>, environment: &[Value]) -> Value {
        let labels = json!({ "app": self.name });
        let mut container = json!({ "name": "app", "image": self.image });
        if let Some(port) = port {
            container["ports"] = json!([{ "containerPort": port }]);
        }
        if !environment.is_empty() {
            container["env"] = environment.into();
        }
        if !self.command.is_empty() {
            container["command"] = self.command.lines().collect::<Vec<_>>().into();
        }
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": { "name": self.name, "namespace": self.namespace, "labels": labels },
            "spec": {
                "replicas": replicas,
                "selector": { "matchLabels": labels },
                "template": { "metadata": { "labels": labels }, "spec": { "containers": [container] } },
            },
        })
    }

    fn service(&self, port: u16) -> Value {
        let labels = json!({ "app": self.name });
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": { "name": self.name, "namespace": self.namespace, "labels": labels },
            "spec": {
                "type": if self.expose == "nodes" { "NodePort" } else { "ClusterIP" },
                "selector": labels,
                "ports": [{ "port": port, "targetPort": port }],
            },
        })
    }
}

/// Where on the form each part of a refusal is shown.
pub fn place(refusal: &Refusal) -> Errors {
    let mut errors = Errors::new();
    let mut add = |field: &'static str, text: &str| {
        let held: &mut String = errors.entry(field).or_default();
        if !held.is_empty() {
            held.push_str("; ");
        }
        held.push_str(text);
    };
    for (field, text) in &refusal.causes {
        match field_of(field) {
            // The path into the object says nothing to who fills in a form.
            Some(known) => add(known, text),
            None => add("", &format!("{field}: {text}")),
        }
    }
    if refusal.causes.is_empty() {
        let field = match (refusal.code, refusal.about.as_str()) {
            (404, "namespaces") => "namespace",
            (409, "deployments" | "services") => "name",
            _ => "",
        };
        add(field, &refusal.message);
    }
    errors
}

/// The form's field that a field of the objects comes from.
fn field_of(path: &str) -> Option<&'static str> {
    let known = [
        ("metadata.name", "name"),
        ("metadata.labels", "name"),
        ("metadata.namespace", "namespace"),
        ("spec.replicas", "replicas"),
        ("spec.selector", "name"),
        ("spec.template.metadata.labels", "name"),
        ("spec.template.spec.containers[0].image", "image"),
        ("spec.template.spec.containers[0].ports", "port"),
        ("spec.template.spec.containers[0].env", "environment"),
        ("spec.template.spec.containers[0].command", "command"),
        ("spec.ports", "port"),
        ("spec.type", "expose"),
    ];
    known.iter().find(|(prefix, _)| path.starts_with(prefix)).map(|(_, field)| *field)
}

/// The objects of a pasted text, YAML or JSON, several documents and lists too.
///
/// # Errors
/// A text for people: what cannot be read, and where.
pub fn documents(text: &str, namespace: &str) -> Result<Vec<Wanted>, String> {
    let parsed: Vec<Value> = serde_saphyr::from_multiple(text).map_err(|error| error.to_string())?;
    let mut objects = Vec::new();
    for document in parsed {
        match document["items"].as_array() {
            Some(items) if document["kind"].as_str().is_some_and(|kind| kind.ends_with("List")) => {
                objects.extend(items.iter().cloned());
            }
            _ if document.is_null() => {}
            _ => objects.push(document),
        }
    }
    match objects.len() {
        0 => Err("There is nothing in it. Paste one or more objects, separated by lines of ---.".to_owned()),
        count if count > OBJECTS_MAX => {
            Err(format!("{count} objects are too many at once; {OBJECTS_MAX} is the limit."))
        }
        _ => objects.into_iter().enumerate().map(|(at, object)| wanted(at + 1, object, namespace)).collect(),
    }
}

fn wanted(number: usize, object: Value, namespace: &str) -> Result<Wanted, String> {
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (version, name) = (word(&object["apiVersion"]), word(&object["kind"]));
    if version.is_empty() || name.is_empty() {
        return Err(format!("Object {number} does not say its apiVersion and kind."));
    }
    let kind = kind::named(&version, &name).filter(|kind| kind.stored);
    let kind = kind.ok_or_else(|| format!("Object {number}: this cluster has no kind {name} in version {version}."))?;
    let own = word(&object["metadata"]["namespace"]);
    let namespace = match (kind.namespaced, own.as_str(), namespace) {
        (false, ..) => String::new(),
        (true, "", "") => "default".to_owned(),
        (true, "", chosen) => chosen.to_owned(),
        (true, own, _) => own.to_owned(),
    };
    let name = word(&object["metadata"]["name"]);
    Ok(Wanted { kind, namespace, name, object })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled() -> Application {
        let form = "name=web&namespace=shop&image=nginx&replicas=2&port=80&expose=nodes&environment=A%3D1%0D%0AB%3Dx%3Dy&command=a%0D%0Ab+c";
        Application::parse(&Query::parse(form))
    }

    #[test]
    fn a_form_becomes_a_deployment_and_a_service() {
        let objects = filled().objects().expect("good");
        let (deployment, service) = (&objects[0].object, &objects[1].object);
        let container = &deployment["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(
            container.to_string(),
            r#"{"command":["a","b c"],"env":[{"name":"A","value":"1"},{"name":"B","value":"x=y"}],"image":"nginx","name":"app","ports":[{"containerPort":80}]}"#
        );
        assert_eq!(
            (deployment["spec"]["replicas"].as_i64(), service["spec"]["type"].as_str()),
            (Some(2), Some("NodePort"))
        );
        assert_eq!(service["spec"]["selector"], deployment["spec"]["selector"]["matchLabels"]);
        let alone = Application { expose: "none".to_owned(), port: String::new(), ..filled() };
        assert_eq!(alone.objects().expect("good").len(), 1);
    }

    #[test]
    fn what_cannot_be_an_object_is_said_at_its_field() {
        let bad = Application {
            name: String::new(),
            replicas: "two".to_owned(),
            port: String::new(),
            environment: "A".to_owned(),
            ..filled()
        };
        let errors = bad.objects().expect_err("bad");
        assert_eq!(errors.keys().copied().collect::<Vec<_>>(), ["environment", "name", "port", "replicas"]);
    }

    #[test]
    fn refusals_are_shown_where_they_belong() {
        let refusal = |code, about: &str, causes: &[(&str, &str)]| Refusal {
            code,
            message: "all of it".to_owned(),
            about: about.to_owned(),
            causes: causes.iter().map(|(field, text)| ((*field).to_owned(), (*text).to_owned())).collect(),
        };
        let causes = [("spec.replicas", "too few"), ("metadata.name", "bad"), ("spec.selector", "bad too"), ("x", "y")];
        let shown = place(&refusal(422, "Deployment", &causes));
        let shown: Vec<_> = shown.iter().map(|(field, text)| format!("{field}={text}")).collect();
        assert_eq!(shown, ["=x: y", "name=bad; bad too", "replicas=too few"]);
        for (code, about, field) in
            [(404, "namespaces", "namespace"), (409, "services", "name"), (403, "deployments", "")]
        {
            assert_eq!(place(&refusal(code, about, &[])).get(field).map(String::as_str), Some("all of it"));
        }
    }

    #[test]
    fn pasted_objects_say_what_they_are_and_where_they_go() {
        let text = "kind: Namespace\napiVersion: v1\nmetadata: {name: shop}\n---\n---\nkind: List\napiVersion: v1\nitems:\n\
                    - {kind: Pod, apiVersion: v1, metadata: {name: a}}\n- {kind: Pod, apiVersion: v1, metadata: {name: b, namespace: x}}\n";
        let found = documents(text, "team").expect("good");
        let found: Vec<_> = found.iter().map(|w| format!("{} {:?} {}", w.kind.kind, w.namespace, w.name)).collect();
        assert_eq!(found, [r#"Namespace "" shop"#, r#"Pod "team" a"#, r#"Pod "x" b"#]);
        for (text, part) in [
            ("", "nothing in it"),
            ("a: [", "line"),
            ("kind: Pod", "does not say its apiVersion"),
            ("{kind: Gadget, apiVersion: v1}", "no kind Gadget"),
            ("{kind: SelfSubjectReview, apiVersion: authentication.k8s.io/v1}", "no kind"),
        ] {
            let why = documents(text, "").expect_err("bad");
            assert!(why.contains(part), "{text}: {why}");
        }
    }
}

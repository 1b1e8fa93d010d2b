//! `raftsman apply|get|delete`: objects of the Kubernetes API, for machines without kubectl.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;
use http::Method;
use serde::Deserialize;
use serde_json::Value;

use crate::access::{Access, Cluster, JSON, Output, TABLE};
use crate::exit::{Failure, say};
use crate::resource::{self, Resource};
use crate::show::{self, Columns};
use crate::waiting;

/// The field manager of what is applied.
const MANAGER: &str = "raftsman";

/// Where objects lie.
#[derive(Args, Clone)]
pub(crate) struct Place {
    /// Namespace [default: the one of the kubeconfig's context, else `default`]
    #[arg(long, short)]
    namespace: Option<String>,
    #[command(flatten)]
    pub(crate) access: Access,
}

impl Place {
    pub(crate) fn namespace<'a>(&'a self, cluster: &'a Cluster) -> &'a str {
        self.namespace.as_deref().unwrap_or_else(|| cluster.client.default_namespace())
    }
}

#[derive(Args)]
pub(crate) struct Get {
    /// What: `pods`, `deploy,svc`, `all`, or one object as `pod/web`
    resource: String,
    /// Only the object of this name
    name: Option<String>,
    /// Only objects with these labels, e.g. `app=web,tier!=db`
    #[arg(long, short = 'l', value_name = "SELECTOR")]
    selector: Option<String>,
    /// Only objects with these fields, e.g. `status.phase=Running`
    #[arg(long, value_name = "SELECTOR")]
    field_selector: Option<String>,
    /// Of all namespaces
    #[arg(long, short = 'A')]
    all_namespaces: bool,
    /// Go on and print what changes, until Ctrl-C
    #[arg(long, short)]
    watch: bool,
    #[command(flatten)]
    place: Place,
}

#[derive(Args)]
pub(crate) struct Apply {
    /// File or folder with YAML or JSON; `-` reads standard input
    #[arg(long, short, required = true, value_name = "FILE")]
    filename: Vec<PathBuf>,
    /// Let the cluster check everything and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Take fields over from whoever set them
    #[arg(long)]
    force_conflicts: bool,
    #[command(flatten)]
    place: Place,
}

#[derive(Args)]
pub(crate) struct Delete {
    /// What: `pod web`, `pod/web`, or with --selector or --all several
    resource: Option<String>,
    /// Names of the objects
    names: Vec<String>,
    /// The objects of a file or folder; `-` reads standard input
    #[arg(long, short, value_name = "FILE", conflicts_with_all = ["resource", "selector", "all"])]
    filename: Vec<PathBuf>,
    /// All objects with these labels
    #[arg(long, short = 'l', value_name = "SELECTOR")]
    selector: Option<String>,
    /// All objects of the namespace
    #[arg(long, conflicts_with = "selector")]
    all: bool,
    /// Seconds that pods get to end [default: what each pod says]
    #[arg(long, value_name = "SECONDS")]
    grace_period: Option<u32>,
    /// Return at once, before the objects are gone
    #[arg(long)]
    no_wait: bool,
    /// No error when there is no such object
    #[arg(long)]
    ignore_not_found: bool,
    #[command(flatten)]
    place: Place,
}

/// `pod/web`, or a resource and a name.
pub(crate) fn split<'a>(resource: &'a str, name: Option<&'a str>) -> Result<(&'a str, Option<&'a str>), Failure> {
    match (resource.split_once('/'), name) {
        (Some((resource, name)), None) => Ok((resource, Some(name))),
        (None, name) => Ok((resource, name)),
        (Some(_), Some(_)) => Err(Failure::usage("give one object as `pod/web` or as `pod web`, not both")),
    }
}

fn query(pairs: &[(&str, Option<&str>)]) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (key, value) in pairs {
        if let Some(value) = value {
            query.append_pair(key, value);
        }
    }
    query.finish()
}

/// `raftsman get`
pub(crate) async fn get(command: &Get) -> Result<(), Failure> {
    let cluster = command.place.access.cluster().await?;
    let all = cluster.resources().await?;
    let (word, name) = split(&command.resource, command.name.as_deref())?;
    let found = resource::find(&all, word).map_err(Failure::usage)?;
    if command.watch && found.len() != 1 {
        return Err(Failure::usage("--watch: name one resource"));
    }
    let namespace = (!command.all_namespaces).then(|| command.place.namespace(&cluster));
    let titled = found.len() > 1;
    let mut documents = Vec::new();
    for resource in &found {
        let of_name = name.map(|name| format!("metadata.name={name}"));
        let fields = [command.field_selector.as_deref(), of_name.as_deref()];
        let fields = fields.into_iter().flatten().collect::<Vec<_>>().join(",");
        let fields = (!fields.is_empty()).then_some(fields.as_str());
        let chosen = query(&[("labelSelector", command.selector.as_deref()), ("fieldSelector", fields)]);
        let path = format!("{}?{chosen}", resource.collection(namespace));
        let columns = Columns {
            wide: command.place.access.output == Output::Wide,
            namespaces: resource.namespaced && namespace.is_none(),
            prefix: titled.then(|| resource.title("")),
        };
        if let Some(document) = one(&cluster, command, resource, &path, (name, namespace), &columns).await? {
            documents.push(document);
        }
    }
    show::documents(command.place.access.output, documents)
}

/// Prints a table, or answers what is to be printed as documents.
async fn one(
    cluster: &Cluster,
    command: &Get,
    resource: &Resource,
    path: &str,
    (name, namespace): (Option<&str>, Option<&str>),
    columns: &Columns,
) -> Result<Option<Value>, Failure> {
    if !command.place.access.output.is_table() {
        return match (name, namespace) {
            (Some(name), Some(namespace)) => cluster.read(&resource.object(namespace, name), JSON).await.map(Some),
            _ => cluster.read(path, JSON).await.map(Some),
        };
    }
    let table = cluster.read(path, TABLE).await?;
    let rows = table["rows"].as_array().map_or(0, Vec::len);
    match name {
        Some(name) if rows == 0 => return Err(Failure::failed(format!("{} is not there", resource.title(name)))),
        _ if rows == 0 && !command.watch => {
            if columns.prefix.is_none() {
                let place = namespace.filter(|_| resource.namespaced).map(|name| format!(" in namespace {name}"));
                eprintln_line(&format!("no {} found{}", resource.plural, place.unwrap_or_default()));
            }
        }
        _ => show::table(&table, columns)?,
    }
    if command.watch {
        let revision = table["metadata"]["resourceVersion"].as_str().unwrap_or_default();
        let path = format!("{path}&watch=1&resourceVersion={revision}");
        cluster.events(&path, |event| show::row(&event["object"], columns)).await?;
    }
    Ok(None)
}

fn eprintln_line(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// The objects of files, folders (in the order of their names) and standard input; lists count as their items.
fn read_all(files: &[PathBuf]) -> Result<Vec<Value>, Failure> {
    let mut objects = Vec::new();
    for file in files {
        if file.as_os_str() == "-" {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).map_err(|error| Failure::usage(format!("stdin: {error}")))?;
            objects.extend(parse(&text).map_err(|why| Failure::usage(format!("stdin: {why}")))?);
            continue;
        }
        for file in expand(file)? {
            let wrong = |why: &dyn std::fmt::Display| Failure::usage(format!("{}: {why}", file.display()));
            let text = std::fs::read_to_string(&file).map_err(|error| wrong(&error))?;
            objects.extend(parse(&text).map_err(|why| wrong(&why))?);
        }
    }
    if objects.is_empty() { Err(Failure::usage("there is no object in what was given")) } else { Ok(objects) }
}

fn expand(file: &Path) -> Result<Vec<PathBuf>, Failure> {
    if !file.is_dir() {
        return Ok(vec![file.to_owned()]);
    }
    let entries = std::fs::read_dir(file).map_err(|error| Failure::usage(format!("{}: {error}", file.display())))?;
    let known = |path: &PathBuf| {
        path.extension().is_some_and(|extension| ["yaml", "yml", "json"].iter().any(|known| extension == *known))
    };
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(known).collect();
    files.sort();
    Ok(files)
}

fn parse(text: &str) -> Result<Vec<Value>, String> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).map_err(|error| error.to_string())?;
    let mut objects = Vec::new();
    for document in documents {
        match document["items"].as_array() {
            Some(items) if document["kind"].as_str().is_some_and(|kind| kind.ends_with("List")) => {
                objects.extend(items.iter().cloned());
            }
            _ if document.is_null() => {}
            _ => objects.push(document),
        }
    }
    for object in &objects {
        let named = |pointer: &str| object.pointer(pointer).is_some_and(Value::is_string);
        if !named("/apiVersion") || !named("/kind") || !named("/metadata/name") {
            return Err("each object needs apiVersion, kind and metadata.name".to_owned());
        }
    }
    Ok(objects)
}

/// Where an object belongs, and what it is called.
#[derive(Deserialize)]
struct Named {
    name: String,
    namespace: Option<String>,
}

fn named(object: &Value) -> Result<Named, Failure> {
    Named::deserialize(&object["metadata"]).map_err(|error| Failure::usage(format!("metadata: {error}")))
}

/// `raftsman apply`: server-side apply, object by object; the first that is refused ends it.
pub(crate) async fn apply(command: &Apply) -> Result<(), Failure> {
    let objects = read_all(&command.filename)?;
    let cluster = command.place.access.cluster().await?;
    let all = cluster.resources().await?;
    let mut answers = Vec::new();
    for object in objects {
        let resource = resource::of(&all, &object).map_err(Failure::usage)?;
        let place = named(&object)?;
        let namespace = place.namespace.as_deref().unwrap_or_else(|| command.place.namespace(&cluster));
        let path = resource.object(namespace, &place.name);
        let before = cluster.try_read(&path).await?;
        let options = query(&[
            ("fieldManager", Some(MANAGER)),
            ("fieldValidation", Some("Strict")),
            ("force", command.force_conflicts.then_some("true")),
            ("dryRun", command.dry_run.then_some("All")),
        ]);
        let body = serde_json::to_vec(&object).map_err(|error| Failure::failed(error.to_string()))?;
        let answer = cluster.ask(Method::PATCH, &format!("{path}?{options}"), APPLY, body).await?;
        let version = |object: &Value| object["metadata"]["resourceVersion"].clone();
        let what = match &before {
            None => "created",
            Some(before) if version(before) == version(&answer) && !command.dry_run => "unchanged",
            Some(_) => "configured",
        };
        if command.place.access.output.is_table() {
            let dry = if command.dry_run { " (dry run)" } else { "" };
            say(&format!("{} {what}{dry}", resource.title(&place.name)))?;
        }
        answers.push(answer);
    }
    if command.place.access.output.is_table() { Ok(()) } else { show::documents(command.place.access.output, answers) }
}

/// The media type of server-side apply; JSON is YAML.
const APPLY: &str = "application/apply-patch+yaml";

/// `raftsman delete`
pub(crate) async fn delete(command: &Delete) -> Result<(), Failure> {
    let cluster = command.place.access.cluster().await?;
    let all = cluster.resources().await?;
    let mut gone = Vec::new();
    for (resource, namespace, name) in chosen(command, &cluster, &all).await? {
        let grace = command.grace_period.map(|seconds| seconds.to_string());
        let options = query(&[("gracePeriodSeconds", grace.as_deref()), ("propagationPolicy", Some("Background"))]);
        let path = resource.object(&namespace, &name);
        let Some(object) = cluster.try_read(&path).await? else {
            if command.ignore_not_found {
                continue;
            }
            return Err(Failure::failed(format!("{} is not there", resource.title(&name))));
        };
        cluster.ask(Method::DELETE, &format!("{path}?{options}"), JSON, Vec::new()).await?;
        if command.place.access.output.is_table() {
            say(&format!("{} deleted", resource.title(&name)))?;
        }
        gone.push((resource, namespace, name, object));
    }
    if !command.no_wait {
        for (resource, namespace, name, object) in &gone {
            waiting::gone(&cluster, resource, namespace, name, &object["metadata"]["uid"]).await?;
        }
    }
    let documents = gone.into_iter().map(|(.., object)| object).collect();
    if command.place.access.output.is_table() {
        Ok(())
    } else {
        show::documents(command.place.access.output, documents)
    }
}

/// The objects that a deletion means: resource, namespace, name.
async fn chosen<'a>(
    command: &Delete,
    cluster: &Cluster,
    all: &'a [Resource],
) -> Result<Vec<(&'a Resource, String, String)>, Failure> {
    let namespace = command.place.namespace(cluster).to_owned();
    if !command.filename.is_empty() {
        let objects = read_all(&command.filename)?;
        let each = objects.iter().map(|object| {
            let (resource, place) = (resource::of(all, object).map_err(Failure::usage)?, named(object)?);
            Ok((resource, place.namespace.unwrap_or_else(|| namespace.clone()), place.name))
        });
        return each.collect();
    }
    let word = command.resource.as_deref().ok_or_else(|| Failure::usage("name a resource, or a file with -f"))?;
    let first = command.names.first().map(String::as_str);
    let (word, name) = split(word, first)?;
    let found = resource::find(all, word).map_err(Failure::usage)?;
    let mut chosen = Vec::new();
    for resource in found {
        if name.is_some() && command.selector.is_none() && !command.all {
            let names = if command.names.is_empty() {
                name.map(str::to_owned).into_iter().collect()
            } else {
                command.names.clone()
            };
            chosen.extend(names.into_iter().map(|name| (resource, namespace.clone(), name)));
            continue;
        }
        if command.selector.is_none() && !command.all {
            return Err(Failure::usage("name the objects, or choose them with --selector or --all"));
        }
        let labels = query(&[("labelSelector", command.selector.as_deref())]);
        let list = cluster.read(&format!("{}?{labels}", resource.collection(Some(&namespace))), JSON).await?;
        let names = list["items"].as_array().into_iter().flatten().filter_map(|item| item["metadata"]["name"].as_str());
        chosen.extend(names.map(|name| (resource, namespace.clone(), name.to_owned())));
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_become_objects() {
        let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n---\napiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Secret, metadata: {name: b}}\n";
        let kinds: Vec<_> = parse(text).expect("reads").iter().map(|object| object["kind"].to_string()).collect();
        assert_eq!(kinds, ["\"ConfigMap\"", "\"Secret\""]);
        assert_eq!(parse("kind: X").expect_err("no name"), "each object needs apiVersion, kind and metadata.name");
        assert!(parse("a: [").is_err());
    }

    #[test]
    fn an_object_is_named_once() {
        assert_eq!(split("pod/web", None).expect("fits"), ("pod", Some("web")));
        assert_eq!(split("pods", None).expect("fits"), ("pods", None));
        assert!(split("pod/web", Some("db")).is_err());
    }
}

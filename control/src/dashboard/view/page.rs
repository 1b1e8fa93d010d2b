//! PURE: the frame of every page, the page for logging in, and the forms.

use askama::Template;

use super::{Link, Refused, State, Tone};
use crate::dashboard::assets::{self, Assets};
use crate::dashboard::form::{Application, Errors};
use crate::dashboard::order::Refusal;
use crate::dashboard::place::{Place, Scope};

/// A part of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// Names it on its page.
    pub id: &'static str,
    /// How it is laid out.
    pub class: &'static str,
    /// Whether it is sent again when it changes; what people type in is not.
    pub live: bool,
    /// What is in it.
    pub html: String,
}

impl Section {
    /// A part that is kept up to date.
    pub fn live(id: &'static str, class: &'static str, model: &impl Template) -> Section {
        Section { id, class, live: true, html: render(model) }
    }

    /// A part that stays as it is.
    pub fn still(id: &'static str, class: &'static str, model: &impl Template) -> Section {
        Section { live: false, ..Section::live(id, class, model) }
    }

    /// Instead of a part that somebody may not see.
    pub fn refused(id: &'static str, class: &'static str, title: &str, refusal: &Refusal) -> Section {
        Section::live(id, class, &Refused { id, title, message: &refusal.message, narrow: refusal.code == 403 })
    }
}

/// A template as text. Writing to a string does not fail.
pub fn render(model: &impl Template) -> String {
    model.render().unwrap_or_else(|error| format!("this part cannot be shown: {error}"))
}

/// What a page says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// For the window's title and the heading.
    pub heading: String,
    /// Beside the heading.
    pub aside: String,
    /// From top to bottom.
    pub sections: Vec<Section>,
}

/// The frame.
#[derive(Template)]
#[template(path = "dashboard/page.html")]
pub struct Frame<'a> {
    title: &'a str,
    assets: &'static Assets,
    heading: &'a str,
    aside: &'a str,
    parent: Link,
    entries: Vec<(Link, bool)>,
    deploying: bool,
    user: String,
    form_key: &'a str,
    here: String,
    live: String,
    scoped: bool,
    scope_query: String,
    namespace: &'a str,
    namespaces: &'a [String],
    notice: State,
    sections: &'a [Section],
}

/// Who looks at a page, and what they may choose.
pub struct Viewer<'a> {
    /// The user's name.
    pub user: &'a str,
    /// Forms repeat it.
    pub form_key: &'a str,
    /// Namespaces to choose from; empty when the user may not see them.
    pub namespaces: &'a [String],
}

impl<'a> Frame<'a> {
    /// Around a page.
    pub fn new(place: &Place, scope: &'a Scope, page: &'a Page, viewer: &Viewer<'a>, notice: State) -> Frame<'a> {
        let narrowed = Scope { namespace: scope.namespace.clone(), ..Scope::default() }.query();
        let entry = place.entry();
        let link = |text: &str, to: &Place| {
            let query = if to.has_scope() { narrowed.as_str() } else { "" };
            Link { text: text.to_owned(), href: format!("{}{query}", to.href()) }
        };
        let all = [
            ("Overview", Place::Overview),
            ("Workloads", Place::Workloads),
            ("Pods", Place::Pods),
            ("Nodes", Place::Nodes),
            ("Events", Place::Events),
        ];
        let parent = all.iter().find(|(_, to)| *to == entry && entry != *place);
        let still = page.sections.iter().all(|section| !section.live);
        Frame {
            title: &page.heading,
            assets: assets::addresses(),
            heading: &page.heading,
            aside: &page.aside,
            parent: parent.map(|(text, to)| link(text, to)).unwrap_or_default(),
            entries: all.iter().map(|(text, to)| (link(text, to), *to == entry)).collect(),
            deploying: *place == Place::Deploy,
            user: short(viewer.user),
            form_key: viewer.form_key,
            here: place.href(),
            live: if still { String::new() } else { format!("{}{}", place.live(), scope.query()) },
            scoped: place.has_scope(),
            scope_query: narrowed.clone(),
            namespace: &scope.namespace,
            namespaces: viewer.namespaces,
            notice,
            sections: &page.sections,
        }
    }
}

/// A user's name as people say it: a service account's without what all of them begin with.
fn short(user: &str) -> String {
    user.strip_prefix("system:serviceaccount:").map_or_else(|| user.to_owned(), |account| account.replacen(':', "/", 1))
}

/// The page for logging in.
#[derive(Template)]
#[template(path = "dashboard/login.html")]
pub struct Login<'a> {
    title: &'static str,
    assets: &'static Assets,
    next: &'a str,
    notice: &'a str,
    error: &'a str,
}

impl<'a> Login<'a> {
    /// `next`: where to go then; `notice`: why it is asked for; `error`: what was wrong with the token.
    pub fn new(next: &'a str, notice: &'a str, error: &'a str) -> Login<'a> {
        Login { title: "Log in", assets: assets::addresses(), next, notice, error }
    }
}

/// What can be done with an object.
#[derive(Template)]
#[template(path = "dashboard/actions.html")]
pub struct Actions<'a> {
    /// Forms repeat it.
    pub form_key: &'a str,
    /// Its page.
    pub href: String,
    /// Its name.
    pub name: &'a str,
    /// How many there shall be; none for what does not scale.
    pub replicas: Option<i64>,
    /// Whether its pods can be replaced.
    pub restarts: bool,
    /// A button: the path below the page, and its words.
    pub switch: Option<(&'static str, &'static str)>,
    /// What a deletion means; empty where nothing can be deleted.
    pub deletion: String,
    /// Why the last attempt was refused.
    pub error: &'a str,
}

/// The form for an application.
#[derive(Template)]
#[template(path = "dashboard/deploy.html")]
pub struct Deploy<'a> {
    /// Forms repeat it.
    pub form_key: &'a str,
    /// As it was entered.
    pub entered: &'a Application,
    /// What is wrong with it.
    pub errors: &'a Errors,
    /// Namespaces to choose from; empty when the user may not see them.
    pub namespaces: &'a [String],
}

/// A field of that form.
pub struct Field {
    name: &'static str,
    label: &'static str,
    value: String,
    hint: &'static str,
    error: String,
    width: &'static str,
    optional: bool,
    numeric: bool,
    /// Lines of a text; 0 for a single one.
    lines: u8,
    choices: Vec<(String, String)>,
}

impl Deploy<'_> {
    fn error(&self, field: &str) -> &str {
        self.errors.get(field).map(String::as_str).unwrap_or_default()
    }

    fn field(&self, name: &'static str, label: &'static str, value: &str, hint: &'static str) -> Field {
        Field {
            name,
            label,
            value: value.to_owned(),
            hint,
            error: self.error(name).to_owned(),
            width: "",
            optional: false,
            numeric: false,
            lines: 0,
            choices: Vec::new(),
        }
    }

    fn fields(&self) -> Vec<Field> {
        let held = self.entered;
        let namespaces = self.namespaces.iter().map(|name| (name.clone(), name.clone())).collect();
        let pairs =
            [("none", "Nobody"), ("cluster", "Pods, by a cluster IP"), ("nodes", "Outsiders, by a port on every node")];
        let expose = pairs.iter().map(|(word, text)| ((*word).to_owned(), (*text).to_owned())).collect();
        vec![
            self.field("name", "Name", &held.name, "Lower-case letters, digits and “-”."),
            Field { choices: namespaces, ..self.field("namespace", "Namespace", &held.namespace, "") },
            Field {
                width: "wide",
                ..self.field("image", "Image", &held.image, "As Docker names it, e.g. nginx:1.29.")
            },
            Field { numeric: true, ..self.field("replicas", "Replicas", &held.replicas, "How many pods run it.") },
            Field {
                numeric: true,
                optional: true,
                ..self.field("port", "Port", &held.port, "That the container listens on.")
            },
            Field { choices: expose, width: "wide", ..self.field("expose", "Reachable for", &held.expose, "") },
            Field {
                lines: 3,
                optional: true,
                ..self.field("environment", "Environment", &held.environment, "NAME=value, one a line.")
            },
            Field {
                lines: 3,
                optional: true,
                ..self.field("command", "Command", &held.command, "Instead of the image’s; one argument a line.")
            },
        ]
    }
}

/// The form for pasted objects.
#[derive(Template)]
#[template(path = "dashboard/paste.html")]
pub struct Paste<'a> {
    /// Forms repeat it.
    pub form_key: &'a str,
    /// Says the chosen namespace again.
    pub scope_query: String,
    /// Where objects go that name none.
    pub namespace: &'a str,
    /// As it was entered.
    pub text: &'a str,
    /// Why it cannot be read.
    pub error: &'a str,
    /// What became of each object.
    pub outcomes: &'a [Outcome],
}

/// What became of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Kind and name.
    pub what: String,
    /// `created`, `changed`, `refused`.
    pub state: State,
    /// Why.
    pub message: String,
}

/// What is said at the top of a page after something was done; the word comes from the address.
pub fn notice(done: &str) -> State {
    let text = match done {
        "scaled" => "The new number of replicas is set.",
        "restarted" => "Its pods are being replaced.",
        "deleted" => "It is deleted; what belongs to it goes with it.",
        "deployed" => "It is deployed. This page follows its pods as they start.",
        "applied" => "The objects are as you described them.",
        "cordoned" => "No new pods are placed on this node.",
        "uncordoned" => "Pods are placed on this node again.",
        _ => "",
    };
    State::new(text, Tone::Good)
}

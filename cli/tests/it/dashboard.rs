//! The dashboard of the real binary: in a real browser, and as a stranger's client would see it.

use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, ServiceAccount};
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::api::{Api, PostParams};
use kube::client::Body;
use serde_json::{Value, json};

use crate::browser::{Browser, ENTER};
use crate::process::Server;

fn started() -> Server {
    let mut server = Server::new("d");
    server.extra = ["--roles", "server,node", "--runtime", "sim"].map(str::to_owned).to_vec();
    server.start(None);
    server
}

fn word(value: &Value) -> String {
    value.as_str().expect("a word").to_owned()
}

#[tokio::test]
async fn an_application_is_deployed_followed_scaled_and_deleted_in_a_browser() {
    let Some(browser) = Browser::open().await else { return };
    let server = started();
    let access = server.ask_json(&["dashboard"]);
    let (address, token) = (word(&access["address"]), word(&access["token"]));

    browser.go(&format!("{address}/pods")).await;
    browser.until("document.activeElement.id === 'token'").await;
    browser.fill("#token", "no-token").await;
    browser.click("button[type=submit]").await;
    browser.until("document.querySelector('#token-error') !== null").await;
    browser.fill("#token", &token).await;
    browser.key(ENTER).await;
    browser.until("location.pathname === '/dashboard/pods'").await;
    assert_eq!(browser.script("return document.cookie").await, "", "scripts do not see the session");

    browser.click("a[href^='/dashboard/deploy']").await;
    browser.until("document.querySelector('#f-name') !== null").await;
    for (field, text) in [("name", "Web_1"), ("image", "sim"), ("replicas", "2"), ("port", "80")] {
        browser.fill(&format!("#f-{field}"), text).await;
    }
    browser.click("#f-expose option[value=nodes]").await;
    browser.click("#s-form button[type=submit]").await;
    browser.until("document.querySelector('#e-name').textContent !== ''").await;
    assert_eq!(
        browser.script("return document.querySelector('#f-image').value").await,
        "sim",
        "what was entered stays"
    );
    browser.fill("#f-name", "web").await;
    browser.click("#s-form button[type=submit]").await;
    browser.until("location.pathname === '/dashboard/workloads/deployments/default/web'").await;
    browser.script("window.kept = true").await;
    let running = |count: u32| {
        format!(
            "[...document.querySelectorAll('#s-pods tbody .state.good')].filter((s) => s.innerText === 'Running').length === {count} \
             && document.querySelector('#s-summary .state').innerText === 'Running'"
        )
    };
    browser.until(&running(2)).await;
    assert_eq!(browser.script("return window.kept").await, true, "the page was not loaded again");

    browser.fill("#replicas", "4").await;
    browser.click("form[action$='/scale'] button").await;
    browser.until(&format!("document.querySelector('#notice') !== null && {}", running(4))).await;
    let deployments: Api<Deployment> = Api::namespaced(server.client().await, "default");
    let scaled = deployments.get("web").await.expect("there").spec.expect("a spec");
    assert_eq!(scaled.replicas, Some(4));

    browser.go(&format!("{address}/workloads")).await;
    browser.until("document.querySelector('#s-workloads tbody a') !== null").await;
    browser.tab_to("element.innerText === 'web' && element.closest('#s-workloads')").await;
    browser.key(ENTER).await;
    browser.until("document.querySelector('.confirm') !== null").await;
    browser.tab_to("element.nodeName === 'SUMMARY' && element.innerText.startsWith('Delete')").await;
    browser.key(ENTER).await;
    browser.tab_to("element.innerText === 'Delete web'").await;
    browser.key(ENTER).await;
    browser
        .until("location.pathname === '/dashboard/workloads' && !document.querySelector('#s-workloads tbody a')")
        .await;
    assert!(deployments.get_opt("web").await.expect("an answer").is_none());

    browser.click("form[action='/dashboard/logout'] button").await;
    browser.until("location.pathname === '/dashboard/login'").await;
    browser.go(&address).await;
    browser.until("location.pathname === '/dashboard/login'").await;
    // Other tests make interfaces on this machine meanwhile, upon which the browser connects anew.
    let expected = ["status of 401", "status of 422", "net::ERR_NETWORK_CHANGED"];
    let complaints = browser.complaints(&expected).await;
    browser.close().await;
    assert!(complaints.is_empty(), "the console says: {complaints:#?}");
}

/// A visitor without a browser.
struct Visitor {
    client: kube::Client,
    cookie: String,
}

impl Visitor {
    async fn ask(&self, method: Method, path: &str, headers: &[(&str, &str)], form: &str) -> Response<String> {
        let mut request = Request::builder().method(method).uri(path).header("cookie", &self.cookie);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(form.as_bytes().to_vec())).expect("a request");
        let (head, body) = self.client.send(request).await.expect("an answer").into_parts();
        let bytes = body.collect().await.expect("whole").to_bytes();
        Response::from_parts(head, String::from_utf8(bytes.to_vec()).expect("text"))
    }

    async fn get(&self, path: &str) -> Response<String> {
        self.ask(Method::GET, path, &[], "").await
    }

    /// As a form on one of the dashboard's pages is sent.
    async fn send(&self, path: &str, form: &str) -> Response<String> {
        self.ask(Method::POST, path, &[("sec-fetch-site", "same-origin")], form).await
    }

    async fn log_in(server: &Server, token: &str) -> (Visitor, Response<String>) {
        let mut visitor = Visitor { client: server.stranger().await, cookie: String::new() };
        let response = visitor.send("/dashboard/login", &format!("token={token}")).await;
        let set = response.headers().get("set-cookie").and_then(|value| value.to_str().ok()).unwrap_or_default();
        visitor.cookie = set.split(';').next().unwrap_or_default().to_owned();
        (visitor, response)
    }
}

/// The key that a page's forms repeat.
fn form_key(page: &str) -> &str {
    let (_, rest) = page.split_once("name=\"form_key\" value=\"").expect("a form");
    rest.split('"').next().expect("a key")
}

#[tokio::test]
async fn nobody_acts_without_a_log_in_or_from_another_site() {
    let server = started();
    let nobody = Visitor { client: server.stranger().await, cookie: String::new() };
    let page = nobody.get("/dashboard/pods?namespace=default").await;
    assert_eq!(page.status(), StatusCode::SEE_OTHER);
    assert_eq!(page.headers()["location"], "/dashboard/login?next=%2Fdashboard%2Fpods%3Fnamespace%3Ddefault");
    let live = nobody.get("/dashboard/live/pods").await;
    assert!(live.body().starts_with("event: over\n"), "{live:?}");
    let login = nobody.get("/dashboard/login").await;
    let policy = login.headers()["content-security-policy"].to_str().expect("text");
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    assert!(!login.body().contains("style=") && !login.body().contains("<script>"), "nothing is inline");

    let token = word(&server.ask_json(&["dashboard"])["token"]);
    let (visitor, response) = Visitor::log_in(&server, &token).await;
    assert_eq!(response.status(), StatusCode::SEE_OTHER);
    assert!(!visitor.cookie.contains(&token));
    let page = visitor.get("/dashboard/deploy").await;
    assert!(!page.body().contains(&token));
    assert_eq!(page.headers()["cache-control"], "no-store");
    let key = form_key(page.body());
    let form = format!("form_key={key}&name=web&namespace=default&image=sim&replicas=1&expose=none");
    let foreign = visitor.ask(Method::POST, "/dashboard/deploy", &[("sec-fetch-site", "cross-site")], &form).await;
    assert_eq!(foreign.status(), StatusCode::FORBIDDEN);
    let forged = visitor.send("/dashboard/deploy", &form.replace(key, "AAAAAAAAAAAAAAAAAAAAAA")).await;
    assert_eq!(forged.status(), StatusCode::FORBIDDEN);
    let deployments: Api<Deployment> = Api::namespaced(server.client().await, "default");
    assert!(deployments.get_opt("web").await.expect("an answer").is_none());
    assert_eq!(visitor.send("/dashboard/deploy", &form).await.status(), StatusCode::SEE_OTHER);
    assert!(deployments.get_opt("web").await.expect("an answer").is_some());
}

/// A Deployment, and a ConfigMap in two versions.
const PASTED: &str = "apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {colour: COLOUR}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: pasted}
spec:
  replicas: 1
  selector: {matchLabels: {app: pasted}}
  template:
    metadata: {labels: {app: pasted}}
    spec: {containers: [{name: c, image: sim}]}
";

#[tokio::test]
async fn a_session_is_good_at_every_server_and_pasted_objects_are_applied_at_any() {
    let mut servers = [Server::new("a"), Server::new("b"), Server::new("c")];
    servers[0].start(None);
    let join = word(&servers[0].ask_json(&["token", "create"])["token"]);
    servers[1..].iter_mut().for_each(|server| server.start(Some(&join)));
    let token = word(&servers[0].ask_json(&["dashboard"])["token"]);
    let (mut visitor, response) = Visitor::log_in(&servers[0], &token).await;
    assert_eq!(response.status(), StatusCode::SEE_OTHER);
    let client = servers[0].client().await;
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "default");
    for (server, colour) in servers.iter().zip(["red", "green", "blue"]) {
        // The cookie that the first server gave, shown to each.
        visitor.client = server.stranger().await;
        let page = visitor.get("/dashboard/deploy").await;
        assert_eq!(page.status(), StatusCode::OK, "{} does not know the session", server.name);
        let yaml: String = form_urlencoded::byte_serialize(PASTED.replace("COLOUR", colour).as_bytes()).collect();
        let form = format!("form_key={}&yaml={yaml}", form_key(page.body()));
        let sent = visitor.send("/dashboard/deploy/yaml", &form).await;
        assert_eq!(sent.status(), StatusCode::SEE_OTHER, "{}", sent.body());
        assert_eq!(sent.headers()["location"], "/dashboard/workloads?done=applied");
        let held = maps.get("settings").await.expect("applied");
        assert_eq!(held.data.expect("given")["colour"], colour, "what is there is changed");
        let managers: Vec<_> = held.metadata.managed_fields.into_iter().flatten().collect();
        assert!(managers.iter().all(|entry| entry.operation.as_deref() == Some("Apply")), "{managers:?}");
    }
    let deployments: Api<Deployment> = Api::namespaced(client, "default");
    assert_eq!(deployments.get("pasted").await.expect("applied").metadata.generation, Some(1), "it is the same");
    // Who logs out at one server leaves nothing to the browser.
    let page = visitor.get("/dashboard/deploy").await;
    let out = visitor.send("/dashboard/logout", &format!("form_key={}", form_key(page.body()))).await;
    let cookie = out.headers().get("set-cookie").and_then(|value| value.to_str().ok()).unwrap_or_default();
    assert!(cookie.contains("Max-Age=0"), "{cookie}");
}

#[tokio::test]
async fn everybody_sees_and_does_what_their_rights_say() {
    let server = started();
    let client = server.client().await;
    let account =
        serde_json::from_value::<ServiceAccount>(json!({ "metadata": { "name": "ann" } })).expect("an account");
    Api::namespaced(client.clone(), "default").create(&PostParams::default(), &account).await.expect("created");
    let binding = json!({
        "metadata": { "name": "ann" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view" },
        "subjects": [{ "kind": "ServiceAccount", "name": "ann", "namespace": "default" }],
    });
    let binding = serde_json::from_value::<RoleBinding>(binding).expect("a binding");
    Api::namespaced(client.clone(), "default").create(&PostParams::default(), &binding).await.expect("created");

    let token = word(&server.ask_json(&["dashboard", "--account", "default/ann"])["token"]);
    let (ann, _) = Visitor::log_in(&server, &token).await;
    let all = ann.get("/dashboard/pods").await;
    let refusal = "User &#34;system:serviceaccount:default:ann&#34; cannot list resource &#34;pods&#34;";
    assert!(all.body().contains(refusal), "{}", all.body());
    let own = ann.get("/dashboard/pods?namespace=default").await;
    assert!(own.body().contains("No pods here") && !own.body().contains("cannot list"), "{}", own.body());

    let key = form_key(own.body()).to_owned();
    let yaml = "kind: ConfigMap\napiVersion: v1\nmetadata: {name: c}\n";
    let sent = ann.send("/dashboard/deploy/yaml", &format!("form_key={key}&yaml={}", yaml.replace('\n', "%0A"))).await;
    assert_eq!(sent.status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert!(sent.body().contains("Refused") && sent.body().contains("configmaps"), "{}", sent.body());
    assert!(sent.body().contains("kind: ConfigMap"), "what was entered stays");
    let node = ann.get("/dashboard/nodes/d").await;
    assert_eq!(node.status(), StatusCode::FORBIDDEN);

    // An account that is gone is logged out.
    Api::<ServiceAccount>::namespaced(client, "default").delete("ann", &Default::default()).await.expect("deleted");
    assert_eq!(ann.get("/dashboard/pods").await.status(), StatusCode::SEE_OTHER);
}

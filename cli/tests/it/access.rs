//! Who may: tokens of service accounts, acting as somebody else, and what roles grant, through an independent client.

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenReview};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ServiceAccount};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::Client;
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use serde_json::{Value, json};

use crate::process::Server;

fn read<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("fits")
}

fn code(error: &kube::Error) -> u16 {
    match error {
        kube::Error::Api(status) => status.code,
        other => panic!("{other}"),
    }
}

async fn give(accounts: &Api<ServiceAccount>, name: &str) -> String {
    let request: TokenRequest = read(json!({ "spec": { "audiences": [], "expirationSeconds": 3600 } }));
    let given = accounts.create_token_request(name, &PostParams::default(), &request).await.expect("given");
    given.status.expect("a status").token.expect("a token")
}

async fn reviewed(client: &Client, token: &str) -> bool {
    let reviews: Api<TokenReview> = Api::all(client.clone());
    let review: TokenReview = read(json!({ "spec": { "token": token } }));
    let answer = reviews.create(&PostParams::default(), &review).await.expect("answered").status.expect("a status");
    answer.authenticated == Some(true)
}

#[tokio::test]
async fn a_token_is_its_account_as_long_as_that_is_there() {
    let mut server = Server::new("a");
    server.extra.extend(["--controllers".into(), "-*".into()]);
    server.start(None);
    let client = server.client().await;
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), "default");
    let web = || read::<ServiceAccount>(json!({ "metadata": { "name": "web" } }));
    accounts.create(&PostParams::default(), &web()).await.expect("created");
    let token = give(&accounts, "web").await;
    assert!(reviewed(&client, &token).await);

    let maps: Api<ConfigMap> = Api::namespaced(server.bearer(&token).await, "default");
    assert_eq!(code(&maps.list(&ListParams::default()).await.expect_err("no role")), 403);
    let role: Role = read(json!({ "metadata": { "name": "r" },
        "rules": [{ "apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"] }] }));
    Api::<Role>::namespaced(client.clone(), "default").create(&PostParams::default(), &role).await.expect("created");
    let binding: RoleBinding = read(json!({ "metadata": { "name": "b" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r" },
        "subjects": [{ "kind": "ServiceAccount", "name": "web", "namespace": "default" }] }));
    let bindings = Api::<RoleBinding>::namespaced(client.clone(), "default");
    bindings.create(&PostParams::default(), &binding).await.expect("created");
    maps.list(&ListParams::default()).await.expect("allowed by the next request");
    bindings.delete("b", &DeleteParams::default()).await.expect("deleted");
    assert_eq!(code(&maps.list(&ListParams::default()).await.expect_err("taken away")), 403);

    accounts.delete("web", &DeleteParams::default()).await.expect("deleted");
    assert_eq!(code(&maps.list(&ListParams::default()).await.expect_err("nobody any more")), 401);
    accounts.create(&PostParams::default(), &web()).await.expect("created");
    assert!(!reviewed(&client, &token).await, "another account of that name is another account");
    let forged = Api::<Namespace>::all(server.bearer(&format!("{token}x")).await);
    assert_eq!(code(&forged.list(&ListParams::default()).await.expect_err("forged")), 401);
}

#[tokio::test]
async fn an_administrator_acts_as_somebody_and_may_then_do_no_more() {
    let mut server = Server::new("a");
    server.start(None);
    let maps = |client: Client| Api::<ConfigMap>::namespaced(client, "default");
    let alice = maps(server.acting("alice").await);
    let error = alice.list(&ListParams::default()).await.expect_err("no rights");
    assert!(error.to_string().contains("User \"alice\" cannot list resource \"configmaps\""), "{error}");
}

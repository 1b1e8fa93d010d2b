//! `raftsman dashboard`: where the dashboard is, and a token to log in with.

use clap::Args;
use http::Method;
use serde_json::{Value, json};

use crate::access::{Access, Cluster, JSON, Output};
use crate::exit::{Failure, say};

/// Whom an administrator logs in as; made when it is asked for the first time.
const ADMINISTRATOR: (&str, &str) = ("kube-system", "dashboard-admin");
const BINDINGS: &str = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";

#[derive(Args)]
pub(crate) struct DashboardFlags {
    /// Log in as this service account, with its rights [default: an administrator, made if it is not there]
    #[arg(long, value_name = "NAMESPACE/NAME")]
    account: Option<String>,
    /// Seconds until the token is worthless
    #[arg(long, default_value_t = 43_200, value_name = "SECONDS")]
    ttl: i64,
    #[command(flatten)]
    access: Access,
}

/// `raftsman dashboard`
pub(crate) async fn dashboard(flags: &DashboardFlags) -> Result<(), Failure> {
    let cluster = flags.access.cluster().await?;
    let (namespace, name) = match &flags.account {
        None => ADMINISTRATOR,
        Some(account) => account.split_once('/').ok_or_else(|| {
            Failure::usage(format!("{account:?} names no account; write NAMESPACE/NAME, e.g. default/{account}"))
        })?,
    };
    if flags.account.is_none() {
        administrator(&cluster).await?;
    }
    let request = json!({
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": { "expirationSeconds": flags.ttl },
    });
    let path = format!("{}/{name}/token", accounts(namespace));
    let made = cluster.ask(Method::POST, &path, JSON, request.to_string().into_bytes()).await?;
    let word = |name: &str| made["status"][name].as_str().unwrap_or_default();
    let (address, account) = (cluster.address("/dashboard"), format!("{namespace}/{name}"));
    let (token, expires) = (word("token"), word("expirationTimestamp"));
    if flags.access.output == Output::Json {
        let said = json!({ "address": address, "token": token, "account": account, "expires": expires });
        return say(&serde_json::to_string_pretty(&said).map_err(|error| Failure::failed(error.to_string()))?);
    }
    say(&format!("address  {address}\naccount  {account}, until {expires}\ntoken    {token}"))
}

fn accounts(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/serviceaccounts")
}

/// Makes the administrator's account, and gives it every right.
async fn administrator(cluster: &Cluster) -> Result<(), Failure> {
    let (namespace, name) = ADMINISTRATOR;
    let account = json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": name } });
    create(cluster, &accounts(namespace), name, &account).await?;
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": { "name": name },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin" },
        "subjects": [{ "kind": "ServiceAccount", "name": name, "namespace": namespace }],
    });
    create(cluster, BINDINGS, name, &binding).await
}

/// Creates an object; one that is there stays as it is.
async fn create(cluster: &Cluster, collection: &str, name: &str, object: &Value) -> Result<(), Failure> {
    if cluster.try_read(&format!("{collection}/{name}")).await?.is_some() {
        return Ok(());
    }
    cluster.ask(Method::POST, collection, JSON, object.to_string().into_bytes()).await.map(|_| ())
}

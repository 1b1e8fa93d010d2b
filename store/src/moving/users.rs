//! Users and roles of an etcd that is being filled.
//!
//! Passwords go as the hashes that both sides keep: etcd from 3.5 on takes them in the place of a password that is changed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proto::authpb::User;
use proto::etcdserverpb as pb;

use crate::moving::Problem;
use crate::moving::client::{Client, problem};
use crate::moving::compare::differ;
use crate::moving::database::Facts;

fn text(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

fn without_password(user: &User) -> bool {
    user.options.is_some_and(|options| options.no_password)
}

/// Whether an etcd takes hashes of passwords.
fn takes_hashes(to: &Client) -> bool {
    to.at_least(3, 5)
}

/// Makes roles and users; answers what the operator must know.
pub(super) async fn write(to: &Client, facts: &Facts) -> Result<Vec<String>, Problem> {
    let mut calls = to.auth();
    for role in &facts.roles {
        let name = text(&role.name);
        let wrong = |status: tonic::Status| problem(&format!("the role {name}"), &status);
        calls.role_add(pb::AuthRoleAddRequest { name: name.clone() }).await.map_err(wrong)?;
        for perm in &role.key_permission {
            let request = pb::AuthRoleGrantPermissionRequest { name: name.clone(), perm: Some(perm.clone()) };
            calls.role_grant_permission(request).await.map_err(wrong)?;
        }
    }
    for user in &facts.users {
        let name = text(&user.name);
        let wrong = |status: tonic::Status| problem(&format!("the user {name}"), &status);
        // Nobody knows this one. It is replaced at once, or by whoever sets another.
        let password = if without_password(user) { String::new() } else { secret()? };
        let options = user.options;
        let request =
            pb::AuthUserAddRequest { name: name.clone(), password, options, ..pb::AuthUserAddRequest::default() };
        calls.user_add(request).await.map_err(wrong)?;
        if takes_hashes(to) && !without_password(user) {
            let hashed_password = STANDARD.encode(&user.password);
            let request =
                pb::AuthUserChangePasswordRequest { name: name.clone(), password: String::new(), hashed_password };
            calls.user_change_password(request).await.map_err(wrong)?;
        }
        for role in &user.roles {
            let request = pb::AuthUserGrantRoleRequest { user: name.clone(), role: role.clone() };
            calls.user_grant_role(request).await.map_err(wrong)?;
        }
    }
    let unset = !takes_hashes(to) && facts.users.iter().any(|user| !without_password(user));
    let line = "note: this etcd takes no hashes of passwords: set each with `etcdctl user passwd NAME`";
    Ok(unset.then(|| line.to_owned()).into_iter().collect())
}

fn secret() -> Result<String, Problem> {
    let mut bytes = [0; 24];
    let filled = aws_lc_rs::rand::fill(&mut bytes);
    filled.map_err(|_| Problem::Failed("the system gives no random numbers".to_owned()))?;
    Ok(STANDARD.encode(bytes))
}

/// Compares users and roles of two databases.
pub(super) fn same(ours: &Facts, theirs: &Facts, to: &Client) -> Result<Vec<String>, Problem> {
    if ours.users.is_empty() && ours.roles.is_empty() {
        return Ok(Vec::new());
    }
    let bare = |user: &User| User {
        password: if takes_hashes(to) { user.password.clone() } else { bytes::Bytes::new() },
        // One that was made before there were options has none.
        options: Some(user.options.unwrap_or_default()),
        ..user.clone()
    };
    let users = ours.users.iter().map(bare).eq(theirs.users.iter().map(bare));
    if !users || ours.roles != theirs.roles {
        return differ("users or roles");
    }
    Ok(vec![format!("compared: {} users and {} roles", ours.users.len(), ours.roles.len())])
}

/// Has everybody asked who they are, as in the source.
pub(super) async fn enable(to: &Client, facts: &Facts) -> Result<Vec<String>, Problem> {
    if !facts.auth_enabled {
        return Ok(Vec::new());
    }
    if !takes_hashes(to) {
        let line = "note: authentication is off until the passwords are set: then `etcdctl auth enable`";
        return Ok(vec![line.to_owned()]);
    }
    to.auth()
        .auth_enable(pb::AuthEnableRequest {})
        .await
        .map_err(|status| problem("authentication stays off", &status))?;
    Ok(vec!["authentication is on".to_owned(), "note: the auth store's own revision is not the source's".to_owned()])
}

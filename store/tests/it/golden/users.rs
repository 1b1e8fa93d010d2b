//! Lines about users: who asks from here on, and what the auth store is told.

use std::sync::Arc;

use parking_lot::Mutex;
use proto::authpb::{Permission, UserAddOptions};
use proto::etcdserverpb as pb;
use proto::etcdserverpb::auth_client::AuthClient;
use proto::etcdserverpb::cluster_client::ClusterClient;
use tonic::metadata::AsciiMetadataValue;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Request, Status};

use super::call::Caller;
use super::words::Words;

/// The token that every call shows.
#[derive(Clone, Default)]
pub(crate) struct Badge(Arc<Mutex<Option<AsciiMetadataValue>>>);

/// A way to the server that shows the badge.
pub(crate) type Line = InterceptedService<Channel, Badge>;

impl Badge {
    pub(crate) fn show(&self, token: Option<&str>) {
        *self.0.lock() = token.map(|token| token.parse().expect("ASCII"));
    }
}

impl Interceptor for Badge {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = self.0.lock().clone() {
            request.metadata_mut().insert("token", token);
        }
        Ok(request)
    }
}

/// Root's password in every case.
const ROOT: &str = "r";

impl Caller {
    fn auth(&self) -> AuthClient<Line> {
        AuthClient::new(self.channel())
    }

    /// Removes every user and role; says the auth store's revision.
    pub(crate) async fn forget(&self) -> u64 {
        let mut auth = self.auth();
        self.badge.show(None);
        let status = auth.auth_status(pb::AuthStatusRequest {}).await.expect("asked").into_inner();
        if status.enabled {
            self.log_in("root", ROOT).await.expect("root's password is the same in every case");
            auth.auth_disable(pb::AuthDisableRequest {}).await.expect("disabled");
            self.badge.show(None);
        }
        for name in auth.user_list(pb::AuthUserListRequest {}).await.expect("listed").into_inner().users {
            auth.user_delete(pb::AuthUserDeleteRequest { name }).await.expect("deleted");
        }
        for role in auth.role_list(pb::AuthRoleListRequest {}).await.expect("listed").into_inner().roles {
            auth.role_delete(pb::AuthRoleDeleteRequest { role }).await.expect("deleted");
        }
        let status = auth.auth_status(pb::AuthStatusRequest {}).await.expect("asked").into_inner();
        status.auth_revision
    }

    async fn log_in(&self, name: &str, password: &str) -> Result<Option<pb::ResponseHeader>, Status> {
        let request = pb::AuthenticateRequest { name: name.to_owned(), password: password.to_owned() };
        let answer = self.auth().authenticate(request).await?.into_inner();
        self.badge.show(Some(&answer.token));
        Ok(answer.header)
    }

    /// `login USER PASSWORD`, `nobody`, `token WORD`: who asks from here on.
    pub(crate) async fn becomes(&self, words: &Words) -> Result<String, Status> {
        match words.at(0) {
            "login" => {
                let header = self.log_in(&words.text(1), &words.text(2)).await?;
                return Ok(self.now().header(header.as_ref()));
            }
            "token" => self.badge.show(Some(words.at(1))),
            _ => self.badge.show(None),
        }
        Ok(String::new())
    }

    /// `auth enable`, `auth disable`, `auth status`, and who belongs to the cluster.
    pub(crate) async fn guard(&self, words: &Words) -> Result<String, Status> {
        let (mut auth, names) = (self.auth(), self.now());
        Ok(match words.at(1) {
            "enable" => names.header(auth.auth_enable(pb::AuthEnableRequest {}).await?.into_inner().header.as_ref()),
            "disable" => names.header(auth.auth_disable(pb::AuthDisableRequest {}).await?.into_inner().header.as_ref()),
            "members" => {
                let request = pb::MemberListRequest { linearizable: true };
                let answer = ClusterClient::new(self.channel()).member_list(request).await?.into_inner();
                format!("members={}", answer.members.len())
            }
            _ => {
                let answer = auth.auth_status(pb::AuthStatusRequest {}).await?.into_inner();
                let since = answer.auth_revision - names.auth_base;
                format!("{} enabled={} auth=+{since}", names.header(answer.header.as_ref()), answer.enabled)
            }
        })
    }

    /// `user add|certified|get|list|delete|passwd|grant|revoke …`.
    pub(crate) async fn user(&self, words: &Words) -> Result<String, Status> {
        let (mut auth, names) = (self.auth(), self.now());
        let word = |place| words.text(place);
        let (name, role) = (word(2), word(3));
        let header = match words.at(1) {
            "add" | "certified" => {
                let (password, no_password) = (word(3), words.at(1) == "certified");
                let options = Some(UserAddOptions { no_password });
                let request = pb::AuthUserAddRequest { name, password, options, hashed_password: String::new() };
                auth.user_add(request).await?.into_inner().header
            }
            "get" => {
                let answer = auth.user_get(pb::AuthUserGetRequest { name }).await?.into_inner();
                return Ok(format!("{} {:?}", names.header(answer.header.as_ref()), answer.roles));
            }
            "list" => {
                let answer = auth.user_list(pb::AuthUserListRequest {}).await?.into_inner();
                return Ok(format!("{} {:?}", names.header(answer.header.as_ref()), answer.users));
            }
            "delete" => auth.user_delete(pb::AuthUserDeleteRequest { name }).await?.into_inner().header,
            "passwd" => {
                let (password, hashed_password) = (word(3), words.option("hashed").unwrap_or_default().to_owned());
                let request = pb::AuthUserChangePasswordRequest { name, password, hashed_password };
                auth.user_change_password(request).await?.into_inner().header
            }
            "grant" => {
                let request = pb::AuthUserGrantRoleRequest { user: name, role };
                auth.user_grant_role(request).await?.into_inner().header
            }
            "revoke" => auth.user_revoke_role(pb::AuthUserRevokeRoleRequest { name, role }).await?.into_inner().header,
            other => panic!("user {other}: not a request"),
        };
        Ok(names.header(header.as_ref()))
    }

    /// `role add|get|list|delete NAME`, `role allow NAME KIND KEY END`, `role disallow NAME KEY END`.
    pub(crate) async fn role(&self, words: &Words) -> Result<String, Status> {
        let (mut auth, names) = (self.auth(), self.now());
        let role = words.text(2);
        let header = match words.at(1) {
            "add" => auth.role_add(pb::AuthRoleAddRequest { name: role }).await?.into_inner().header,
            "get" => {
                let answer = auth.role_get(pb::AuthRoleGetRequest { role }).await?.into_inner();
                let shown = |held: &Permission| {
                    format!(" {:?} [{}, {})", held.perm_type(), names.bytes(&held.key), names.bytes(&held.range_end))
                };
                let held: String = answer.perm.iter().map(shown).collect();
                return Ok(format!("{}{held}", names.header(answer.header.as_ref())));
            }
            "list" => {
                let answer = auth.role_list(pb::AuthRoleListRequest {}).await?.into_inner();
                return Ok(format!("{} {:?}", names.header(answer.header.as_ref()), answer.roles));
            }
            "delete" => auth.role_delete(pb::AuthRoleDeleteRequest { role }).await?.into_inner().header,
            "allow" => {
                let kind = ["read", "write", "readwrite"].iter().position(|kind| *kind == words.at(3));
                let perm = kind.and_then(|kind| i32::try_from(kind).ok()).map(|perm_type| Permission {
                    perm_type,
                    key: words.bytes(4),
                    range_end: words.bytes(5),
                });
                let request = pb::AuthRoleGrantPermissionRequest { name: role, perm };
                auth.role_grant_permission(request).await?.into_inner().header
            }
            "disallow" => {
                let (key, range_end) = (words.bytes(3), words.bytes(4));
                let request = pb::AuthRoleRevokePermissionRequest { role, key, range_end };
                auth.role_revoke_permission(request).await?.into_inner().header
            }
            other => panic!("role {other}: not a request"),
        };
        Ok(names.header(header.as_ref()))
    }
}

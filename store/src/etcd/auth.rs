//! Users and roles, and who logs in.
//!
//! Source: etcd `server/etcdserver/api/v3rpc/auth.go`, `server/etcdserver/v3_server.go`.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proto::authpb::User;
use proto::command::command::Request as Write;
use proto::command::outcome::Response as Answer;
use proto::command::{Authenticate, Authenticated, Caller};
use proto::etcdserverpb as pb;
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status};

use crate::Error;
use crate::etcd::caller::{Credentials, refused};
use crate::etcd::kv::write;
use crate::etcd::{Front, status};
use crate::machine::auth as users;
use crate::machine::permission;

/// Passwords hashed at once: each keeps a processor busy.
static HASHING: LazyLock<Semaphore> =
    LazyLock::new(|| Semaphore::new(std::thread::available_parallelism().map_or(1, usize::from)));
/// Bytes of a password that bcrypt looks at.
const PASSWORD_BYTES_MAX: usize = 72;
/// How often a password is looked at again because users changed meanwhile.
const ATTEMPTS: usize = 10;

/// See the module.
pub(super) struct Auth {
    pub(super) front: Front,
}

impl Auth {
    /// Who asks, once this member knows all that was acknowledged before.
    async fn asked_by<T>(&self, request: &Request<T>) -> Result<Caller, Status> {
        let credentials = Credentials::of(request);
        let caller = self.front.caller(&credentials).await?;
        self.front.store.barrier().await.map_err(status)?;
        Ok(caller)
    }

    fn header(&self) -> Option<pb::ResponseHeader> {
        self.front.store.header(self.front.store.revision())
    }

    /// What is kept of a password.
    async fn hash(&self, password: String) -> Result<String, Status> {
        if password.len() > PASSWORD_BYTES_MAX {
            return Err(Status::unknown("bcrypt: password length exceeds 72 bytes"));
        }
        let cost = self.front.options.auth.bcrypt_cost;
        let hashed = hashing(move || bcrypt::hash_with_result(password, cost)).await?;
        let hashed = hashed.map_err(|error| Status::unknown(error.to_string()))?;
        // Of the versions that are all the same, the one that Go writes.
        Ok(STANDARD.encode(hashed.format_for_version(bcrypt::Version::TwoA)))
    }

    /// Whether a password is right, and the revision of the auth store under which it is.
    async fn check(&self, name: &str, password: String) -> Result<u64, Status> {
        let auth = self.front.store.auth();
        if !auth.enabled {
            return Err(refused(users::not_enabled()));
        }
        let User { password: hashed, .. } = match auth.user(name) {
            None => return Err(refused(users::failed())),
            Some(user) if users::without_password(user) => return Err(refused(users::no_password_user())),
            Some(user) => user.clone(),
        };
        let right = move || {
            let hashed = std::str::from_utf8(&hashed).unwrap_or_default();
            bcrypt::verify(password, hashed).unwrap_or(false)
        };
        if hashing(right).await? { Ok(auth.revision) } else { Err(refused(users::failed())) }
    }

    async fn log_in(&self, name: &str, password: &str) -> Result<Authenticated, Status> {
        let tokens = &self.front.options.auth.tokens;
        for _ in 0..ATTEMPTS {
            let checked = self.check(name, password.to_owned()).await?;
            let token_prefix = tokens.prefix().map_err(status)?;
            let request = Write::Authenticate(Authenticate { name: name.to_owned(), token_prefix });
            let Answer::Authenticate(answer) = self.front.store.write(request).await.map_err(status)? else {
                return Err(status(Error::Unknown));
            };
            if answer.auth_revision == checked {
                return Ok(answer);
            }
        }
        Err(refused(permission::outdated()))
    }
}

/// Runs what takes a processor for long, off the runtime's threads.
async fn hashing<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Status> {
    let _turn = HASHING.acquire().await.map_err(|error| Status::unavailable(error.to_string()))?;
    crate::edge::blocking(work).await.map_err(|error| Status::unavailable(error.to_string()))
}

/// A change: who asks is looked at when it is applied.
macro_rules! change {
    ($self:ident, $variant:ident, $request:ident) => {{
        let caller = $self.front.caller(&Credentials::of(&$request)).await?;
        write!($self, caller, $variant, $request.into_inner())
    }};
}

#[tonic::async_trait]
impl pb::auth_server::Auth for Auth {
    async fn auth_enable(
        &self,
        request: Request<pb::AuthEnableRequest>,
    ) -> Result<Response<pb::AuthEnableResponse>, Status> {
        change!(self, AuthEnable, request)
    }

    async fn auth_disable(
        &self,
        request: Request<pb::AuthDisableRequest>,
    ) -> Result<Response<pb::AuthDisableResponse>, Status> {
        change!(self, AuthDisable, request)
    }

    async fn auth_status(
        &self,
        request: Request<pb::AuthStatusRequest>,
    ) -> Result<Response<pb::AuthStatusResponse>, Status> {
        self.asked_by(&request).await?;
        let auth = self.front.store.auth();
        let (enabled, auth_revision) = (auth.enabled, auth.revision);
        Ok(Response::new(pb::AuthStatusResponse { header: self.header(), enabled, auth_revision }))
    }

    async fn authenticate(
        &self,
        request: Request<pb::AuthenticateRequest>,
    ) -> Result<Response<pb::AuthenticateResponse>, Status> {
        self.front.store.barrier().await.map_err(status)?;
        let pb::AuthenticateRequest { name, password } = request.into_inner();
        let Authenticated { mut header, mut token, auth_revision } = self.log_in(&name, &password).await?;
        match self.front.options.auth.tokens.sign(&Caller { user: name, auth_revision }) {
            Some(signed) => token = signed.map_err(Status::unknown)?,
            None if token.is_empty() => return Err(refused(users::failed())),
            None => {}
        }
        self.front.store.sign(&mut header);
        Ok(Response::new(pb::AuthenticateResponse { header, token }))
    }

    async fn user_add(
        &self,
        mut request: Request<pb::AuthUserAddRequest>,
    ) -> Result<Response<pb::AuthUserAddResponse>, Status> {
        let user = request.get_mut();
        let password = std::mem::take(&mut user.password);
        if !user.options.is_some_and(|options| options.no_password) {
            user.hashed_password = self.hash(password).await?;
        }
        change!(self, UserAdd, request)
    }

    async fn user_get(
        &self,
        request: Request<pb::AuthUserGetRequest>,
    ) -> Result<Response<pb::AuthUserGetResponse>, Status> {
        let (caller, name) = (self.asked_by(&request).await?, request.into_inner().name);
        let auth = self.front.store.auth();
        // Everybody may know what they are themselves.
        if name != caller.user {
            permission::admin(&auth, &caller).map_err(refused)?;
        }
        let roles = auth.roles_of(&name).map_err(refused)?;
        Ok(Response::new(pb::AuthUserGetResponse { header: self.header(), roles }))
    }

    async fn user_list(
        &self,
        request: Request<pb::AuthUserListRequest>,
    ) -> Result<Response<pb::AuthUserListResponse>, Status> {
        let (caller, auth) = (self.asked_by(&request).await?, self.front.store.auth());
        permission::admin(&auth, &caller).map_err(refused)?;
        Ok(Response::new(pb::AuthUserListResponse { header: self.header(), users: auth.users() }))
    }

    async fn user_delete(
        &self,
        request: Request<pb::AuthUserDeleteRequest>,
    ) -> Result<Response<pb::AuthUserDeleteResponse>, Status> {
        change!(self, UserDelete, request)
    }

    async fn user_change_password(
        &self,
        mut request: Request<pb::AuthUserChangePasswordRequest>,
    ) -> Result<Response<pb::AuthUserChangePasswordResponse>, Status> {
        let user = request.get_mut();
        let password = std::mem::take(&mut user.password);
        if !password.is_empty() {
            user.hashed_password = self.hash(password).await?;
        }
        change!(self, UserChangePassword, request)
    }

    async fn user_grant_role(
        &self,
        request: Request<pb::AuthUserGrantRoleRequest>,
    ) -> Result<Response<pb::AuthUserGrantRoleResponse>, Status> {
        change!(self, UserGrantRole, request)
    }

    async fn user_revoke_role(
        &self,
        request: Request<pb::AuthUserRevokeRoleRequest>,
    ) -> Result<Response<pb::AuthUserRevokeRoleResponse>, Status> {
        change!(self, UserRevokeRole, request)
    }

    async fn role_add(
        &self,
        request: Request<pb::AuthRoleAddRequest>,
    ) -> Result<Response<pb::AuthRoleAddResponse>, Status> {
        change!(self, RoleAdd, request)
    }

    async fn role_get(
        &self,
        request: Request<pb::AuthRoleGetRequest>,
    ) -> Result<Response<pb::AuthRoleGetResponse>, Status> {
        let (caller, role) = (self.asked_by(&request).await?, request.into_inner().role);
        let auth = self.front.store.auth();
        let own = auth.user(&caller.user).is_some_and(|user| user.roles.contains(&role));
        if !own {
            permission::admin(&auth, &caller).map_err(refused)?;
        }
        let perm = auth.permissions_of(&role).map_err(refused)?;
        Ok(Response::new(pb::AuthRoleGetResponse { header: self.header(), perm }))
    }

    async fn role_list(
        &self,
        request: Request<pb::AuthRoleListRequest>,
    ) -> Result<Response<pb::AuthRoleListResponse>, Status> {
        let (caller, auth) = (self.asked_by(&request).await?, self.front.store.auth());
        permission::admin(&auth, &caller).map_err(refused)?;
        Ok(Response::new(pb::AuthRoleListResponse { header: self.header(), roles: auth.roles() }))
    }

    async fn role_delete(
        &self,
        request: Request<pb::AuthRoleDeleteRequest>,
    ) -> Result<Response<pb::AuthRoleDeleteResponse>, Status> {
        change!(self, RoleDelete, request)
    }

    async fn role_grant_permission(
        &self,
        request: Request<pb::AuthRoleGrantPermissionRequest>,
    ) -> Result<Response<pb::AuthRoleGrantPermissionResponse>, Status> {
        change!(self, RoleGrantPermission, request)
    }

    async fn role_revoke_permission(
        &self,
        request: Request<pb::AuthRoleRevokePermissionRequest>,
    ) -> Result<Response<pb::AuthRoleRevokePermissionResponse>, Status> {
        change!(self, RoleRevokePermission, request)
    }
}

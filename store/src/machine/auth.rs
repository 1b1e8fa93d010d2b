//! PURE: etcd's auth store: who there is, what roles they have, whether anybody is asked, and what requests change of it.
//!
//! Source: etcd `server/auth/store.go`.

mod rows;

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use prost::Message;
use proto::authpb::{Permission, Role, User, UserAddOptions};
use proto::command::command::Request;
use proto::command::outcome::Response;
use proto::command::refusal::Reason;
use proto::command::{Authenticate, Authenticated, Refusal};
use proto::etcdserverpb as pb;

use crate::engine::{Batch, Family, Snapshot};
use crate::machine::codec::decode;
use crate::machine::pending::refusal;
use crate::machine::permission::Rights;
use rows::{ROLE_ROWS, STATE_ROW, State, USER_ROWS};
pub(crate) use rows::{is_row, rows, written};

/// The user that must be there for others to be asked who they are, and the role that may do everything.
pub(crate) const ROOT: &str = "root";

/// The auth store.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Auth {
    /// Whether clients are asked who they are.
    pub(crate) enabled: bool,
    /// Counts changes; a client that was identified under an older one is asked again.
    pub(crate) revision: u64,
    users: BTreeMap<String, Arc<User>>,
    roles: BTreeMap<String, Arc<Role>>,
    /// What each user's roles allow together.
    rights: BTreeMap<String, Arc<Rights>>,
}

/// What becomes of tokens that members keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Session {
    /// A token is a user's from now on.
    Began {
        /// Whose.
        user: String,
        /// The whole token.
        token: String,
    },
    /// No token of a user holds any longer.
    Ended {
        /// Whose.
        user: String,
    },
    /// No token holds any longer.
    AllEnded,
}

/// What a change leaves to be done.
pub(crate) struct Effects<'a> {
    pub(crate) batch: &'a mut Batch,
    pub(crate) sessions: &'a mut Vec<Session>,
}

fn precondition(text: &str) -> Refusal {
    refusal(Reason::AuthPrecondition, text)
}

fn invalid(text: &str) -> Refusal {
    refusal(Reason::Invalid, text)
}

fn no_user() -> Refusal {
    precondition("etcdserver: user name not found")
}

fn no_role() -> Refusal {
    precondition("etcdserver: role name not found")
}

fn invalid_management() -> Refusal {
    invalid("etcdserver: invalid auth management")
}

/// What etcd says where a password does not go with the user, in words that have no code.
pub(crate) fn no_password_user() -> Refusal {
    refusal(Reason::AuthUnknown, "auth: authentication failed, password was given for no password user")
}

/// What etcd says of a wrong password, and of a user that is not there.
pub(crate) fn failed() -> Refusal {
    invalid("etcdserver: authentication failed, invalid user ID or password")
}

/// What etcd says to those who ask for a token that nobody needs.
pub(crate) fn not_enabled() -> Refusal {
    precondition("etcdserver: authentication is not enabled")
}

impl Auth {
    /// All users, by name.
    pub(crate) fn all_users(&self) -> impl Iterator<Item = &User> {
        self.users.values().map(AsRef::as_ref)
    }

    /// All roles, by name.
    pub(crate) fn all_roles(&self) -> impl Iterator<Item = &Role> {
        self.roles.values().map(AsRef::as_ref)
    }

    /// Reads it from the engine. etcd's revisions begin with 1.
    pub(crate) fn load(snapshot: &dyn Snapshot) -> Self {
        let state = snapshot.get(Family::Meta, STATE_ROW).map_or_else(State::default, decode);
        let mut auth = Auth { enabled: state.enabled, revision: state.revision.max(1), ..Auth::default() };
        for (row, value) in rows(snapshot) {
            let Ok(row) = std::str::from_utf8(&row) else { continue };
            if let Some(name) = row.strip_prefix(USER_ROWS) {
                auth.users.insert(name.to_owned(), Arc::new(decode(value)));
            } else if let Some(name) = row.strip_prefix(ROLE_ROWS) {
                auth.roles.insert(name.to_owned(), Arc::new(decode(value)));
            }
        }
        auth.refresh(|_| true);
        auth
    }

    /// A user by name.
    pub(crate) fn user(&self, name: &str) -> Option<&User> {
        self.users.get(name).map(|user| &**user)
    }

    /// What a user's roles allow together.
    pub(crate) fn rights(&self, user: &str) -> Option<&Rights> {
        self.rights.get(user).map(|rights| &**rights)
    }

    /// Names of all users, in order.
    pub(crate) fn users(&self) -> Vec<String> {
        self.users.keys().cloned().collect()
    }

    /// Names of all roles, in order.
    pub(crate) fn roles(&self) -> Vec<String> {
        self.roles.keys().cloned().collect()
    }

    /// The roles of a user.
    ///
    /// # Errors
    /// When there is no such user.
    pub(crate) fn roles_of(&self, user: &str) -> Result<Vec<String>, Refusal> {
        self.user(user).map(|user| user.roles.clone()).ok_or_else(no_user)
    }

    /// What a role allows; the root role allows everything.
    ///
    /// # Errors
    /// When there is no such role.
    pub(crate) fn permissions_of(&self, role: &str) -> Result<Vec<Permission>, Refusal> {
        let held = self.roles.get(role).ok_or_else(no_role)?;
        if role == ROOT {
            let all = Permission { perm_type: 2, key: Bytes::new(), range_end: Bytes::from_static(&[0]) };
            return Ok(vec![all]);
        }
        Ok(held.key_permission.clone())
    }

    /// Makes a change, or refuses it and changes nothing. `index`: of the log entry that asks for it.
    ///
    /// # Errors
    /// As etcd refuses it.
    pub(crate) fn change(
        &mut self,
        request: &Request,
        header: Option<pb::ResponseHeader>,
        index: u64,
        effects: &mut Effects<'_>,
    ) -> Result<Response, Refusal> {
        let revision = self.revision;
        let response = match request {
            Request::AuthEnable(_) => {
                self.enable(effects)?;
                Response::AuthEnable(pb::AuthEnableResponse { header })
            }
            Request::AuthDisable(_) => {
                self.disable(effects);
                Response::AuthDisable(pb::AuthDisableResponse { header })
            }
            Request::Authenticate(request) => {
                Response::Authenticate(self.authenticate(request, header, index, effects)?)
            }
            Request::UserAdd(request) => {
                self.user_add(request, effects)?;
                Response::UserAdd(pb::AuthUserAddResponse { header })
            }
            Request::UserDelete(request) => {
                self.user_delete(&request.name, effects)?;
                Response::UserDelete(pb::AuthUserDeleteResponse { header })
            }
            Request::UserChangePassword(request) => {
                self.change_password(request, effects)?;
                Response::UserChangePassword(pb::AuthUserChangePasswordResponse { header })
            }
            Request::UserGrantRole(request) => {
                self.grant_role(request, effects)?;
                Response::UserGrantRole(pb::AuthUserGrantRoleResponse { header })
            }
            Request::UserRevokeRole(request) => {
                self.revoke_role(request, effects)?;
                Response::UserRevokeRole(pb::AuthUserRevokeRoleResponse { header })
            }
            Request::RoleAdd(request) => {
                self.role_add(&request.name, effects)?;
                Response::RoleAdd(pb::AuthRoleAddResponse { header })
            }
            Request::RoleDelete(request) => {
                self.role_delete(&request.role, effects)?;
                Response::RoleDelete(pb::AuthRoleDeleteResponse { header })
            }
            Request::RoleGrantPermission(request) => {
                self.grant_permission(request, effects)?;
                Response::RoleGrantPermission(pb::AuthRoleGrantPermissionResponse { header })
            }
            Request::RoleRevokePermission(request) => {
                self.revoke_permission(request, effects)?;
                Response::RoleRevokePermission(pb::AuthRoleRevokePermissionResponse { header })
            }
            _ => return Err(invalid("an entry of a newer version of this program holds an unknown request")),
        };
        if self.revision != revision {
            self.write_state(effects);
        }
        Ok(response)
    }

    fn write_state(&self, effects: &mut Effects<'_>) {
        let state = State { enabled: self.enabled, revision: self.revision };
        effects.batch.put(Family::Meta, STATE_ROW, state.encode_to_vec());
    }

    fn enable(&mut self, effects: &mut Effects<'_>) -> Result<(), Refusal> {
        if self.enabled {
            return Ok(());
        }
        let root = self.user(ROOT).ok_or_else(|| precondition("etcdserver: root user does not exist"))?;
        if !is_root(root) {
            return Err(precondition("etcdserver: root user does not have root role"));
        }
        self.enabled = true;
        self.write_state(effects);
        Ok(())
    }

    fn disable(&mut self, effects: &mut Effects<'_>) {
        if self.enabled {
            self.enabled = false;
            self.revision += 1;
            effects.sessions.push(Session::AllEnded);
        }
    }

    /// The password was found right by the member that was asked, under a revision that it compares afterwards.
    fn authenticate(
        &self,
        request: &Authenticate,
        header: Option<pb::ResponseHeader>,
        index: u64,
        effects: &mut Effects<'_>,
    ) -> Result<Authenticated, Refusal> {
        if !self.enabled {
            return Err(not_enabled());
        }
        let user = self.user(&request.name).ok_or_else(failed)?;
        if without_password(user) {
            return Err(failed());
        }
        let mut token = String::new();
        if !request.token_prefix.is_empty() {
            token = format!("{}.{index}", request.token_prefix);
            effects.sessions.push(Session::Began { user: request.name.clone(), token: token.clone() });
        }
        Ok(Authenticated { header, token, auth_revision: self.revision })
    }

    fn user_add(&mut self, request: &pb::AuthUserAddRequest, effects: &mut Effects<'_>) -> Result<(), Refusal> {
        if request.name.is_empty() {
            return Err(invalid("etcdserver: user name is empty"));
        }
        if self.users.contains_key(&request.name) {
            return Err(precondition("etcdserver: user name already exists"));
        }
        let options = request.options.unwrap_or(UserAddOptions { no_password: false });
        let password = if options.no_password { Bytes::new() } else { parse_hash(&request.hashed_password)? };
        let name = Bytes::from(request.name.clone().into_bytes());
        self.put_user(User { name, password, roles: Vec::new(), options: Some(options) }, effects);
        self.revision += 1;
        Ok(())
    }

    fn user_delete(&mut self, name: &str, effects: &mut Effects<'_>) -> Result<(), Refusal> {
        if self.enabled && name == ROOT {
            return Err(invalid_management());
        }
        self.users.remove(name).ok_or_else(no_user)?;
        self.rights.remove(name);
        effects.batch.delete(Family::Meta, format!("{USER_ROWS}{name}"));
        effects.sessions.push(Session::Ended { user: name.to_owned() });
        self.revision += 1;
        Ok(())
    }

    fn change_password(
        &mut self,
        request: &pb::AuthUserChangePasswordRequest,
        effects: &mut Effects<'_>,
    ) -> Result<(), Refusal> {
        let user = self.user(&request.name).ok_or_else(no_user)?;
        let password = if without_password(user) { Bytes::new() } else { parse_hash(&request.hashed_password)? };
        let user = User { password, ..user.clone() };
        self.put_user(user, effects);
        effects.sessions.push(Session::Ended { user: request.name.clone() });
        self.revision += 1;
        Ok(())
    }

    fn grant_role(&mut self, request: &pb::AuthUserGrantRoleRequest, effects: &mut Effects<'_>) -> Result<(), Refusal> {
        let mut user = self.user(&request.user).ok_or_else(no_user)?.clone();
        // The root role need not be there.
        if request.role != ROOT && !self.roles.contains_key(&request.role) {
            return Err(no_role());
        }
        if let Err(place) = user.roles.binary_search(&request.role) {
            user.roles.insert(place, request.role.clone());
            self.put_user(user, effects);
            self.revision += 1;
        }
        Ok(())
    }

    fn revoke_role(
        &mut self,
        request: &pb::AuthUserRevokeRoleRequest,
        effects: &mut Effects<'_>,
    ) -> Result<(), Refusal> {
        if self.enabled && request.name == ROOT && request.role == ROOT {
            return Err(invalid_management());
        }
        let user = self.user(&request.name).ok_or_else(no_user)?;
        let left = without_role(user, &request.role)
            .ok_or_else(|| precondition("etcdserver: role is not granted to the user"))?;
        self.put_user(left, effects);
        self.revision += 1;
        Ok(())
    }

    fn role_add(&mut self, name: &str, effects: &mut Effects<'_>) -> Result<(), Refusal> {
        if name.is_empty() {
            return Err(invalid("etcdserver: role name is empty"));
        }
        if self.roles.contains_key(name) {
            return Err(precondition("etcdserver: role name already exists"));
        }
        let role = Role { name: Bytes::from(name.to_owned().into_bytes()), key_permission: Vec::new() };
        self.put_role(name, role, effects);
        self.revision += 1;
        Ok(())
    }

    fn role_delete(&mut self, name: &str, effects: &mut Effects<'_>) -> Result<(), Refusal> {
        if self.enabled && name == ROOT {
            return Err(invalid_management());
        }
        self.roles.remove(name).ok_or_else(no_role)?;
        effects.batch.delete(Family::Meta, format!("{ROLE_ROWS}{name}"));
        let left: Vec<User> = self.users.values().filter_map(|user| without_role(user, name)).collect();
        for user in left {
            self.put_user(user, effects);
        }
        self.revision += 1;
        Ok(())
    }

    fn grant_permission(
        &mut self,
        request: &pb::AuthRoleGrantPermissionRequest,
        effects: &mut Effects<'_>,
    ) -> Result<(), Refusal> {
        let granted = request.perm.as_ref().ok_or_else(|| invalid("etcdserver: permission not given"))?;
        if !is_range(&granted.key, &granted.range_end) {
            return Err(invalid_management());
        }
        let mut role = Role::clone(self.roles.get(&request.name).ok_or_else(no_role)?);
        // etcd looks at the first permission of the key alone: of several, only that one is changed in place.
        let place = role.key_permission.partition_point(|held| held.key < granted.key);
        match role.key_permission.get_mut(place) {
            Some(held) if held.key == granted.key && held.range_end == granted.range_end => {
                held.perm_type = granted.perm_type;
            }
            _ => {
                role.key_permission.push(granted.clone());
                role.key_permission.sort_by(|a, b| a.key.cmp(&b.key));
            }
        }
        self.put_role(&request.name, role, effects);
        self.revision += 1;
        Ok(())
    }

    fn revoke_permission(
        &mut self,
        request: &pb::AuthRoleRevokePermissionRequest,
        effects: &mut Effects<'_>,
    ) -> Result<(), Refusal> {
        let mut role = Role::clone(self.roles.get(&request.role).ok_or_else(no_role)?);
        let before = role.key_permission.len();
        role.key_permission.retain(|held| held.key != request.key || held.range_end != request.range_end);
        if role.key_permission.len() == before {
            return Err(precondition("etcdserver: permission is not granted to the role"));
        }
        self.put_role(&request.role, role, effects);
        self.revision += 1;
        Ok(())
    }

    fn put_user(&mut self, user: User, effects: &mut Effects<'_>) {
        let name = String::from_utf8_lossy(&user.name).into_owned();
        effects.batch.put(Family::Meta, format!("{USER_ROWS}{name}"), user.encode_to_vec());
        self.users.insert(name.clone(), Arc::new(user));
        self.refresh(|user| user.name == name.as_bytes());
    }

    fn put_role(&mut self, name: &str, role: Role, effects: &mut Effects<'_>) {
        effects.batch.put(Family::Meta, format!("{ROLE_ROWS}{name}"), role.encode_to_vec());
        self.roles.insert(name.to_owned(), Arc::new(role));
        self.refresh(|user| user.roles.iter().any(|role| role == name));
    }

    /// Works out again what some users may do.
    fn refresh(&mut self, of: impl Fn(&User) -> bool) {
        for (name, user) in self.users.iter().filter(|(_, user)| of(user)) {
            let roles = user.roles.iter().filter_map(|role| self.roles.get(role));
            let rights = Rights::merged(roles.flat_map(|role| &role.key_permission));
            self.rights.insert(name.clone(), Arc::new(rights));
        }
    }
}

/// Whether a user may do everything.
pub(crate) fn is_root(user: &User) -> bool {
    user.roles.iter().any(|role| role == ROOT)
}

/// Whether a user cannot log in with a password, but is known by a certificate alone.
pub(crate) fn without_password(user: &User) -> bool {
    user.options.is_some_and(|options| options.no_password)
}

/// The user without a role; none where it had no such role.
fn without_role(user: &User, role: &str) -> Option<User> {
    let roles: Vec<String> = user.roles.iter().filter(|held| *held != role).cloned().collect();
    (roles.len() != user.roles.len()).then(|| User { roles, ..user.clone() })
}

fn parse_hash(hashed: &str) -> Result<Bytes, Refusal> {
    STANDARD.decode(hashed).map(Bytes::from).map_err(|_| no_password_user())
}

/// Whether a permission can be about a range.
fn is_range(key: &[u8], end: &[u8]) -> bool {
    !key.is_empty() && (end.is_empty() || end == [0] || key < end)
}

#[cfg(test)]
mod tests;

//! What requests do to the auth store, and what etcd 3.7 says of those it refuses.

use bytes::Bytes;
use proto::authpb::{Permission, UserAddOptions};
use proto::command::Authenticate;
use proto::command::command::Request;
use proto::etcdserverpb as pb;

use super::{Auth, Effects, Session};
use crate::engine::memory::Memory;
use crate::engine::{Batch, Engine};

/// One request in few words.
fn request(words: &str) -> Request {
    let words: Vec<&str> = words.split(' ').collect();
    let word = |at: usize| (*words.get(at).unwrap_or(&"")).to_owned();
    let bytes = |at: usize| Bytes::from(word(at).replace("\\0", "\0").into_bytes());
    match words[0] {
        "enable" => Request::AuthEnable(pb::AuthEnableRequest {}),
        "disable" => Request::AuthDisable(pb::AuthDisableRequest {}),
        "login" => Request::Authenticate(Authenticate { name: word(1), token_prefix: word(2) }),
        "user" | "unhashed" | "certified" => {
            let hashed_password = if words[0] == "user" { "aGFzaA==".to_owned() } else { word(2) };
            let options = (words[0] == "certified").then_some(UserAddOptions { no_password: true });
            let password = String::new();
            Request::UserAdd(pb::AuthUserAddRequest { name: word(1), password, options, hashed_password })
        }
        "no-user" => Request::UserDelete(pb::AuthUserDeleteRequest { name: word(1) }),
        "password" => {
            let (name, hashed_password) = (word(1), word(2));
            let password = String::new();
            Request::UserChangePassword(pb::AuthUserChangePasswordRequest { name, password, hashed_password })
        }
        "grant" => Request::UserGrantRole(pb::AuthUserGrantRoleRequest { user: word(1), role: word(2) }),
        "revoke" => Request::UserRevokeRole(pb::AuthUserRevokeRoleRequest { name: word(1), role: word(2) }),
        "role" => Request::RoleAdd(pb::AuthRoleAddRequest { name: word(1) }),
        "no-role" => Request::RoleDelete(pb::AuthRoleDeleteRequest { role: word(1) }),
        "allow" => {
            let perm_type = ["read", "write", "readwrite"].iter().position(|kind| *kind == word(2));
            let perm_type = i32::try_from(perm_type.expect("a kind")).expect("small");
            let perm = Some(Permission { perm_type, key: bytes(3), range_end: bytes(4) });
            Request::RoleGrantPermission(pb::AuthRoleGrantPermissionRequest { name: word(1), perm })
        }
        "allow-nothing" => {
            Request::RoleGrantPermission(pb::AuthRoleGrantPermissionRequest { name: word(1), perm: None })
        }
        "disallow" => {
            let (role, key, range_end) = (word(1), bytes(2), bytes(3));
            Request::RoleRevokePermission(pb::AuthRoleRevokePermissionRequest { role, key, range_end })
        }
        other => panic!("{other}"),
    }
}

struct Kept {
    auth: Auth,
    engine: Memory,
    sessions: Vec<Session>,
}

impl Kept {
    fn new() -> Self {
        let engine = Memory::default();
        Kept { auth: Auth::load(&*engine.snapshot()), engine, sessions: Vec::new() }
    }

    /// What it says, and the revision afterwards. What lies in the engine is always what is in memory.
    fn does(&mut self, words: &str) -> (String, u64) {
        let (before, mut batch) = (self.auth.clone(), Batch::default());
        let mut effects = Effects { batch: &mut batch, sessions: &mut self.sessions };
        let said = match self.auth.change(&request(words), None, 9, &mut effects) {
            Ok(_) => "ok".to_owned(),
            Err(refusal) => {
                assert_eq!(self.auth, before, "{words}: refused, and nothing changed");
                refusal.message
            }
        };
        self.engine.write(batch).expect("memory");
        assert_eq!(Auth::load(&*self.engine.snapshot()), self.auth, "{words}");
        (said, self.auth.revision)
    }
}

/// Requests in order, what each is told, and the revision of the auth store afterwards; as etcd 3.7.3 does it.
const STEPS: &[(&str, &str, u64)] = &[
    ("enable", "etcdserver: root user does not exist", 1),
    ("user ", "etcdserver: user name is empty", 1),
    ("user root", "ok", 2),
    ("user root", "etcdserver: user name already exists", 2),
    ("enable", "etcdserver: root user does not have root role", 2),
    ("grant root r", "etcdserver: role name not found", 2),
    ("grant nobody r", "etcdserver: user name not found", 2),
    ("grant root root", "ok", 3),
    ("grant root root", "ok", 3),
    ("login root t", "etcdserver: authentication is not enabled", 3),
    ("enable", "ok", 3),
    ("enable", "ok", 3),
    ("login root t", "ok", 3),
    ("login nobody t", "etcdserver: authentication failed, invalid user ID or password", 3),
    ("unhashed a !", "auth: authentication failed, password was given for no password user", 3),
    ("certified a", "ok", 4),
    ("login a t", "etcdserver: authentication failed, invalid user ID or password", 4),
    ("password a aGFzaA==", "ok", 5),
    ("login a t", "etcdserver: authentication failed, invalid user ID or password", 5),
    ("password nobody x", "etcdserver: user name not found", 5),
    ("password root !", "auth: authentication failed, password was given for no password user", 5),
    ("role ", "etcdserver: role name is empty", 5),
    ("role r", "ok", 6),
    ("role r", "etcdserver: role name already exists", 6),
    ("allow-nothing r", "etcdserver: permission not given", 6),
    ("allow x read k", "etcdserver: role name not found", 6),
    ("allow x read ", "etcdserver: invalid auth management", 6),
    ("allow r read b a", "etcdserver: invalid auth management", 6),
    ("allow r read b b", "etcdserver: invalid auth management", 6),
    ("allow r read b \\0", "ok", 7),
    ("allow r write b \\0", "ok", 8),
    ("allow r read b c", "ok", 9),
    ("disallow r b", "etcdserver: permission is not granted to the role", 9),
    ("disallow x b", "etcdserver: role name not found", 9),
    ("disallow r b \\0", "ok", 10),
    ("grant a r", "ok", 11),
    ("revoke a x", "etcdserver: role is not granted to the user", 11),
    ("revoke nobody x", "etcdserver: user name not found", 11),
    ("revoke root root", "etcdserver: invalid auth management", 11),
    ("no-user root", "etcdserver: invalid auth management", 11),
    ("no-user nobody", "etcdserver: user name not found", 11),
    ("no-role root", "etcdserver: invalid auth management", 11),
    ("no-role x", "etcdserver: role name not found", 11),
    ("no-role r", "ok", 12),
    ("revoke a r", "etcdserver: role is not granted to the user", 12),
    ("no-user a", "ok", 13),
    ("disable", "ok", 14),
    ("disable", "ok", 14),
    ("no-user root", "ok", 15),
];

#[test]
fn requests_do_what_they_do_to_etcds() {
    let mut kept = Kept::new();
    for (number, (words, said, revision)) in STEPS.iter().enumerate() {
        assert_eq!(kept.does(words), ((*said).to_owned(), *revision), "step {number}: {words}");
    }
}

#[test]
fn tokens_begin_with_a_log_in_and_end_with_what_it_rested_on() {
    let mut kept = Kept::new();
    for words in
        ["user root", "grant root root", "user a", "enable", "login a abc", "password a eA==", "no-user a", "disable"]
    {
        assert_eq!(kept.does(words).0, "ok", "{words}");
    }
    let (user, token) = ("a".to_owned(), "abc.9".to_owned());
    let ended = Session::Ended { user: user.clone() };
    assert_eq!(kept.sessions, [Session::Began { user, token }, ended.clone(), ended, Session::AllEnded]);
}

#[test]
fn the_root_role_allows_everything_once_it_is_there() {
    let mut kept = Kept::new();
    assert_eq!(
        kept.auth.permissions_of("root").map_err(|why| why.message),
        Err("etcdserver: role name not found".into())
    );
    kept.does("role root");
    let all = kept.auth.permissions_of("root").expect("there");
    assert_eq!((all[0].key.as_ref(), all[0].range_end.as_ref(), all[0].perm_type), (&b""[..], &b"\0"[..], 2));
}

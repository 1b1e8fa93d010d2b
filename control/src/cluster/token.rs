//! Join tokens: whom to ask, how to recognise it, and a secret that the cluster knows by its hash.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::request_op::Request;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::{Deserialize, Serialize};
use store::Store;
use subtle::ConstantTimeEq;

use crate::registry::key::range_end;
use crate::registry::shell::failed;
use crate::status::Status;

/// Where tokens are kept.
const HOME: &str = "/raftsman/tokens/";
/// Says what a text is, and in which version.
const MARK: &str = "raftsman1.";

/// What a machine needs to get in; the whole of it is secret.
#[derive(Clone, Serialize, Deserialize)]
pub struct Token {
    /// `host:port` of servers, in the order in which to try them.
    #[serde(rename = "a")]
    pub addresses: Vec<String>,
    /// SHA-256 of the authority's certificate (DER), hexadecimal.
    #[serde(rename = "h")]
    pub authority: String,
    /// Names it in lists.
    #[serde(rename = "i")]
    pub id: String,
    /// 32 bytes, base64.
    #[serde(rename = "s")]
    pub secret: String,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({})", self.id)
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = serde_json::to_vec(self).map_err(|_| fmt::Error)?;
        write!(f, "{MARK}{}", URL_SAFE_NO_PAD.encode(text))
    }
}

impl FromStr for Token {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Token, &'static str> {
        let encoded = text.trim().strip_prefix(MARK).ok_or("a token begins with raftsman1.")?;
        let bytes = URL_SAFE_NO_PAD.decode(encoded).map_err(|_| "the token is damaged; copy it whole")?;
        serde_json::from_slice(&bytes).map_err(|_| "the token is damaged; copy it whole")
    }
}

/// What the cluster keeps of a token.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Kept {
    /// Names it.
    pub id: String,
    /// What a machine becomes with it.
    pub role: String,
    /// Seconds since 1970.
    pub expires: i64,
    /// SHA-256 of the secret, hexadecimal.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    hash: String,
}

/// SHA-256, hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    digest(&SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Token {
    /// A new one.
    ///
    /// # Errors
    /// When the system gives no random numbers.
    pub(crate) fn new(addresses: Vec<String>, authority_pem: &str) -> Result<Token, Status> {
        let authority = CertificateDer::from_pem_slice(authority_pem.as_bytes()).map_err(Status::internal)?;
        let mut bytes = [0; 37];
        aws_lc_rs::rand::fill(&mut bytes).map_err(|_| Status::internal("no random numbers"))?;
        let id = bytes[32..].iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Token { addresses, authority: sha256(&authority), id, secret: URL_SAFE_NO_PAD.encode(&bytes[..32]) })
    }
}

fn key(id: &str) -> Bytes {
    format!("{HOME}{id}").into_bytes().into()
}

async fn write(store: &Store, request: Request) -> Result<(), Status> {
    let op = pb::RequestOp { request: Some(request) };
    let txn = pb::TxnRequest { success: vec![op], ..pb::TxnRequest::default() };
    store.txn(0, txn).await.map(|_| ()).map_err(failed)
}

pub(crate) async fn keep(store: &Store, token: &Token, role: &str, expires: i64) -> Result<(), Status> {
    let hash = sha256(token.secret.as_bytes());
    let kept = Kept { id: token.id.clone(), role: role.to_owned(), expires, hash };
    let value = serde_json::to_vec(&kept).map_err(Status::internal)?.into();
    write(store, Request::RequestPut(pb::PutRequest { key: key(&token.id), value, ..Default::default() })).await
}

pub(crate) fn list(store: &Store) -> Result<Vec<Kept>, Status> {
    let rows = store.view();
    let rows = rows.range(HOME.as_bytes(), &range_end(HOME));
    let read = |kv: proto::mvccpb::KeyValue| {
        let kept: Kept = serde_json::from_slice(&kv.value).map_err(Status::internal)?;
        Ok(Kept { hash: String::new(), ..kept })
    };
    rows.map(read).collect()
}

pub(crate) async fn revoke(store: &Store, id: &str) -> Result<(), Status> {
    if store.view().get(&key(id)).is_none() {
        return Err(Status::new(
            404,
            "NotFound",
            format!("there is no token {id:?}; `raftsman token list` shows them"),
        ));
    }
    write(store, Request::RequestDeleteRange(pb::DeleteRangeRequest { key: key(id), ..Default::default() })).await
}

/// What a machine becomes with a token.
pub(crate) fn role(store: &Store, id: &str, secret: &str, now: i64) -> Result<String, Status> {
    let unknown = || {
        Status::new(
            401,
            "Unauthorized",
            "the token is not known, was revoked or has expired; make a new one with `raftsman token create`",
        )
    };
    let kv = store.view().get(&key(id)).ok_or_else(unknown)?;
    let kept: Kept = serde_json::from_slice(&kv.value).map_err(Status::internal)?;
    let same: bool = sha256(secret.as_bytes()).as_bytes().ct_eq(kept.hash.as_bytes()).into();
    if same && kept.expires > now { Ok(kept.role) } else { Err(unknown()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_survive_copying_and_say_nothing_in_logs() {
        let token =
            Token::new(vec!["10.0.0.1:6443".to_owned()], &crate::pki::authority("test").expect("made").cert_pem)
                .expect("random");
        let text = token.to_string();
        let read: Token = format!(" {text}\n").parse().expect("whole");
        assert_eq!((&read.secret, &read.addresses), (&token.secret, &token.addresses));
        assert!(!format!("{token:?}").contains(&token.secret));
        assert!(text[..text.len() - 3].parse::<Token>().is_err() && "x".parse::<Token>().is_err());
    }
}

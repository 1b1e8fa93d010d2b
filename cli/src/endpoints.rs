//! How commands reach the members of a plain store, ours or etcd: through the JSON gateway of any of them.

use std::path::{Path, PathBuf};

use clap::Args;
use http::header::AUTHORIZATION;
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderValue, Method, Uri};
use http_body_util::BodyExt;
use kube::config::AuthInfo;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};
use store::moving::User;
use store::tls::TlsFiles;

use crate::access::{Cluster, JSON};
use crate::exit::Failure;

/// Whom to ask, and as whom: named as etcdctl names it.
#[derive(Args, Clone)]
pub(crate) struct Endpoints {
    /// Of a plain store: where its members serve clients, HOST:PORT or URLs between commas
    #[arg(long, value_name = "URLS", value_delimiter = ',', value_parser = endpoint)]
    pub(crate) endpoints: Vec<Uri>,
    /// Whose certificates are trusted
    #[arg(long, value_name = "FILE", requires = "endpoints")]
    cacert: Option<PathBuf>,
    /// The certificate to show
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// Its key
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// The user, where the store asks who calls
    #[arg(long, value_name = "NAME", requires = "password_file")]
    user: Option<String>,
    /// A file with the user's password
    #[arg(long, value_name = "FILE", requires = "user")]
    password_file: Option<PathBuf>,
}

/// PURE: where a member serves clients, as etcdctl is told: HOST:PORT, or a URL.
fn endpoint(word: &str) -> Result<Uri, String> {
    let url: Uri = word.trim().parse().map_err(|error| format!("{error}; write HOST:PORT or http://HOST:PORT"))?;
    if url.host().is_none_or(str::is_empty) || !matches!(url.scheme_str(), None | Some("http" | "https")) {
        return Err("write HOST:PORT, http://HOST:PORT or https://HOST:PORT".to_owned());
    }
    Ok(url)
}

/// PURE: the same with its scheme, where none was named.
fn whole(url: &Uri, secure: bool) -> Uri {
    let mut parts = url.clone().into_parts();
    if parts.scheme.is_none() {
        parts.scheme = Some(if secure { Scheme::HTTPS } else { Scheme::HTTP });
        parts.path_and_query = Some(PathAndQuery::from_static("/"));
    }
    Uri::from_parts(parts).unwrap_or_else(|_| url.clone())
}

fn password(file: &Path) -> Result<String, Failure> {
    let text = std::fs::read_to_string(file);
    let text = text.map_err(|error| Failure::usage(format!("{}: {error}", file.display())))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// The members that can be asked.
pub(crate) struct Members(Vec<Cluster>);

impl Endpoints {
    /// # Errors
    /// When a file cannot be read, or the user is not let in.
    pub(crate) async fn members(&self) -> Result<Members, Failure> {
        let open = |token: Option<&HeaderValue>| {
            self.endpoints.iter().map(|url| self.open(url, token)).collect::<Result<Vec<_>, _>>().map(Members)
        };
        let (Some(user), Some(file)) = (&self.user, &self.password_file) else { return open(None) };
        let who = json!({ "name": user, "password": password(file)? });
        let answer = open(None)?.ask("auth/authenticate", &who).await?;
        let token = HeaderValue::from_str(answer["token"].as_str().unwrap_or_default());
        let mut token = token.map_err(|_| Failure::failed("the token that came cannot be sent"))?;
        token.set_sensitive(true);
        open(Some(&token))
    }

    /// Whether anybody answers at a place, whatever it says.
    pub(crate) async fn answers(&self, url: Uri) -> bool {
        let Ok(member) = self.open(&url, None) else { return false };
        let asked = member.ask(Method::POST, "/v3/maintenance/status", JSON, b"{}".to_vec()).await;
        !asked.is_err_and(|failure| failure.is_unreachable())
    }

    /// The same for calls of gRPC.
    ///
    /// # Errors
    /// When the password cannot be read.
    pub(crate) fn access(&self) -> Result<store::moving::Access, Failure> {
        let user = match (&self.user, &self.password_file) {
            (Some(name), Some(file)) => Some(User { name: name.clone(), password: password(file)? }),
            _ => None,
        };
        let endpoints: Vec<String> =
            self.endpoints.iter().map(|url| self.whole(url).to_string().trim_end_matches('/').to_owned()).collect();
        let shown = self.cert.clone().zip(self.key.clone());
        let secure = endpoints.iter().any(|endpoint| endpoint.starts_with("https://"));
        let wanted = secure || self.cacert.is_some() || shown.is_some();
        let tls = wanted.then(|| TlsFiles { trusted_ca: self.cacert.clone(), client: shown, ..TlsFiles::default() });
        Ok(store::moving::Access { endpoints, tls, user })
    }

    /// Who shows certificates or names whom to trust means TLS, as etcdctl takes it.
    fn whole(&self, url: &Uri) -> Uri {
        whole(url, self.cacert.is_some() || self.cert.is_some())
    }

    fn open(&self, url: &Uri, token: Option<&HeaderValue>) -> Result<Cluster, Failure> {
        let url = &self.whole(url);
        let mut config = kube::Config::new(url.clone());
        if let Some(file) = &self.cacert {
            let wrong = |error: &dyn std::fmt::Display| Failure::usage(format!("--cacert {}: {error}", file.display()));
            let pem = std::fs::read(file).map_err(|error| wrong(&error))?;
            let read = |one: Result<CertificateDer<'_>, _>| one.map(|der| der.to_vec());
            let all = CertificateDer::pem_slice_iter(&pem).map(read).collect::<Result<Vec<_>, _>>();
            config.root_cert = Some(all.map_err(|error| wrong(&error))?);
        }
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        config.auth_info =
            AuthInfo { client_certificate: path(&self.cert), client_key: path(&self.key), ..AuthInfo::default() };
        config.headers.extend(token.map(|token| (AUTHORIZATION, token.clone())));
        // Whoever asks again decides so by itself.
        config.default_retry = false;
        Cluster::open(config).map_err(|error| Failure::usage(format!("{url}: {error}")))
    }
}

impl Members {
    /// Asks one after the other until one answers, or says no.
    ///
    /// # Errors
    /// What the one said that was reached, or why the last one was not.
    pub(crate) async fn ask(&self, call: &str, request: &Value) -> Result<Value, Failure> {
        let mut last = Failure::usage("--endpoints names nobody");
        for member in &self.0 {
            let body = request.to_string().into_bytes();
            match member.ask(Method::POST, &format!("/v3/{call}"), JSON, body).await {
                Err(failure) if failure.is_unreachable() => last = failure,
                answered => return answered,
            }
        }
        Err(last)
    }

    /// The same for a text that a path names.
    ///
    /// # Errors
    /// As `ask`.
    pub(crate) async fn text(&self, path: &str) -> Result<String, Failure> {
        let mut last = Failure::usage("--endpoints names nobody");
        for member in &self.0 {
            match member.send(Method::GET, path, "text/plain", JSON, Vec::new()).await {
                Err(failure) if failure.is_unreachable() => last = failure,
                Err(failure) => return Err(failure),
                Ok(body) => {
                    let bytes = body.collect().await.map_err(|error| Failure::failed(error.to_string()))?.to_bytes();
                    return Ok(String::from_utf8_lossy(&bytes).into_owned());
                }
            }
        }
        Err(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_named_as_etcdctl_names_them() {
        let read = |word: &str, secure| endpoint(word).map(|url| whole(&url, secure).to_string());
        assert_eq!(read("127.0.0.1:2379", false), Ok("http://127.0.0.1:2379/".to_owned()));
        assert_eq!(read(" [::1]:2379", true), Ok("https://[::1]:2379/".to_owned()));
        assert_eq!(read("store", false), Ok("http://store/".to_owned()));
        assert_eq!(read("http://a:1", true), Ok("http://a:1/".to_owned()), "what is said counts");
        for wrong in ["", "ftp://a:1", "/a", "a b", "unix://a:1", "http://"] {
            assert!(endpoint(wrong).is_err_and(|why| why.contains("HOST:PORT")), "{wrong:?}");
        }
    }
}

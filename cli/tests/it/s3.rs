//! A bucket that is spoken to as S3, in memory: as much of it as backups need.
//!
//! Source: the Amazon S3 API reference (PutObject, GetObject, DeleteObjects, ListObjectsV2, multipart uploads).

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

/// A bucket called `bucket`, of whichever server.
pub(crate) trait Objects {
    /// What a process needs to get at it.
    fn environment(&self) -> Vec<(&'static str, String)>;
    /// Whether it answers.
    fn be_away(&mut self, away: bool);
    /// All that is in it.
    fn names(&self) -> Vec<String>;
}

/// Who may.
const ACCESS: &str = "AKIATEST";
/// Objects in an answer to a list; more come with a token.
const PAGE: usize = 7;

#[derive(Default)]
struct Held {
    objects: BTreeMap<String, Bytes>,
    uploads: BTreeMap<String, BTreeMap<u32, Bytes>>,
    /// Answers nothing but errors.
    away: bool,
}

/// See the module; it serves as long as it lives.
pub(crate) struct Bucket {
    address: SocketAddr,
    held: Arc<Mutex<Held>>,
    _runtime: Runtime,
}

impl Bucket {
    pub(crate) fn new() -> Bucket {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
        let (address, held) = (listener.local_addr().expect("an address"), Arc::new(Mutex::new(Held::default())));
        let serving = held.clone();
        runtime.spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let held = serving.clone();
                connections.spawn(async move {
                    let service = service_fn(move |request| answer(held.clone(), request));
                    let _ = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Bucket { address, held, _runtime: runtime }
    }
}

impl Objects for Bucket {
    fn environment(&self) -> Vec<(&'static str, String)> {
        environment(self.address.port(), ACCESS, "secret")
    }

    fn be_away(&mut self, away: bool) {
        self.held.lock().expect("not poisoned").away = away;
    }

    fn names(&self) -> Vec<String> {
        self.held.lock().expect("not poisoned").objects.keys().cloned().collect()
    }
}

/// What a process needs to get at a server at a port of this machine.
pub(crate) fn environment(port: u16, access: &str, secret: &str) -> Vec<(&'static str, String)> {
    vec![
        ("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{port}")),
        ("AWS_ACCESS_KEY_ID", access.to_owned()),
        ("AWS_SECRET_ACCESS_KEY", secret.to_owned()),
        ("AWS_REGION", "us-east-1".to_owned()),
    ]
}

fn said(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    response
}

async fn answer(held: Arc<Mutex<Held>>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let signed = parts.headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let known = signed.starts_with(&format!("AWS4-HMAC-SHA256 Credential={ACCESS}/"));
    let query: BTreeMap<String, String> =
        form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
    let path = parts.uri.path().trim_start_matches("/bucket").trim_start_matches('/');
    let escaped = format!("n={}", path.replace('+', "%2B"));
    let name = form_urlencoded::parse(escaped.as_bytes()).next();
    let name = name.map(|(_, name)| name.into_owned()).unwrap_or_default();
    let mut held = held.lock().expect("not poisoned");
    if held.away {
        return Ok(said(StatusCode::SERVICE_UNAVAILABLE, String::new()));
    }
    if !known {
        return Ok(said(StatusCode::FORBIDDEN, "<Error><Code>AccessDenied</Code></Error>".to_owned()));
    }
    Ok(held.answer(&parts.method, &name, &query, body))
}

impl Held {
    fn answer(
        &mut self,
        method: &Method,
        name: &str,
        query: &BTreeMap<String, String>,
        body: Bytes,
    ) -> Response<Full<Bytes>> {
        let upload = query.get("uploadId").cloned();
        match (method, upload) {
            (&Method::PUT, Some(upload)) => {
                let number = query.get("partNumber").and_then(|number| number.parse().ok()).unwrap_or(0);
                self.uploads.entry(upload).or_default().insert(number, body);
                tagged()
            }
            (&Method::PUT, None) => {
                self.objects.insert(name.to_owned(), body);
                tagged()
            }
            (&Method::POST, Some(upload)) => {
                let parts = self.uploads.remove(&upload).unwrap_or_default();
                let whole: Vec<u8> = parts.into_values().flatten().collect();
                self.objects.insert(name.to_owned(), whole.into());
                said(
                    StatusCode::OK,
                    "<CompleteMultipartUploadResult><ETag>&quot;e&quot;</ETag></CompleteMultipartUploadResult>"
                        .to_owned(),
                )
            }
            (&Method::POST, None) if query.contains_key("uploads") => {
                let id = format!("upload-{}", self.uploads.len());
                self.uploads.insert(id.clone(), BTreeMap::new());
                let text = format!(
                    "<InitiateMultipartUploadResult><Bucket>bucket</Bucket><Key>{name}</Key><UploadId>{id}</UploadId></InitiateMultipartUploadResult>"
                );
                said(StatusCode::OK, text)
            }
            (&Method::POST, None) => {
                let text = String::from_utf8_lossy(&body).into_owned();
                let gone: Vec<&str> =
                    text.split("<Key>").skip(1).filter_map(|rest| rest.split("</Key>").next()).collect();
                gone.iter().for_each(|name| drop(self.objects.remove(*name)));
                let told: String = gone.iter().map(|name| format!("<Deleted><Key>{name}</Key></Deleted>")).collect();
                said(StatusCode::OK, format!("<DeleteResult>{told}</DeleteResult>"))
            }
            (&Method::DELETE, upload) => {
                upload.map_or_else(|| drop(self.objects.remove(name)), |upload| drop(self.uploads.remove(&upload)));
                said(StatusCode::NO_CONTENT, String::new())
            }
            (&Method::GET, _) if query.contains_key("list-type") => self.list(query),
            (&Method::GET | &Method::HEAD, _) => match self.objects.get(name) {
                Some(bytes) => {
                    let mut response = tagged();
                    *response.body_mut() = Full::from(bytes.clone());
                    response
                }
                None => said(StatusCode::NOT_FOUND, "<Error><Code>NoSuchKey</Code></Error>".to_owned()),
            },
            _ => said(StatusCode::METHOD_NOT_ALLOWED, String::new()),
        }
    }

    fn list(&self, query: &BTreeMap<String, String>) -> Response<Full<Bytes>> {
        let word = |name: &str| query.get(name).cloned().unwrap_or_default();
        let (prefix, after) = (word("prefix"), word("continuation-token").max(word("start-after")));
        let all: Vec<_> = self
            .objects
            .iter()
            .filter(|(name, _)| name.starts_with(&prefix) && **name > after)
            .take(PAGE + 1)
            .collect();
        let one = |(name, bytes): &(&String, &Bytes)| {
            format!(
                "<Contents><Key>{name}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>&quot;e&quot;</ETag><Size>{}</Size></Contents>",
                bytes.len()
            )
        };
        let (shown, more) = (all.iter().take(PAGE).map(one).collect::<String>(), all.len() > PAGE);
        let next = all.get(PAGE - 1).filter(|_| more);
        let next =
            next.map(|(name, _)| format!("<NextContinuationToken>{name}</NextContinuationToken>")).unwrap_or_default();
        let text = format!("<ListBucketResult><IsTruncated>{more}</IsTruncated>{next}{shown}</ListBucketResult>");
        said(StatusCode::OK, text)
    }
}

fn tagged() -> Response<Full<Bytes>> {
    let mut response = said(StatusCode::OK, String::new());
    response.headers_mut().insert("etag", HeaderValue::from_static("\"e\""));
    response.headers_mut().insert("last-modified", HeaderValue::from_static("Thu, 01 Jan 2026 00:00:00 GMT"));
    response
}

//! Carrying out orders: in process, by the same path that every request to the API takes, in the user's name.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::header::{ACCEPT, CONTENT_TYPE};
use http_body_util::{BodyExt, Full, Limited};
use serde_json::Value;

use crate::api::serve::Api;
use crate::dashboard::order::{Order, Refusal};
use crate::identity::User;

/// An answer at most. Units: bytes.
const ANSWER_BYTES_MAX: usize = 16 << 20;
/// An answer may take so long.
const PATIENCE: Duration = Duration::from_secs(10);

/// The answer's bytes.
pub(crate) async fn raw(api: &Api, user: &User, order: Order) -> Result<(u16, Bytes), Refusal> {
    let failed = |code: u16, message: String| Refusal { code, message, ..Refusal::default() };
    let body = if order.body.is_null() { Bytes::new() } else { Bytes::from(order.body.to_string()) };
    let request = Request::builder()
        .method(order.method)
        .uri(order.path)
        .header(CONTENT_TYPE, order.media_type)
        .header(ACCEPT, "application/json, */*")
        .body(Full::new(body))
        .map_err(|error| failed(400, error.to_string()))?;
    let answered = async {
        let response = api.handle(request, user).await;
        let code = response.status().as_u16();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        body.map(|body| (code, body.to_bytes())).map_err(|error| failed(500, error.to_string()))
    };
    let late = |_| failed(504, "the server did not answer in time; look whether it happened all the same".to_owned());
    let (code, body) = tokio::time::timeout(PATIENCE, answered).await.map_err(late)??;
    if code < 400 {
        return Ok((code, body));
    }
    let status: Value = serde_json::from_slice(&body).unwrap_or_default();
    Err(Refusal { code, ..Refusal::parse(&status) })
}

/// The answer as JSON, and its HTTP status.
pub(crate) async fn carry_out(api: &Api, user: &User, order: Order) -> Result<(u16, Value), Refusal> {
    let (code, body) = raw(api, user, order).await?;
    Ok((code, serde_json::from_slice(&body).unwrap_or_default()))
}

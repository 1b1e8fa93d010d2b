//! The few files that pages load: part of the binary, their addresses change with what is in them.

use std::sync::LazyLock;

use http::Response;
use http::header::{CACHE_CONTROL, HeaderValue};

use crate::api::answer::{self, Body};

const STYLE: &[u8] = include_bytes!("assets/dashboard.css");
const SCRIPT: &[u8] = include_bytes!("assets/dashboard.js");
const ICON: &[u8] = include_bytes!("assets/icon.svg");

/// Where the files are.
pub struct Assets {
    /// The style sheet.
    pub style: String,
    /// The script.
    pub script: String,
    /// The icon.
    pub icon: String,
}

/// Where the files are.
pub fn addresses() -> &'static Assets {
    static ADDRESSES: LazyLock<Assets> = LazyLock::new(|| {
        let address = |name: &str, bytes: &[u8]| {
            let version = &crate::cluster::token::sha256(bytes)[..12];
            format!("{}/assets/{name}?v={version}", super::place::PREFIX)
        };
        Assets {
            style: address("dashboard.css", STYLE),
            script: address("dashboard.js", SCRIPT),
            icon: address("icon.svg", ICON),
        }
    });
    &ADDRESSES
}

/// One of the files; they hold no secret and need no log-in.
pub(crate) fn answer(name: &str) -> Option<Response<Body>> {
    let (media_type, bytes) = match name {
        "dashboard.css" => ("text/css; charset=utf-8", STYLE),
        "dashboard.js" => ("text/javascript; charset=utf-8", SCRIPT),
        "icon.svg" => ("image/svg+xml", ICON),
        _ => return None,
    };
    let mut response = answer::whole(200, media_type, bytes);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable"));
    Some(response)
}

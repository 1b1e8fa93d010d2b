//! A headless Chromium, driven over WebDriver (W3C). The protocol is a dozen JSON requests to a process on loopback; the
//! client crates bring licences or TLS stacks that the project does not take.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::process::PATIENCE;

/// Tab, as WebDriver spells keys.
pub(crate) const TAB: &str = "\u{e004}";
/// Enter.
pub(crate) const ENTER: &str = "\u{e007}";
/// How a log or an answer names an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A browser with one window; it ends with this value.
pub(crate) struct Browser {
    driver: Child,
    client: Client<HttpConnector, Full<bytes::Bytes>>,
    root: String,
    /// What the browser keeps, for as long as it runs.
    profile: TempDir,
}

impl Browser {
    /// None, said loudly, where there is no Chromium.
    pub(crate) async fn open() -> Option<Browser> {
        let driver = Command::new("chromedriver").arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let Ok(mut driver) = driver else {
            // Past the capture of libtest, so that it is seen.
            let _ = writeln!(
                std::io::stderr(),
                "skipped: the dashboard in a browser: no chromedriver (Debian: chromium-driver)"
            );
            return None;
        };
        let mut lines = BufReader::new(driver.stdout.take().expect("its output")).lines();
        let started = lines.find_map(|line| {
            let line = line.expect("a line");
            Some(line.strip_prefix("ChromeDriver was started successfully on port ")?.trim_end_matches('.').to_owned())
        });
        let profile = tempfile::tempdir().expect("a directory");
        let mut browser = Browser {
            driver,
            client: Client::builder(TokioExecutor::new()).build_http(),
            root: format!("http://127.0.0.1:{}", started.expect("its port")),
            profile,
        };
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            &format!("--user-data-dir={}", browser.profile.path().display()),
        ];
        let wanted = json!({
            "acceptInsecureCerts": true,
            "timeouts": { "script": PATIENCE.as_millis() },
            "goog:loggingPrefs": { "browser": "ALL" },
            "goog:chromeOptions": { "args": arguments },
        });
        let session = browser.ask("POST", "/session", json!({ "capabilities": { "alwaysMatch": wanted } })).await;
        let session = session.expect("a session");
        browser.root = format!("{}/session/{}", browser.root, session["sessionId"].as_str().expect("an id"));
        Some(browser)
    }

    async fn ask(&self, method: &str, path: &str, body: Value) -> Result<Value, String> {
        let request = Request::builder().method(method).uri(format!("{}{path}", self.root));
        let body = if method == "GET" { Full::default() } else { Full::from(body.to_string()) };
        let request = request.header("content-type", "application/json").body(body).expect("a request");
        let response = self.client.request(request).await.map_err(|error| error.to_string())?;
        let good = response.status().is_success();
        let bytes = response.into_body().collect().await.map_err(|error| error.to_string())?.to_bytes();
        let answer: Value = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
        let value = &answer["value"];
        if good { Ok(value.clone()) } else { Err(format!("{}: {}", value["error"], value["message"])) }
    }

    /// Opens a page.
    pub(crate) async fn go(&self, address: &str) {
        self.ask("POST", "/url", json!({ "url": address })).await.expect("opened");
    }

    /// What a script returns.
    pub(crate) async fn script(&self, text: &str) -> Value {
        self.ask("POST", "/execute/sync", json!({ "script": text, "args": [] })).await.expect(text)
    }

    /// Waits until an expression holds on the page that is shown then.
    pub(crate) async fn until(&self, expression: &str) {
        let script = format!(
            "const done = arguments[0]; const holds = () => {{ if ({expression}) done(true); }};
             new MutationObserver(holds).observe(document, {{subtree: true, childList: true, characterData: true, attributes: true}});
             holds();"
        );
        let (began, mut last) = (Instant::now(), String::new());
        while began.elapsed() < PATIENCE {
            match self.ask("POST", "/execute/async", json!({ "script": script, "args": [] })).await {
                Ok(_) => return,
                // A page was left while the script waited on it.
                Err(error) => last = error,
            }
        }
        let shown = self.script("return location.href + '\\n' + document.body.innerText").await;
        panic!("never: {expression}: {last}\n{}", shown.as_str().unwrap_or_default());
    }

    async fn element(&self, selector: &str) -> String {
        let found = self.ask("POST", "/element", json!({ "using": "css selector", "value": selector })).await;
        found.expect(selector)[ELEMENT].as_str().expect("an element").to_owned()
    }

    /// Presses something.
    pub(crate) async fn click(&self, selector: &str) {
        let element = self.element(selector).await;
        self.ask("POST", &format!("/element/{element}/click"), json!({})).await.expect(selector);
    }

    /// Types into a field, over what is in it.
    pub(crate) async fn fill(&self, selector: &str, text: &str) {
        let element = self.element(selector).await;
        self.ask("POST", &format!("/element/{element}/clear"), json!({})).await.expect(selector);
        self.ask("POST", &format!("/element/{element}/value"), json!({ "text": text })).await.expect(selector);
    }

    /// Presses a key, wherever the focus is.
    pub(crate) async fn key(&self, key: &str) {
        let press = json!([{ "type": "keyDown", "value": key }, { "type": "keyUp", "value": key }]);
        let actions = json!({ "actions": [{ "type": "key", "id": "keyboard", "actions": press }] });
        self.ask("POST", "/actions", actions).await.expect("pressed");
    }

    /// Presses Tab until the focus is on what an expression over `element` describes.
    pub(crate) async fn tab_to(&self, what: &str) {
        const STOPS_MAX: usize = 60;
        for _ in 0..STOPS_MAX {
            self.key(TAB).await;
            let there = format!("const element = document.activeElement; return Boolean({what});");
            if self.script(&there).await == true {
                let outline = self.script("return getComputedStyle(document.activeElement).outlineStyle").await;
                assert_ne!(outline, "none", "the focus on {what} is not seen");
                return;
            }
        }
        panic!("no way to {what} by keyboard");
    }

    /// What the console holds that it should not: errors of scripts, violations of the policy. `expected`: statuses that
    /// the test itself asked for.
    pub(crate) async fn complaints(&self, expected: &[&str]) -> Vec<String> {
        let log = self.ask("POST", "/se/log", json!({ "type": "browser" })).await.expect("a log");
        let entries = log.as_array().cloned().unwrap_or_default();
        let bad = entries.iter().filter(|entry| {
            let text = entry["message"].as_str().unwrap_or_default();
            let known = entry["source"] == "network" && expected.iter().any(|status| text.contains(status));
            (entry["level"] == "SEVERE" || entry["level"] == "WARNING") && !known
        });
        bad.map(Value::to_string).collect()
    }

    /// Ends it in order.
    pub(crate) async fn close(self) {
        let _ = self.ask("DELETE", "", Value::Null).await;
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

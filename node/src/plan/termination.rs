//! The last words of a container: what it wrote to its `terminationMessagePath`, or the end of its log.
//!
//! Source: kubelet's `getTerminationMessage`, `MaxContainerTerminationMessageLength` and `…LogLines`.

use k8s_openapi::api::core::v1::{Container, PodStatus};

/// A message at most. Units: bytes.
pub const FILE_BYTES_MAX: usize = 4096;
/// A message from a log at most. Units: bytes.
const LOG_BYTES_MAX: usize = 2048;
/// Lines of a message from a log at most.
pub const LOG_LINES_MAX: i64 = 80;
/// Where containers write unless they say something else.
const PATH: &str = "/dev/termination-log";

/// Where a container writes its last words.
pub fn path(container: &Container) -> &str {
    container.termination_message_path.as_deref().filter(|path| !path.is_empty()).unwrap_or(PATH)
}

/// Whether the log speaks for a container that ended with this code and wrote nothing.
pub fn falls_back(container: &Container, code: i32) -> bool {
    code != 0 && container.termination_message_policy.as_deref() == Some("FallbackToLogsOnError")
}

/// What was written; none when nothing was.
pub fn from_file(text: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(&text[..text.len().min(FILE_BYTES_MAX)]).into_owned();
    (!text.is_empty()).then_some(text)
}

/// The end of a log of at most [`LOG_LINES_MAX`] lines.
pub fn from_log(text: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(&text[text.len().saturating_sub(LOG_BYTES_MAX)..]).into_owned();
    (!text.is_empty()).then_some(text)
}

/// What was told of an instance before; the file may be gone since.
pub fn told(status: &PodStatus, container_id: &str) -> Option<String> {
    let all = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
    let states = all.flat_map(|held| [held.state.as_ref(), held.last_state.as_ref()]);
    let mut ended = states.flatten().filter_map(|state| state.terminated.as_ref());
    ended.find(|held| held.container_id.as_deref() == Some(container_id))?.message.clone()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn messages_are_bounded_and_logs_speak_only_for_failures() {
        let container: Container = serde_json::from_value(json!({ "name": "c" })).expect("a container");
        assert_eq!((path(&container), falls_back(&container, 1)), (PATH, false));
        let told =
            json!({ "name": "c", "terminationMessagePath": "/m", "terminationMessagePolicy": "FallbackToLogsOnError" });
        let container: Container = serde_json::from_value(told).expect("a container");
        assert_eq!(path(&container), "/m");
        assert!(falls_back(&container, 1) && !falls_back(&container, 0));
        assert_eq!((from_file(b""), from_file(b"why").as_deref()), (None, Some("why")));
        assert_eq!(from_file(&[b'x'; 5000]).map(|text| text.len()), Some(FILE_BYTES_MAX));
        let log = [vec![b'a'; 100], vec![b'b'; LOG_BYTES_MAX]].concat();
        assert!(from_log(&log).is_some_and(|text| text.len() == LOG_BYTES_MAX && text.starts_with('b')));
    }

    #[test]
    fn what_was_told_before_is_told_again() {
        let status = json!({ "containerStatuses": [{ "name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 1,
            "lastState": { "terminated": { "containerID": "docker://1", "exitCode": 1, "message": "why" } } }] });
        let status: PodStatus = serde_json::from_value(status).expect("a status");
        assert_eq!(told(&status, "docker://1").as_deref(), Some("why"));
        assert_eq!(told(&status, "docker://2"), None);
    }
}

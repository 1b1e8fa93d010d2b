//! Answers as text, with what differs between two runs taken out: ids, terms, and where revisions begin.

use std::collections::BTreeMap;

use proto::etcdserverpb as pb;
use proto::etcdserverpb::response_op::Response;
use proto::mvccpb::{Event, KeyValue, event::EventType};
use tonic::Status;

use super::words::number;

/// What a case calls its things.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    /// The revision at its beginning.
    pub(crate) base: i64,
    pub(crate) leases: BTreeMap<String, i64>,
    /// Keys of locks and elections, and revisions of their creation.
    pub(crate) held: BTreeMap<String, (bytes::Bytes, i64, i64)>,
    pub(crate) member: u64,
    /// The auth store's revision at its beginning.
    pub(crate) auth_base: u64,
}

impl Names {
    pub(crate) fn lease(&self, word: &str) -> i64 {
        self.leases.get(word).copied().unwrap_or_else(|| number(word))
    }

    pub(crate) fn show_lease(&self, id: i64) -> String {
        let named = self.leases.iter().find(|(_, held)| **held == id);
        named.map_or_else(|| id.to_string(), |(name, _)| name.clone())
    }

    pub(crate) fn rev(&self, revision: i64) -> String {
        if revision <= 0 { revision.to_string() } else { format!("{:+}", revision - self.base) }
    }

    pub(crate) fn header(&self, header: Option<&pb::ResponseHeader>) -> String {
        let Some(header) = header else { return "h=none".to_owned() };
        if *header == pb::ResponseHeader::default() {
            return "h=blank".to_owned();
        }
        let whose = match (header.cluster_id != 0, header.member_id != 0, header.raft_term != 0) {
            (true, true, true) => "",
            (false, false, false) => " bare",
            _ => " odd",
        };
        format!("rev={}{whose}", self.rev(header.revision))
    }

    /// Bytes as text; the hexadecimal ids of leases in keys are replaced by their names.
    pub(crate) fn bytes(&self, bytes: &[u8]) -> String {
        if bytes.len() > 60 {
            return format!("<{} bytes>", bytes.len());
        }
        let mut text = bytes.escape_ascii().to_string();
        for (name, id) in &self.leases {
            let hex = format!("/{id:x}");
            if text.ends_with(&hex) {
                text = text.replace(&hex, &format!("/{{{name}}}"));
            }
        }
        text
    }

    pub(crate) fn kv(&self, kv: &KeyValue) -> String {
        format!(
            "{}={} c={} m={} v={} l={}",
            self.bytes(&kv.key),
            self.bytes(&kv.value),
            self.rev(kv.create_revision),
            self.rev(kv.mod_revision),
            kv.version,
            self.show_lease(kv.lease)
        )
    }

    pub(crate) fn kvs(&self, kvs: &[KeyValue]) -> String {
        kvs.iter().map(|kv| format!(" [{}]", self.kv(kv))).collect()
    }

    pub(crate) fn range(&self, answer: &pb::RangeResponse) -> String {
        let more = if answer.more { " more" } else { "" };
        format!("{} count={}{more}{}", self.header(answer.header.as_ref()), answer.count, self.kvs(&answer.kvs))
    }

    pub(crate) fn put(&self, answer: &pb::PutResponse) -> String {
        let prev = answer.prev_kv.as_ref().map_or_else(String::new, |kv| format!(" prev [{}]", self.kv(kv)));
        format!("{}{prev}", self.header(answer.header.as_ref()))
    }

    pub(crate) fn delete(&self, answer: &pb::DeleteRangeResponse) -> String {
        format!("{} deleted={}{}", self.header(answer.header.as_ref()), answer.deleted, self.kvs(&answer.prev_kvs))
    }

    pub(crate) fn txn(&self, answer: &pb::TxnResponse) -> String {
        let ops: Vec<String> = answer.responses.iter().map(|op| format!("\n    {}", self.op(op))).collect();
        let same = ops.len() > 10 && ops.iter().all(|op| *op == ops[0]);
        let ops = if same { format!("{} ({} times)", ops[0], ops.len()) } else { ops.concat() };
        format!("{} succeeded={}{ops}", self.header(answer.header.as_ref()), answer.succeeded)
    }

    fn op(&self, op: &pb::ResponseOp) -> String {
        match &op.response {
            Some(Response::ResponseRange(answer)) => format!("range {}", self.range(answer)),
            Some(Response::ResponsePut(answer)) => format!("put {}", self.put(answer)),
            Some(Response::ResponseDeleteRange(answer)) => format!("del {}", self.delete(answer)),
            Some(Response::ResponseTxn(answer)) => format!("txn {}", self.txn(answer).replace('\n', "\n  ")),
            None => "empty".to_owned(),
        }
    }

    pub(crate) fn event(&self, event: &Event) -> String {
        let kind = if event.r#type() == EventType::Put { "PUT" } else { "DELETE" };
        let kv = event.kv.as_ref().map_or_else(String::new, |kv| self.kv(kv));
        let prev = event.prev_kv.as_ref().map_or_else(String::new, |kv| format!(" prev [{}]", self.kv(kv)));
        format!("{kind} {kv}{prev}")
    }

    pub(crate) fn watch(&self, answer: &pb::WatchResponse) -> String {
        let mut text = format!("{} id={}", self.header(answer.header.as_ref()), answer.watch_id);
        for (flag, name) in [(answer.created, "created"), (answer.canceled, "canceled"), (answer.fragment, "fragment")]
        {
            if flag {
                text.push(' ');
                text.push_str(name);
            }
        }
        if answer.compact_revision != 0 {
            text.push_str(&format!(" compacted={}", self.rev(answer.compact_revision)));
        }
        if !answer.cancel_reason.is_empty() {
            text.push_str(&format!(" reason={:?}", answer.cancel_reason));
        }
        answer.events.iter().for_each(|event| text.push_str(&format!("\n    {}", self.event(event))));
        text
    }
}

pub(crate) fn error(status: &Status) -> String {
    format!("{:?}: {}", status.code(), status.message())
}

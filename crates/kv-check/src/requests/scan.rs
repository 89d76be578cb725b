//! What a page of a scan says of single keys.

use std::collections::BTreeSet;
use std::time::Duration;

use kv_core::{
    Answer, Batch, Command, Done, Key, Operation, Outcome, Page, RequestId, Scan, Value,
};

use super::{Request, RequestState};

/// One key of a page, as if it had been read alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ScanRead {
    pub(crate) begin: Duration,
    pub(crate) end: Duration,
    pub(crate) get: Batch,
    /// What the key held.
    pub(crate) seen: Option<Value>,
}

/// The reads that all pages among some requests stand for: of every key in a page, and of every
/// other key of these requests that the page would show if it were not missing.
pub(crate) fn reads<'a>(requests: impl Iterator<Item = &'a Request> + Clone) -> Vec<ScanRead> {
    let known: BTreeSet<&Key> = requests.clone().flat_map(|request| keys(&request.op)).collect();
    let mut reads = Vec::new();
    for (request, scan, page, end) in requests.filter_map(page_of) {
        let mut read = |key: &Key, seen: Option<Value>| {
            let get = Batch::new(Vec::new(), vec![Command::Get { key: key.clone() }]);
            let begin = request.invoked_at;
            reads.extend(get.ok().map(|get| ScanRead { begin, end, get, seen }));
        };
        let shown: BTreeSet<&Key> = page.entries.iter().map(|(key, _)| key).collect();
        for (key, found) in &page.entries {
            read(key, Some(found.value.clone()));
        }
        for key in known.iter().filter(|key| !shown.contains(*key) && covers(scan, page, key)) {
            read(key, None);
        }
    }
    reads
}

/// The first page among some requests that is no answer to its scan: a key twice, out of order, or
/// one that was not asked for, or more than were asked for.
#[must_use]
pub fn disorderly_page<'a>(
    mut requests: impl Iterator<Item = (RequestId, &'a Request)>,
) -> Option<RequestId> {
    let is_wrong = |request| {
        page_of(request).is_some_and(|(_, scan, page, _)| {
            let ascending = page.entries.is_sorted_by(|(a, _), (b, _)| a < b);
            let asked = page.entries.iter().all(|(key, _)| covers(scan, page, key));
            let limit = usize::try_from(scan.limit.max(1)).unwrap_or(usize::MAX);
            !(ascending && asked && page.entries.len() <= limit)
        })
    };
    requests.find(|(_, request)| is_wrong(*request)).map(|(id, _)| id)
}

/// Whether the page shows the key if it is not missing.
fn covers(scan: &Scan, page: &Page, key: &Key) -> bool {
    let bytes = key.as_bytes();
    bytes >= scan.from
        && scan.until.as_ref().is_none_or(|until| bytes < until)
        && scan.after.as_ref().is_none_or(|after| key > after)
        && page.next.as_ref().is_none_or(|next| key <= next)
}

fn page_of(request: &Request) -> Option<(&Request, &Scan, &Page, Duration)> {
    let Operation::Scan(scan) = &request.op else {
        return None;
    };
    match &request.state {
        RequestState::Replied {
            at,
            outcome: Outcome::Done(Done { answer: Answer::Page(page), .. }),
        } => Some((request, scan, page, *at)),
        RequestState::Replied { .. }
        | RequestState::Waiting
        | RequestState::Refused
        | RequestState::Lost { .. } => None,
    }
}

fn keys(op: &Operation) -> Vec<&Key> {
    match op {
        Operation::Batch(batch) => batch.commands().iter().map(Command::key).collect(),
        Operation::Scan(_)
        | Operation::Dump(_)
        | Operation::OpenSession
        | Operation::Lead { .. } => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use kv_core::{NodeId, RequestOptions, Served, Version, Versioned};

    use super::*;

    fn key(text: &'static str) -> Key {
        Key::new(text).unwrap()
    }

    fn request(op: Operation, answer: Answer) -> Request {
        let outcome = Outcome::Done(Done { answer, version: None, served: Served::Linearizable });
        Request {
            node: NodeId::FIRST,
            op,
            options: RequestOptions::default(),
            invoked_at: Duration::ZERO,
            cancelled: false,
            state: RequestState::Replied { at: Duration::from_secs(1), outcome },
        }
    }

    /// A page from `b` on of at most 2 keys, beside gets of `a` to `f`.
    fn requests(entries: &[&'static str], next: Option<&'static str>) -> Vec<Request> {
        let gets = ["a", "b", "c", "d", "e", "f"].map(|name| Operation::get(key(name)));
        let gets = gets.map(|get| request(get, Answer::Results(Vec::new())));
        let scan =
            Scan { from: Bytes::from("b"), until: Some(Bytes::from("f")), after: None, limit: 2 };
        let found = Versioned { value: Value::new("v").unwrap(), version: Version::Log(1) };
        let entries = entries.iter().map(|name| (key(name), found.clone())).collect();
        let page = Page { entries, next: next.map(key) };
        let scan = request(Operation::Scan(scan), Answer::Page(page));
        gets.into_iter().chain([scan]).collect()
    }

    fn read_keys(requests: &[Request]) -> Vec<(Key, bool)> {
        let reads = reads(requests.iter()).into_iter();
        let key_of = |read: &ScanRead| read.get.commands()[0].key().clone();
        reads.map(|read| (key_of(&read), read.seen.is_some())).collect()
    }

    #[test]
    fn a_page_says_of_the_keys_that_it_leaves_out_that_they_are_missing() {
        let whole = read_keys(&requests(&["c"], None));
        assert_eq!(
            whole,
            [(key("c"), true), (key("b"), false), (key("d"), false), (key("e"), false)]
        );
        let cut = read_keys(&requests(&["c", "d"], Some("d")));
        assert_eq!(cut, [(key("c"), true), (key("d"), true), (key("b"), false)]);
    }

    #[test]
    fn a_page_that_does_not_answer_its_scan_is_seen() {
        let fits = |entries: &[&'static str]| {
            let requests = requests(entries, None);
            disorderly_page((0..).map(RequestId).zip(&requests)).is_none()
        };
        assert!(fits(&[]) && fits(&["b", "c"]));
        for wrong in [&["c", "b"][..], &["b", "b"], &["a"], &["f"], &["b", "c", "d"]] {
            assert!(!fits(wrong), "{wrong:?}");
        }
    }
}

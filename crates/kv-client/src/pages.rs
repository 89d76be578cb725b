//! What is too much for one answer, page by page.

use kv_core::{Dump, Key, NodeId, Operation, RequestOptions, Scan, Versioned};

use crate::answer::page_after;
use crate::client::{Client, Stay};
use crate::error::ClientError;

/// Keys with what they hold, in ascending order, a page at a time; see [`Client::scan_pages`] and
/// [`Client::dump_pages`]. One page is in memory at a time.
#[derive(Debug)]
pub struct Pages {
    client: Client,
    kind: Kind,
    options: RequestOptions,
    position: Position,
    page_len: u32,
    server: Option<NodeId>,
    /// A dump is of one server.
    _stay: Option<Stay>,
}

#[derive(Debug)]
enum Kind {
    /// The keys that begin with these bytes, of whichever server answers.
    Scan(Vec<u8>),
    /// All keys of one server.
    Dump,
}

/// Which page is next.
#[derive(Debug)]
enum Position {
    Begin,
    After(Key),
    End,
}

impl Pages {
    pub(crate) fn of_scan(client: Client, prefix: &[u8], options: RequestOptions) -> Self {
        Self::new(client, Kind::Scan(prefix.to_vec()), options, None)
    }

    pub(crate) fn of_dump(client: Client, options: RequestOptions) -> Self {
        let stay = client.stay();
        Self::new(client, Kind::Dump, options, Some(stay))
    }

    const fn new(client: Client, kind: Kind, options: RequestOptions, stay: Option<Stay>) -> Self {
        Self {
            client,
            kind,
            options,
            position: Position::Begin,
            page_len: ENTRIES_MAX,
            server: None,
            _stay: stay,
        }
    }

    /// Reads at most `page_len` entries at a time; a server may send fewer.
    #[must_use]
    pub const fn with_page_len(mut self, page_len: u32) -> Self {
        self.page_len = page_len;
        self
    }

    /// Reads the next page, which may be empty; `None` after the last one. It may be called again
    /// after an error, or after its future was dropped, and reads the same page then.
    ///
    /// # Errors
    /// [`ClientError`]; among them, for a dump, [`ClientError::DumpInterrupted`] if another server
    /// answers than before. Such a dump must begin anew.
    pub async fn next(&mut self) -> Result<Option<Vec<(Key, Versioned)>>, ClientError> {
        let after = match &self.position {
            Position::Begin => None,
            Position::After(key) => Some(key.clone()),
            Position::End => return Ok(None),
        };
        let operation = match &self.kind {
            Kind::Scan(prefix) => Operation::Scan(scan_of(prefix, after.clone(), self.page_len)),
            Kind::Dump => Operation::Dump(Dump { after: after.clone(), limit: self.page_len }),
        };
        let answered = self.client.execute_somewhere(operation, self.options.clone());
        let (server, done) = answered.await?;
        let page = page_after(server, done, after.as_ref())?;
        match (&self.kind, self.server) {
            (Kind::Dump, Some(before)) if before != server => {
                return Err(ClientError::DumpInterrupted);
            }
            _ => self.server = Some(server),
        }
        self.position = page.next.map_or(Position::End, Position::After);
        Ok(Some(page.entries))
    }

    /// The server that the last page came from.
    #[must_use]
    pub const fn server(&self) -> Option<NodeId> {
        self.server
    }
}

/// A page of the keys that begin with `prefix`.
fn scan_of(prefix: &[u8], after: Option<Key>, limit: u32) -> Scan {
    let from = prefix.to_vec().into();
    let until = end_of_prefix(prefix).map(Into::into);
    Scan { from, until, after, limit }
}

/// The least bytes that are greater than all that begin with `prefix`; `None` if there are none.
fn end_of_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte < u8::MAX)?;
    let mut end = prefix.get(..=last)?.to_vec();
    *end.last_mut()? += 1;
    Some(end)
}

/// The server ends a page earlier if it likes.
const ENTRIES_MAX: u32 = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_has_an_end() {
        assert_eq!(end_of_prefix(b"ab"), Some(b"ac".to_vec()));
        assert_eq!(end_of_prefix(b"a\xff\xff"), Some(b"b".to_vec()));
        assert_eq!(end_of_prefix(b"\xff"), None);
        assert_eq!(end_of_prefix(b""), None);
    }
}

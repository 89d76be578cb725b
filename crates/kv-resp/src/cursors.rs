//! Cursors of `SCAN`: numbers for keys at which pages ended.

use std::collections::{BTreeMap, VecDeque};

use kv_core::Key;

/// The cursors that a server gave, for all its clients. A key always has the same one, so a scan may
/// go on over another connection to the same server.
#[derive(Debug, Default)]
pub(crate) struct Cursors {
    keys: BTreeMap<u64, Key>,
    order: VecDeque<u64>,
}

impl Cursors {
    /// The cursor of the page behind a key; the oldest one is forgotten for it if there are many.
    pub(crate) fn cursor_behind(&mut self, key: Key) -> u64 {
        // Some clients keep cursors in 63 bits, and 0 is the end.
        let mut cursor = (kv_core::digest(key.as_bytes()) >> 1).max(1);
        while self.keys.get(&cursor).is_some_and(|other| *other != key) {
            cursor = (cursor + 1).max(1);
        }
        if self.keys.insert(cursor, key).is_none() {
            self.order.push_back(cursor);
        }
        if self.order.len() > CURSORS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.keys.remove(&oldest);
        }
        cursor
    }

    /// The key of a cursor.
    pub(crate) fn key(&self, cursor: u64) -> Option<&Key> {
        self.keys.get(&cursor)
    }
}

/// How many scans can be under way at once.
const CURSORS_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_leads_back_to_its_key_until_there_are_many_later_ones() {
        let key = |number: usize| Key::new(number.to_string()).unwrap();
        let mut cursors = Cursors::default();
        let first = cursors.cursor_behind(key(0));
        assert_eq!(cursors.cursor_behind(key(0)), first);
        for number in 1..CURSORS_MAX {
            cursors.cursor_behind(key(number));
        }
        assert_eq!(cursors.key(first), Some(&key(0)));
        let last = cursors.cursor_behind(key(CURSORS_MAX));
        assert_eq!(cursors.key(first), None);
        assert_eq!(cursors.key(last), Some(&key(CURSORS_MAX)));
    }
}

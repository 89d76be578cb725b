//! Results that may be large, page by page.

use kv_core::{Dump, Key, Limits, Page, Scan, Versioned};

use crate::state_machine::expiry::Live;

/// How large a page may be; it has at least one entry if there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PageBounds {
    pub(crate) entries_max: usize,
    pub(crate) bytes_max: usize,
}

impl PageBounds {
    pub(crate) const fn of(limits: &Limits) -> Self {
        Self { entries_max: limits.page_entries_max, bytes_max: 1 << 20 }
    }
}

/// The page of a range of keys that comes after its cursor.
pub(crate) fn of_scan(live: Live<'_>, scan: &Scan, bounds: PageBounds) -> Page {
    let (start, is_in) = scan.start();
    let named = start.as_ref().filter(|_| is_in);
    let first = named.and_then(|start| Some((start, live.get(start)?)));
    let found = first.into_iter().chain(live.after(start.as_ref()));
    collect(found.take_while(|(key, _)| scan.is_before_end(key)), scan.limit, bounds)
}

/// The page of everything that comes after its cursor.
pub(crate) fn of_dump(live: Live<'_>, dump: &Dump, bounds: PageBounds) -> Page {
    collect(live.after(dump.after.as_ref()), dump.limit, bounds)
}

fn collect<'a>(
    found: impl Iterator<Item = (&'a Key, &'a Versioned)>,
    limit: u32,
    bounds: PageBounds,
) -> Page {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let entries_max = limit.min(bounds.entries_max).max(1);
    let mut entries: Vec<(Key, Versioned)> = Vec::new();
    let mut size_bytes = 0;
    for (key, versioned) in found {
        size_bytes += key.as_bytes().len() + versioned.value.as_bytes().len();
        let full = entries.len() >= entries_max || size_bytes > bounds.bytes_max;
        if full && !entries.is_empty() {
            let next = entries.last().map(|(key, _)| key.clone());
            return Page { entries, next };
        }
        entries.push((key.clone(), versioned.clone()));
    }
    Page { entries, next: None }
}

#[cfg(test)]
mod tests {
    use kv_core::{Store, Value, Version};

    use super::*;
    use crate::state_machine::expiry::{Expiry, Held};

    const BOUNDS: PageBounds = PageBounds { entries_max: 3, bytes_max: 100 };

    fn key(text: &str) -> Key {
        Key::new(text.to_owned()).unwrap()
    }

    fn store(names: &str) -> Store<Held> {
        let mut store = Store::new();
        for name in names.split(' ') {
            let versioned = Versioned { value: Value::new("v").unwrap(), version: Version::Log(1) };
            store.insert(key(name), Held { versioned, expiry: Expiry::NEVER });
        }
        store
    }

    const fn live(store: &Store<Held>) -> Live<'_> {
        Live { store, now_ms: 5 }
    }

    fn names(page: &Page) -> String {
        let names = page.entries.iter();
        let names = names.map(|(key, _)| std::str::from_utf8(key.as_bytes()).unwrap());
        names.collect::<Vec<_>>().join(" ")
    }

    fn scan(from: &'static str, until: Option<&'static str>, after: Option<&str>) -> Scan {
        Scan { from: from.into(), until: until.map(Into::into), after: after.map(key), limit: 100 }
    }

    #[test]
    fn a_scan_starts_at_its_start_and_ends_before_its_end() {
        let store = store("a b c d e");
        let cases = [
            (scan("", None, None), "a b c", true),
            (scan("b", Some("d"), None), "b c", false),
            (scan("bb", None, None), "c d e", false),
            (scan("a", None, Some("c")), "d e", false),
            (scan("c", None, Some("a")), "c d e", false),
            (scan("x", None, None), "", false),
        ];
        for (scan, expected, more) in cases {
            let page = of_scan(live(&store), &scan, BOUNDS);
            assert_eq!(names(&page), expected, "{scan:?}");
            assert_eq!(page.next.is_some(), more, "{scan:?}");
        }
    }

    #[test]
    fn pages_follow_each_other_without_gap() {
        let store = store("a b c d e f g");
        let mut dump = Dump { after: None, limit: 2 };
        let mut pages = Vec::new();
        loop {
            let page = of_dump(live(&store), &dump, BOUNDS);
            pages.push(names(&page));
            dump.after = page.next;
            if dump.after.is_none() {
                break;
            }
        }
        assert_eq!(pages, ["a b", "c d", "e f", "g"]);
    }

    #[test]
    fn a_key_whose_time_is_up_is_on_no_page() {
        let mut store = store("a b c");
        for (name, time) in [("a", 5), ("b", 4)] {
            let held = store.get(&key(name)).cloned().unwrap();
            let expiry = Expiry::after(0, Some(std::time::Duration::from_millis(time)));
            store.insert(key(name), Held { expiry, ..held });
        }
        assert_eq!(names(&of_scan(live(&store), &scan("a", None, None), BOUNDS)), "c");
        let dump = Dump { after: None, limit: 9 };
        assert_eq!(names(&of_dump(live(&store), &dump, BOUNDS)), "c");
    }

    #[test]
    fn a_page_ends_with_its_bytes_but_has_one_entry() {
        let bounds = PageBounds { entries_max: 9, bytes_max: 1 };
        let page = of_dump(live(&store("a b")), &Dump { after: None, limit: 9 }, bounds);
        assert_eq!(names(&page), "a");
        assert_eq!(page.next, Some(key("a")));
    }

    #[test]
    fn a_start_longer_than_any_key_is_behind_its_beginning() {
        let mut store = store("a b");
        let longest = "a".repeat(Key::LEN_MAX);
        let held = store.get(&key("a")).cloned().unwrap();
        store.insert(key(&longest), held);
        let mut scan = scan("", None, None);
        scan.from = vec![b'a'; Key::LEN_MAX + 1].into();
        assert_eq!(names(&of_scan(live(&store), &scan, BOUNDS)), "b");
    }
}

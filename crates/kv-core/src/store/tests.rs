use std::cell::Cell;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::rc::Rc;

use proptest::prelude::*;

use super::*;

fn key(name: u8) -> Key {
    Key::new(vec![name]).unwrap()
}

fn content(store: &Store<u8>) -> BTreeMap<Key, u8> {
    store.after(None).map(|(key, item)| (key.clone(), *item)).collect()
}

type Read = Vec<(Key, Option<u8>)>;

/// Reads up to `count` further keys.
fn read(store: &mut Store<u8>, view: ViewId, count: usize, into: &mut Read) -> Option<ViewRead> {
    let mut left = count;
    store.read_view(view, |key, item| {
        into.push((key.clone(), item.copied()));
        left -= 1;
        if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })
}

fn read_all(store: &mut Store<u8>, view: ViewId) -> Read {
    let mut all = Vec::new();
    assert_eq!(read(store, view, usize::MAX, &mut all), Some(ViewRead::End));
    all
}

/// Opens a view of what changed, once nothing is left of the one before.
fn open_changes(store: &mut Store<u8>, covers: PersistSeq) -> ViewId {
    loop {
        if let Some((view, _)) = store.open_changes(covers) {
            return view;
        }
        store.tidy(1);
    }
}

fn apply(disk: &mut BTreeMap<Key, u8>, changes: &Read) {
    for (key, item) in changes {
        match item {
            Some(item) => disk.insert(key.clone(), *item),
            None => disk.remove(key),
        };
    }
}

#[derive(Clone, Debug)]
enum Event {
    Put(u8, u8),
    PutIfAbsent(u8, u8),
    Remove(u8),
    Replace(BTreeMap<u8, u8>),
    Tidy,
    OpenWhole,
    OpenChanges,
    Read {
        view: usize,
        count: usize,
    },
    /// The checkpoint's view is read to its end, and this is what becomes of it.
    Checkpoint(Fate),
    Close {
        view: usize,
    },
    /// The process starts again on the disk as it is.
    Restart,
}

#[derive(Clone, Copy, Debug)]
enum Fate {
    Written,
    /// The engine never hears of it.
    WrittenUnheard,
    Failed,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let fate = prop_oneof![Just(Fate::Written), Just(Fate::WrittenUnheard), Just(Fate::Failed)];
    let state = proptest::collection::btree_map(0..KEYS, any::<u8>(), 0..6);
    let event = prop_oneof![
        8 => (0..KEYS, any::<u8>()).prop_map(|(key, item)| Event::Put(key, item)),
        4 => (0..KEYS, any::<u8>()).prop_map(|(key, item)| Event::PutIfAbsent(key, item)),
        5 => (0..KEYS).prop_map(Event::Remove),
        1 => state.prop_map(Event::Replace),
        2 => Just(Event::Tidy),
        2 => Just(Event::OpenWhole),
        3 => Just(Event::OpenChanges),
        6 => (0..4usize, 1..4usize).prop_map(|(view, count)| Event::Read { view, count }),
        4 => fate.prop_map(Event::Checkpoint),
        1 => (0..4usize).prop_map(|view| Event::Close { view }),
        1 => Just(Event::Restart),
    ];
    proptest::collection::vec(event, 0..80)
}

const KEYS: u8 = 8;

/// A view that is read bit by bit, with what it must show.
struct Open {
    view: ViewId,
    expected: BTreeMap<Key, u8>,
    read: Read,
    is_of_changes: bool,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    /// A view shows the state at the moment it was opened, whatever happens meanwhile, and what was
    /// written of the views of changes always sums up to it.
    #[test]
    fn views_are_consistent_and_changes_sum_up(events in events()) {
        let mut store = Store::new();
        let mut disk: Option<BTreeMap<Key, u8>> = None;
        let mut open: Vec<Open> = Vec::new();
        for (event, seq) in events.into_iter().zip(1..) {
            match event {
                Event::Put(name, item) => store.insert(key(name), item),
                Event::PutIfAbsent(name, item) => {
                    let is_absent = !content(&store).contains_key(&key(name));
                    let is_kept = store.insert_if(key(name), item, |_, held| held.is_none());
                    prop_assert_eq!(is_kept, is_absent);
                }
                Event::Remove(name) => store.remove(&key(name)),
                Event::Replace(state) => {
                    store.replace(state.iter().map(|(name, item)| (key(*name), *item)).collect());
                    for view in open.drain(..) {
                        prop_assert_eq!(read(&mut store, view.view, 1, &mut Vec::new()), None);
                    }
                }
                Event::Tidy => { store.tidy(1); }
                Event::OpenWhole => {
                    let (view, expected) = (store.open_whole(), content(&store));
                    open.push(Open { view, expected, read: Vec::new(), is_of_changes: false });
                }
                Event::OpenChanges => {
                    if let Some((view, _)) = store.open_changes(PersistSeq(seq)) {
                        open.retain(|open| !open.is_of_changes);
                        let expected = content(&store);
                        open.push(Open { view, expected, read: Vec::new(), is_of_changes: true });
                    }
                }
                Event::Read { view, count } => {
                    let Some(at) = (!open.is_empty()).then(|| view % open.len()) else { continue };
                    let end = read(&mut store, open[at].view, count, &mut open[at].read);
                    if end == Some(ViewRead::End) && !open[at].is_of_changes {
                        let Open { view, expected, read, .. } = open.swap_remove(at);
                        store.close_view(view);
                        let read = read.into_iter().map(|(key, item)| (key, item.unwrap()));
                        prop_assert_eq!(read.collect::<BTreeMap<_, _>>(), expected);
                    }
                }
                Event::Checkpoint(fate) => {
                    while store.tidy(1) {}
                    let covers = PersistSeq(seq);
                    open.retain(|open| !open.is_of_changes);
                    let view = open_changes(&mut store, covers);
                    let taken = read_all(&mut store, view);
                    store.close_view(view);
                    prop_assert!(taken.windows(2).all(|pair| pair[0].0 < pair[1].0));
                    if matches!(fate, Fate::Failed) {
                        continue;
                    }
                    let disk = disk.get_or_insert_default();
                    apply(disk, &taken);
                    prop_assert_eq!(&*disk, &content(&store));
                    if matches!(fate, Fate::Written) {
                        store.note_written(covers);
                    }
                }
                Event::Close { view } => {
                    if !open.is_empty() {
                        store.close_view(open.swap_remove(view % open.len()).view);
                    }
                }
                Event::Restart => {
                    open.clear();
                    store = disk.iter().flatten().map(|(key, item)| (key.clone(), *item)).collect();
                    if disk.is_some() {
                        store.note_recovered();
                    }
                }
            }
            let views = open.len();
            prop_assert!(store.kept_aside() <= views * usize::from(KEYS));
        }
    }

    /// A checkpoint that is read while keys change holds what they held when it was opened.
    #[test]
    fn a_checkpoint_read_amid_changes_is_of_one_moment(
        before in proptest::collection::vec((0..KEYS, any::<Option<u8>>()), 0..20),
        meanwhile in proptest::collection::vec((0..KEYS, any::<Option<u8>>()), 0..20),
        first in any::<bool>(),
    ) {
        let mut store: Store<u8> = Store::new();
        let mut disk = BTreeMap::new();
        if !first {
            store.note_recovered();
        }
        let change = |store: &mut Store<u8>, (name, item): (u8, Option<u8>)| match item {
            Some(item) => store.insert(key(name), item),
            None => store.remove(&key(name)),
        };
        before.into_iter().for_each(|write| change(&mut store, write));
        let (view, _) = store.open_changes(PersistSeq(1)).unwrap();
        let expected = content(&store);
        let (mut taken, mut meanwhile) = (Vec::new(), meanwhile.into_iter());
        while read(&mut store, view, 1, &mut taken) == Some(ViewRead::More) {
            if let Some(write) = meanwhile.next() {
                change(&mut store, write);
            }
        }
        store.close_view(view);
        store.note_written(PersistSeq(1));
        apply(&mut disk, &taken);
        prop_assert_eq!(&disk, &expected);
        meanwhile.for_each(|write| change(&mut store, write));
        let view = open_changes(&mut store, PersistSeq(2));
        apply(&mut disk, &read_all(&mut store, view));
        prop_assert_eq!(disk, content(&store));
    }
}

fn changes(store: &mut Store<u8>, covers: u64) -> Read {
    let view = open_changes(store, PersistSeq(covers));
    let taken = read_all(store, view);
    store.close_view(view);
    taken
}

#[test]
fn only_what_changed_since_the_one_on_disk_is_taken() {
    let mut store = Store::new();
    store.insert(key(1), 1);
    store.insert(key(2), 2);
    let all = [(key(1), Some(1)), (key(2), Some(2))];
    assert_eq!(changes(&mut store, 2), all);
    assert_eq!(changes(&mut store, 2), all, "it was not written");
    store.insert(key(3), 3);
    store.note_written(PersistSeq(1));
    assert_eq!(changes(&mut store, 3).len(), 3, "another one was written");
    store.note_written(PersistSeq(3));
    assert_eq!(changes(&mut store, 4), []);
    store.note_written(PersistSeq(4));
    store.insert(key(2), 5);
    store.remove(&key(9));
    assert_eq!(changes(&mut store, 5), [(key(2), Some(5)), (key(9), None)]);
}

/// The second one may have been dropped, as it covers no more.
#[test]
fn of_two_that_cover_as_much_the_first_alone_counts_as_written() {
    let mut store = Store::new();
    store.note_recovered();
    store.insert(key(1), 1);
    assert_eq!(changes(&mut store, 1), [(key(1), Some(1))]);
    store.insert(key(2), 2);
    assert_eq!(changes(&mut store, 1), [(key(1), Some(1)), (key(2), Some(2))]);
    store.note_written(PersistSeq(1));
    assert_eq!(changes(&mut store, 2), [(key(2), Some(2))]);
}

#[test]
fn a_replaced_state_is_taken_whole_with_what_is_gone() {
    let of = |pairs: &[(u8, u8)]| {
        pairs.iter().map(|(name, item)| (key(*name), *item)).collect::<Store<u8>>()
    };
    let mut store = of(&[(1, 1), (2, 2), (3, 3)]);
    store.note_recovered();
    store.replace(of(&[(2, 2), (3, 4), (5, 5)]));
    assert!(store.open_changes(PersistSeq(1)).is_none(), "the old state is not gone yet");
    while store.tidy(1) {}
    let taken = changes(&mut store, 1);
    let expected = [(1, None), (2, Some(2)), (3, Some(4)), (5, Some(5))];
    assert_eq!(taken, expected.map(|(name, item)| (key(name), item)));
}

#[test]
fn pages_go_on_after_a_key_even_if_it_is_gone() {
    let mut store = Store::new();
    (1..=3).for_each(|name| store.insert(key(name), name));
    store.remove(&key(2));
    let gone = key(2);
    let rest: Vec<_> = store.after(Some(&gone)).collect();
    assert_eq!(rest, [(&key(3), &3)]);
    assert_eq!(store.after(None).count(), 2);
}

/// An item that counts how often one like it was dropped.
#[derive(Clone)]
struct Counted(Rc<Cell<usize>>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

#[test]
fn what_was_kept_for_a_view_is_dropped_a_few_items_at_a_time() {
    let dropped = Rc::new(Cell::new(0));
    let mut store = Store::new();
    (0..=u8::MAX).for_each(|name| store.insert(key(name), Counted(Rc::clone(&dropped))));
    let view = store.open_whole();
    (0..=u8::MAX).for_each(|name| store.insert(key(name), Counted(Rc::clone(&dropped))));
    assert_eq!(store.kept_aside(), 256);
    dropped.set(0);
    store.close_view(view);
    assert_eq!(dropped.take(), TIDIED_AT_ONCE);
    assert!(store.tidy(7));
    assert_eq!(dropped.take(), 7);
    // One of them is what the key held.
    store.insert(key(1), Counted(Rc::clone(&dropped)));
    assert_eq!(dropped.take(), DROPPED_WITH_A_CHANGE + 1);
    while store.tidy(7) {}
    assert_eq!(dropped.take(), 256 - TIDIED_AT_ONCE - 7 - DROPPED_WITH_A_CHANGE);
}

#[test]
fn the_keys_of_a_checkpoint_that_failed_are_put_in_order_a_few_at_a_time() {
    let mut store = Store::new();
    store.note_recovered();
    (0..100).for_each(|name| store.insert(key(name), 1));
    changes(&mut store, 8);
    (50..150).for_each(|name| store.insert(key(name), 2));
    let view = open_changes(&mut store, PersistSeq(9));
    read(&mut store, view, 1, &mut Vec::new());
    store.close_view(view);
    let mut left = store.changes.untidy_count();
    assert_eq!(left, 299 - TIDIED_AT_ONCE, "two lists, one of them to be dropped after that");
    let mut done = |store: &Store<u8>| {
        let before = std::mem::replace(&mut left, store.changes.untidy_count());
        before - left
    };
    assert_eq!(store.open_changes(PersistSeq(9)), None);
    assert_eq!(done(&store), TIDIED_AT_ONCE);
    // Of a key that is in both lists, two are done with.
    while store.tidy(7) {
        assert!(done(&store) <= 14);
    }
    let taken = changes(&mut store, 9);
    let expected = (0..150).map(|name| (key(name), Some(if name < 50 { 1 } else { 2 })));
    assert_eq!(taken, expected.collect::<Vec<_>>());
    store.note_written(PersistSeq(9));
    assert_eq!(changes(&mut store, 10), []);
}

#[test]
fn the_keys_of_a_checkpoint_on_disk_are_dropped_a_few_at_a_time() {
    let mut store = Store::new();
    store.note_recovered();
    (0..200).for_each(|name| store.insert(key(name), 1));
    changes(&mut store, 1);
    store.note_written(PersistSeq(1));
    assert_eq!(store.changes.untidy_count(), 200 - TIDIED_AT_ONCE);
    store.tidy(7);
    assert_eq!(store.changes.untidy_count(), 193 - TIDIED_AT_ONCE);
}

/// The driver has no end of it to write.
#[test]
fn a_checkpoint_that_was_not_read_to_its_end_is_not_on_disk() {
    let mut store = Store::new();
    store.note_recovered();
    store.insert(key(1), 1);
    let (view, _) = store.open_changes(PersistSeq(1)).unwrap();
    store.close_view(view);
    store.note_written(PersistSeq(1));
    assert_eq!(changes(&mut store, 2), [(key(1), Some(1))]);
}

#[test]
fn nothing_is_kept_aside_for_a_view_of_changes_that_has_not_the_key() {
    let mut store = Store::new();
    (1..=3).for_each(|name| store.insert(key(name), name));
    store.note_recovered();
    store.insert(key(2), 5);
    let (view, _) = store.open_changes(PersistSeq(1)).unwrap();
    (1..=4).for_each(|name| store.insert(key(name), 6));
    assert_eq!(store.kept_aside(), 1);
    assert_eq!(read_all(&mut store, view), [(key(2), Some(5))]);
}

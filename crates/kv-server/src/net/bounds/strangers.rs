//! Connections that have not said hello.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use tokio::sync::Notify;

/// The connections that have not said hello, up to a bound. One more takes the place of the oldest:
/// whoever has something to say does so at once, so that neither servers nor clients wait behind
/// connections that say nothing.
pub(crate) struct Strangers {
    max: usize,
    last: Cell<u64>,
    waiting: RefCell<BTreeMap<u64, Rc<Notify>>>,
}

/// A place among the strangers, which is free again once this is dropped.
pub(crate) struct Stranger {
    number: u64,
    strangers: Rc<Strangers>,
    displaced: Rc<Notify>,
}

impl Strangers {
    pub(crate) fn new(max: usize) -> Rc<Self> {
        Rc::new(Self { max, last: Cell::new(0), waiting: RefCell::default() })
    }

    /// Gives a place to one more; true if it is another's.
    pub(crate) fn admit(self: &Rc<Self>) -> (Stranger, bool) {
        let mut waiting = self.waiting.borrow_mut();
        let is_full = waiting.len() >= self.max;
        if is_full && let Some((_, oldest)) = waiting.pop_first() {
            oldest.notify_one();
        }
        let number = self.last.get() + 1;
        self.last.set(number);
        let displaced = Rc::new(Notify::new());
        waiting.insert(number, Rc::clone(&displaced));
        (Stranger { number, strangers: Rc::clone(self), displaced }, is_full)
    }
}

impl Stranger {
    /// Completes when another has taken its place.
    pub(crate) async fn displaced(&self) {
        self.displaced.notified().await;
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.strangers.waiting.borrow_mut().remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn one_more_takes_the_place_of_the_oldest() {
        let strangers = Strangers::new(2);
        let is_displaced = |stranger: &Stranger| stranger.displaced().now_or_never().is_some();
        let (first, _) = strangers.admit();
        let (second, _) = strangers.admit();
        drop(first);
        let (third, displaces) = strangers.admit();
        assert!(!displaces, "a place was free");
        let (fourth, displaces) = strangers.admit();
        assert!(displaces);
        assert!(is_displaced(&second));
        assert!(![&third, &fourth].into_iter().any(is_displaced));
    }
}

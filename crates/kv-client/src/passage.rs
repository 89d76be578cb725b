//! Whether a request was sent, agreed on by who waits for it and who sends it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// Whether a request was sent. Clones are of the same request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Passage {
    state: Arc<AtomicU8>,
}

impl Passage {
    /// Lets the request be sent; false if it was recalled.
    pub(crate) fn begin(&self) -> bool {
        let sent = |state| (state != RECALLED).then_some(SENT);
        self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, sent).is_ok()
    }

    /// The server has not got all of the request, so it has had no effect and waits again.
    pub(crate) fn fail(&self) {
        let waits = |state| (state == SENT).then_some(WAITS);
        // One that was recalled stays so.
        let _ = self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, waits);
    }

    /// Keeps the request from being sent; false if it may have been.
    pub(crate) fn recall(&self) -> bool {
        let recalled = |state| (state != SENT).then_some(RECALLED);
        self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, recalled).is_ok()
    }
}

const WAITS: u8 = 0;
const SENT: u8 = 1;
const RECALLED: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_sent_or_recalled_and_never_both() {
        let passage = Passage::default();
        assert!(passage.begin());
        assert!(!passage.recall(), "it may have been sent");
        passage.fail();
        assert!(passage.recall(), "the server has not got it");
        assert!(!passage.clone().begin(), "it was recalled");
        passage.fail();
        assert!(!passage.begin(), "it stays so");
    }
}

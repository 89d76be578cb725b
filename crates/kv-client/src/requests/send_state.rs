//! Whether a request was sent, agreed on by who waits for it and who sends it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// Whether a request was sent, for [`Client::execute_revocable`](crate::Client::execute_revocable).
/// Clones are of the same request.
#[derive(Clone, Debug, Default)]
pub struct SendState {
    state: Arc<AtomicU8>,
}

impl SendState {
    /// Lets the request be sent; false if it was revoked.
    pub(crate) fn begin(&self) -> bool {
        let sent = |state| (state != REVOKED).then_some(SENT);
        self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, sent).is_ok()
    }

    /// The server has not got all of the request, so it has had no effect and waits again.
    pub(crate) fn fail(&self) {
        let waits = |state| (state == SENT).then_some(WAITS);
        // One that was revoked stays so.
        let _ = self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, waits);
    }

    /// Keeps the request from being sent; false if it may have been sent.
    #[must_use]
    pub fn revoke(&self) -> bool {
        let revoked = |state| (state != SENT).then_some(REVOKED);
        self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, revoked).is_ok()
    }
}

const WAITS: u8 = 0;
const SENT: u8 = 1;
const REVOKED: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_sent_or_revoked_and_never_both() {
        let state = SendState::default();
        assert!(state.begin());
        assert!(!state.revoke(), "it may have been sent");
        state.fail();
        assert!(state.revoke(), "the server has not got it");
        assert!(!state.clone().begin(), "it was revoked");
        state.fail();
        assert!(!state.begin(), "it stays so");
    }
}

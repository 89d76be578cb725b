//! What waits to be done.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A queue from which whoever is free takes all there is.
#[derive(Debug)]
pub(super) struct Inbox<T> {
    state: Mutex<State<T>>,
    arrived: Condvar,
}

#[derive(Debug)]
struct State<T> {
    waiting: VecDeque<T>,
    is_closed: bool,
}

impl<T> Inbox<T> {
    pub(super) const fn new() -> Self {
        let state = State { waiting: VecDeque::new(), is_closed: false };
        Self { state: Mutex::new(state), arrived: Condvar::new() }
    }

    /// Puts something in; it is dropped once the inbox is closed.
    pub(super) fn put(&self, item: T) {
        let mut state = self.lock();
        if !state.is_closed {
            state.waiting.push_back(item);
            // Whoever wakes finds the inbox free.
            drop(state);
            self.arrived.notify_one();
        }
    }

    /// Waits until there is something, at most so long.
    pub(super) fn wait(&self, at_most: Option<Duration>) {
        let is_idle = |state: &mut State<T>| state.waiting.is_empty() && !state.is_closed;
        let state = self.lock();
        match at_most {
            None => drop(self.arrived.wait_while(state, is_idle)),
            Some(time) => drop(self.arrived.wait_timeout_while(state, time, is_idle)),
        }
    }

    /// Takes all there is, in order.
    pub(super) fn take(&self) -> VecDeque<T> {
        std::mem::take(&mut self.lock().waiting)
    }

    /// Lets go of what waits, and of all who wait.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.is_closed = true;
        state.waiting.clear();
        self.arrived.notify_all();
    }

    // Nothing in here panics halfway.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

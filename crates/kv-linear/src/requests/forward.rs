//! The requests of this server's own clients, from their coming to their answer.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use kv_core::{IdMap, RequestId};

use crate::backoff::Backoff;
use crate::log::epoch::LogIndex;
use crate::requests::numbered::Numbered;
use crate::state_machine::numbers::NUMBERS_SPAN_MAX;

/// The pending requests of this server's clients, each under a number of this incarnation.
///
/// Numbers are dense and never used again; one that is not pending any more is never sent again.
#[derive(Clone, Debug)]
pub(crate) struct Forwarder {
    pending: Numbered<Pending>,
    numbers: IdMap<RequestId, u64>,
    alarms: BTreeSet<(Duration, u64)>,
    unsent: VecDeque<u64>,
    /// The bytes of the pending operations that are sent to the sequencer.
    in_flight_bytes: usize,
}

/// A request that has no answer yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pending {
    pub(crate) id: RequestId,
    pub(crate) operation: Bytes,
    /// Whether it may have reached the log.
    pub(crate) sent: bool,
    /// Its position in the log, where this server assigned it one.
    pub(crate) position: Option<LogIndex>,
    queued: bool,
    deadline: Duration,
    alarm: Duration,
    backoff: Option<Backoff>,
    /// How many copies may be in flight.
    copies: usize,
}

/// A client's request as it arrives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Submission {
    pub(crate) id: RequestId,
    pub(crate) operation: Bytes,
    pub(crate) deadline: Duration,
    /// `None` where the request is not sent anywhere, since this server is the sequencer.
    pub(crate) backoff: Option<Backoff>,
}

impl Forwarder {
    pub(crate) fn new() -> Self {
        Self {
            pending: Numbered::from(1),
            numbers: IdMap::default(),
            alarms: BTreeSet::new(),
            unsent: VecDeque::new(),
            in_flight_bytes: 0,
        }
    }

    /// How many requests are pending.
    pub(crate) const fn len(&self) -> usize {
        self.pending.len()
    }

    pub(crate) fn is_pending(&self, id: RequestId) -> bool {
        self.numbers.contains_key(&id)
    }

    /// Whether a further number would be too far ahead of the oldest pending one.
    pub(crate) fn is_stretched(&self) -> bool {
        self.pending.next() - self.settled_below() >= NUMBERS_SPAN_MAX
    }

    /// No number below this one is pending, so none is sent again.
    pub(crate) const fn settled_below(&self) -> u64 {
        self.pending.lowest()
    }

    /// Takes a request in and gives it its number.
    pub(crate) fn submit(&mut self, now: Duration, submission: Submission) -> u64 {
        let number = self.pending.next();
        let Submission { id, operation, deadline, backoff } = submission;
        self.numbers.insert(id, number);
        if backoff.is_some() {
            self.in_flight_bytes += operation.len();
            self.unsent.push_back(number);
        }
        let mut pending = Pending {
            id,
            operation,
            sent: false,
            position: None,
            queued: backoff.is_some(),
            deadline,
            alarm: deadline,
            backoff,
            copies: 1,
        };
        pending.set_alarm(now, self.in_flight_bytes);
        self.alarms.insert((pending.alarm, number));
        self.pending.push(pending)
    }

    pub(crate) fn pending(&self, number: u64) -> Option<&Pending> {
        self.pending.get(number)
    }

    /// This server assigns the request its position in the log.
    pub(crate) fn mark_placed(&mut self, number: u64, position: LogIndex) {
        if let Some(pending) = self.pending.get_mut(number) {
            pending.sent = true;
            pending.position = Some(position);
        }
    }

    /// Takes a request out of hand.
    pub(crate) fn settle(&mut self, number: u64) -> Option<Pending> {
        let pending = self.pending.remove(number)?;
        self.alarms.remove(&(pending.alarm, number));
        self.numbers.remove(&pending.id);
        if pending.backoff.is_some() {
            self.in_flight_bytes -= pending.operation.len();
        }
        Some(*pending)
    }

    /// Takes a request out of hand whose client is gone.
    pub(crate) fn cancel(&mut self, id: RequestId) {
        if let Some(number) = self.numbers.get(&id).copied() {
            self.settle(number);
        }
    }

    /// Takes out the requests that were never sent.
    pub(crate) fn settle_unsent(&mut self) -> Vec<Pending> {
        let unsent: Vec<u64> = self.unsent.drain(..).collect();
        let mut settled = Vec::new();
        for number in unsent {
            match self.pending.get_mut(number) {
                Some(pending) if pending.sent => pending.queued = false,
                Some(_) => settled.extend(self.settle(number)),
                None => {}
            }
        }
        settled
    }

    /// Takes out the requests that a predicate picks by their number.
    pub(crate) fn settle_if(&mut self, picks: impl Fn(u64) -> bool) -> Vec<Pending> {
        let picked: Vec<u64> = self.pending.numbers().filter(|&number| picks(number)).collect();
        picked.into_iter().filter_map(|number| self.settle(number)).collect()
    }

    /// Takes out one request whose time is up. Those that are to be sent again are queued for it.
    pub(crate) fn pop_expired(&mut self, now: Duration) -> Option<(u64, Pending)> {
        while let Some(&(alarm, number)) = self.alarms.first() {
            if alarm > now {
                return None;
            }
            if self.pending.get(number).is_none_or(|pending| pending.deadline <= now) {
                self.alarms.remove(&(alarm, number));
                if let Some(pending) = self.settle(number) {
                    return Some((number, pending));
                }
                continue;
            }
            self.send_again(now, number);
        }
        None
    }

    /// Keeps everything pending here, since this server assigns positions now; gives each request
    /// with its number and its operation.
    pub(crate) fn keep_all(&mut self) -> Vec<(u64, Bytes)> {
        self.unsent.clear();
        self.in_flight_bytes = 0;
        let mut kept = Vec::new();
        for (number, pending) in self.pending.iter_mut() {
            self.alarms.remove(&(pending.alarm, number));
            pending.backoff = None;
            pending.queued = false;
            pending.alarm = pending.deadline;
            self.alarms.insert((pending.alarm, number));
            kept.push((number, pending.operation.clone()));
        }
        kept
    }

    /// Has everything pending sent to another server from now on, with these waits.
    pub(crate) fn forward_all(&mut self, now: Duration, backoff: Backoff) {
        for (_, pending) in self.pending.iter_mut() {
            if pending.backoff.replace(backoff).is_none() {
                self.in_flight_bytes += pending.operation.len();
            }
            pending.position = None;
        }
        self.send_all_again(now);
    }

    /// Queues everything pending to be sent again, in order, since its receiver was away.
    /// Nothing sent before is in flight any more.
    pub(crate) fn send_all_again(&mut self, now: Duration) {
        self.unsent.clear();
        for (number, pending) in self.pending.iter_mut() {
            if pending.backoff.is_none() {
                continue;
            }
            pending.queued = true;
            self.unsent.push_back(number);
            self.alarms.remove(&(pending.alarm, number));
            pending.copies = 1;
            pending.set_alarm(now, self.in_flight_bytes);
            self.alarms.insert((pending.alarm, number));
        }
    }

    /// The next request to be sent, if its operation takes at most `room` bytes.
    pub(crate) fn pop_unsent(&mut self, room: usize) -> Option<(u64, Bytes)> {
        while let Some(&number) = self.unsent.front() {
            let Some(pending) = self.pending.get_mut(number) else {
                self.unsent.pop_front();
                continue;
            };
            if pending.operation.len() > room {
                return None;
            }
            self.unsent.pop_front();
            pending.queued = false;
            pending.sent = true;
            return Some((number, pending.operation.clone()));
        }
        None
    }

    pub(crate) fn has_unsent(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// When a request is to be sent again or its time is up.
    pub(crate) fn next_alarm(&self) -> Option<Duration> {
        self.alarms.first().map(|(alarm, _)| *alarm)
    }

    fn send_again(&mut self, now: Duration, number: u64) {
        let Some(pending) = self.pending.get_mut(number) else {
            return;
        };
        self.alarms.remove(&(pending.alarm, number));
        if let Some(backoff) = &mut pending.backoff {
            backoff.double();
            if !pending.queued {
                pending.queued = true;
                pending.copies = pending.copies.saturating_add(1);
                self.unsent.push_back(number);
            }
        }
        pending.set_alarm(now, self.in_flight_bytes);
        self.alarms.insert((pending.alarm, number));
    }
}

impl Pending {
    /// Sets when to send it again or give it up. The answer comes with the log entry, so that
    /// all of the operation's bytes go there and come back first, as do those of the others.
    fn set_alarm(&mut self, now: Duration, in_flight_bytes: usize) {
        let bytes = in_flight_bytes.saturating_mul(self.copies).saturating_mul(THERE_AND_BACK);
        let again = self.backoff.map(|backoff| now.saturating_add(backoff.wait_for(bytes)));
        self.alarm = again.map_or(self.deadline, |again| again.min(self.deadline));
    }
}

/// How often the bytes of a request cross the link before its answer is there.
const THERE_AND_BACK: usize = 2;

#[cfg(test)]
mod tests;

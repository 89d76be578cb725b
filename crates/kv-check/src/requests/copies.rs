//! Requests of sessions that were sent more than once.

use std::borrow::Cow;
use std::collections::BTreeMap;

use kv_core::{Outcome, RequestIdentity, SessionId};

use super::{Request, RequestState};

/// The requests with the copies of each put together: one request, from the first copy on, that ended
/// as the copies tell together. Each has what stands beside its first copy.
#[must_use]
pub fn merged<'a, T>(
    requests: impl IntoIterator<Item = (T, &'a Request)>,
) -> Vec<(T, Cow<'a, Request>)> {
    let mut all: Vec<(T, Cow<'a, Request>)> = Vec::new();
    let mut places: BTreeMap<(SessionId, u64), usize> = BTreeMap::new();
    for (tag, request) in requests {
        let first = name(request).and_then(|name| {
            let place = *places.entry(name).or_insert(all.len());
            all.get_mut(place)
        });
        match first {
            Some((_, first)) => {
                let first = first.to_mut();
                first.cancelled |= request.cancelled;
                if says_more(&request.state, &first.state) {
                    first.state = request.state.clone();
                }
            }
            None => all.push((tag, Cow::Borrowed(request))),
        }
    }
    all
}

/// Two copies of a request that were both carried out, or failed, and brought different things.
#[must_use]
pub fn answered_twice<'a, T: Copy>(
    requests: impl IntoIterator<Item = (T, &'a Request)>,
) -> Option<(T, T)> {
    let mut ends: BTreeMap<(SessionId, u64), (T, &Outcome)> = BTreeMap::new();
    for (tag, request) in requests {
        let outcome = request.outcome().filter(|outcome| is_carried_out(outcome));
        let (Some(name), Some(outcome)) = (name(request), outcome) else {
            continue;
        };
        let (first, known) = *ends.entry(name).or_insert((tag, outcome));
        if known != outcome {
            return Some((first, tag));
        }
    }
    None
}

fn name(request: &Request) -> Option<(SessionId, u64)> {
    let RequestIdentity { session, number, .. } = request.options.identity?;
    Some((session, number))
}

const fn is_carried_out(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Done(_) => true,
        Outcome::NotDone(reason) => reason.is_of_the_state(),
        Outcome::Unknown(_) => false,
    }
}

/// Whether the end of one copy says more of the request than that of another: that it was carried
/// out, before that it may have been. Of two that say as much the later one counts for what is not
/// known, so that the request was open until then.
fn says_more(copy: &RequestState, known: &RequestState) -> bool {
    let rank = |state: &RequestState| match state {
        RequestState::Replied { outcome, .. } if is_carried_out(outcome) => 2,
        RequestState::Replied { outcome: Outcome::NotDone(_), .. } | RequestState::Refused => 0,
        RequestState::Replied { .. } | RequestState::Waiting | RequestState::Lost { .. } => 1,
    };
    let (copy, known) = (rank(copy), rank(known));
    copy > known || (copy == known && copy < 2)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kv_core::{
        Answer, Command, CommandResult, Done, Key, NodeId, NotDone, Operation, RequestOptions,
        Served, Version,
    };

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn copy(number: u64, at: u32, state: RequestState) -> Request {
        let session = SessionId(3);
        let identity = Some(RequestIdentity { session, number, acknowledged_below: 1 });
        Request {
            node: NodeId::FIRST,
            op: Operation::of(Command::Increment { key: Key::new("n").unwrap(), by: 1 }),
            options: RequestOptions::default().with_identity(identity),
            invoked_at: SECOND * at,
            cancelled: false,
            state,
        }
    }

    fn replied(at: u32, outcome: Outcome) -> RequestState {
        RequestState::Replied { at: SECOND * at, outcome }
    }

    fn counted(number: i64) -> Outcome {
        let answer = Answer::Results(vec![CommandResult::Number(number)]);
        let version = Some(Version::Log(1));
        Outcome::Done(Done { answer, version, served: Served::Linearizable })
    }

    #[test]
    fn copies_are_one_request_from_the_first_one_to_the_answer() {
        let lost = RequestState::Lost { at: SECOND * 2 };
        let refused = replied(4, Outcome::NotDone(NotDone::Overloaded { limit: 1 }));
        let done = replied(6, counted(1));
        let requests = [
            copy(1, 1, lost.clone()),
            copy(1, 3, refused.clone()),
            copy(1, 5, done.clone()),
            copy(2, 7, refused.clone()),
        ];
        let merged = merged((0..).zip(&requests));
        let found: Vec<_> =
            merged.iter().map(|(tag, one)| (*tag, one.invoked_at, one.state.clone())).collect();
        assert_eq!(found, [(0, SECOND, done), (3, SECOND * 7, refused.clone())]);
        let unclear = [copy(1, 1, lost.clone()), copy(1, 3, refused)];
        assert_eq!(super::merged((0..).zip(&unclear))[0].1.state, lost);
    }

    #[test]
    fn copies_have_one_answer() {
        let of = |second| {
            let requests =
                [copy(1, 1, replied(2, counted(1))), copy(1, 3, replied(4, counted(second)))];
            answered_twice((0..).zip(&requests))
        };
        assert_eq!((of(1), of(2)), (None, Some((0, 1))));
    }
}

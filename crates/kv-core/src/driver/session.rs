//! Who waits for which answer.

use std::fmt;

use crate::cluster::id::RequestId;

/// Names a session of a driver. A name is never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId {
    place: u32,
    generation: u32,
}

impl SessionId {
    /// Its place among the sessions that are open at a time: a small number, used again once it has
    /// been closed.
    #[must_use]
    pub fn place(self) -> usize {
        index(self.place)
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.place, self.generation)
    }
}

/// The sessions and their requests in flight.
///
/// Both are kept in slabs: a name is a place and how often that place was used before, so that
/// finding one is an index and no name is used twice.
#[derive(Clone, Debug, Default)]
pub(super) struct Sessions {
    sessions: Slab<Session>,
    requests: Slab<InFlight>,
}

#[derive(Clone, Debug)]
struct Session {
    in_flight_max: usize,
    /// Places of its requests, in no order.
    in_flight: Vec<u32>,
}

#[derive(Clone, Copy, Debug)]
struct InFlight {
    session: SessionId,
    tag: u64,
    /// Where it stands in its session's list.
    at: usize,
}

impl Sessions {
    pub(super) fn open(&mut self, in_flight_max: usize) -> SessionId {
        let session = Session { in_flight_max, in_flight: Vec::new() };
        let (place, generation) = self.sessions.insert(session);
        SessionId { place, generation }
    }

    /// Forgets a session; gives the requests for whose answers nobody waits any more.
    pub(super) fn close(&mut self, session: SessionId) -> Vec<RequestId> {
        let Some(closed) = self.sessions.remove(session.place, session.generation) else {
            return Vec::new();
        };
        let requests = closed.in_flight.into_iter();
        requests.filter_map(|place| self.requests.remove_at(place)).collect()
    }

    pub(super) fn all(&self) -> Vec<SessionId> {
        let all = self.sessions.iter();
        all.map(|(place, generation, _)| SessionId { place, generation }).collect()
    }

    /// `None` for a session that there is not.
    pub(super) fn begin(&mut self, session: SessionId, tag: u64) -> Option<RequestId> {
        let open = self.sessions.get_mut(session.place, session.generation)?;
        let in_flight = InFlight { session, tag, at: open.in_flight.len() };
        let (place, generation) = self.requests.insert(in_flight);
        open.in_flight.push(place);
        Some(request_id(place, generation))
    }

    /// Ends a request; gives whose it is, if it is in flight.
    pub(super) fn end(&mut self, request: RequestId) -> Option<(SessionId, u64)> {
        let (place, generation) = place_of(request);
        let InFlight { session, tag, at } = self.requests.remove(place, generation)?;
        let open = self.sessions.get_mut(session.place, session.generation)?;
        open.in_flight.swap_remove(at);
        if let Some(moved) = open.in_flight.get(at) {
            self.requests.at_mut(*moved)?.at = at;
        }
        Some((session, tag))
    }

    /// The request in flight that a session calls so.
    pub(super) fn find(&self, session: SessionId, tag: u64) -> Option<RequestId> {
        let open = self.sessions.get(session.place, session.generation)?;
        let mut requests = open.in_flight.iter();
        let place =
            *requests.find(|place| self.requests.at(**place).is_some_and(|r| r.tag == tag))?;
        Some(request_id(place, self.requests.generation(place)?))
    }

    /// The request that has the place of this one, which may have ended.
    #[cfg(feature = "mutations")]
    pub(super) fn in_place_of(&self, request: RequestId) -> Option<RequestId> {
        let (place, _) = place_of(request);
        Some(request_id(place, self.requests.generation(place)?))
    }

    pub(super) fn has_room(&self, session: SessionId) -> bool {
        let open = self.sessions.get(session.place, session.generation);
        open.is_some_and(|open| open.in_flight.len() < open.in_flight_max)
    }

    pub(super) fn in_flight_max(&self, session: SessionId) -> usize {
        let open = self.sessions.get(session.place, session.generation);
        open.map_or(0, |open| open.in_flight_max)
    }

    pub(super) const fn in_flight(&self) -> usize {
        self.requests.len()
    }
}

fn request_id(place: u32, generation: u32) -> RequestId {
    RequestId((u64::from(generation) << 32) | u64::from(place))
}

fn place_of(request: RequestId) -> (u32, u32) {
    let half = |bits: u64| u32::try_from(bits & u64::from(u32::MAX)).unwrap_or(u32::MAX);
    (half(request.0), half(request.0 >> 32))
}

/// Values at places that are used again, each time under another generation.
#[derive(Clone, Debug)]
struct Slab<T> {
    places: Vec<Place<T>>,
    free: Vec<u32>,
    len: usize,
}

#[derive(Clone, Debug)]
struct Place<T> {
    generation: u32,
    value: Option<T>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { places: Vec::new(), free: Vec::new(), len: 0 }
    }
}

impl<T> Slab<T> {
    fn insert(&mut self, value: T) -> (u32, u32) {
        self.len += 1;
        if let Some(free) = self.free.pop()
            && let Some(place) = self.places.get_mut(index(free))
        {
            place.generation = place.generation.wrapping_add(1);
            place.value = Some(value);
            return (free, place.generation);
        }
        // There are never so many that they cannot be numbered: memory ends before.
        let number = u32::try_from(self.places.len()).unwrap_or(u32::MAX);
        self.places.push(Place { generation: 0, value: Some(value) });
        (number, 0)
    }

    fn get(&self, place: u32, generation: u32) -> Option<&T> {
        let found = self.places.get(index(place)).filter(|found| found.generation == generation)?;
        found.value.as_ref()
    }

    fn get_mut(&mut self, place: u32, generation: u32) -> Option<&mut T> {
        let found = self.places.get_mut(index(place));
        found.filter(|found| found.generation == generation)?.value.as_mut()
    }

    fn at(&self, place: u32) -> Option<&T> {
        self.places.get(index(place))?.value.as_ref()
    }

    fn at_mut(&mut self, place: u32) -> Option<&mut T> {
        self.places.get_mut(index(place))?.value.as_mut()
    }

    fn generation(&self, place: u32) -> Option<u32> {
        self.places.get(index(place)).map(|found| found.generation)
    }

    fn remove(&mut self, place: u32, generation: u32) -> Option<T> {
        let found = self.places.get_mut(index(place));
        let value = found.filter(|found| found.generation == generation)?.value.take()?;
        self.free.push(place);
        self.len -= 1;
        Some(value)
    }

    fn iter(&self) -> impl Iterator<Item = (u32, u32, &T)> {
        let places = (0u32..).zip(&self.places);
        places.filter_map(|(at, place)| Some((at, place.generation, place.value.as_ref()?)))
    }

    const fn len(&self) -> usize {
        self.len
    }
}

impl Slab<InFlight> {
    fn remove_at(&mut self, place: u32) -> Option<RequestId> {
        let generation = self.generation(place)?;
        self.remove(place, generation).map(|_| request_id(place, generation))
    }
}

fn index(place: u32) -> usize {
    usize::try_from(place).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_request_ends_once_and_under_its_sessions_own_tag() {
        let mut sessions = Sessions::default();
        let [one, other] = [8, 8].map(|max| sessions.open(max));
        let requests = [(one, 70), (other, 70), (one, 71), (one, 72)];
        let ids = requests.map(|(session, tag)| sessions.begin(session, tag).unwrap());
        for at in [2, 0, 3, 1] {
            assert_eq!(sessions.find(requests[at].0, requests[at].1), Some(ids[at]));
            assert_eq!(sessions.end(ids[at]), Some(requests[at]));
            assert_eq!(sessions.end(ids[at]), None);
            assert_eq!(sessions.find(requests[at].0, requests[at].1), None);
        }
        assert_eq!(sessions.in_flight(), 0);
    }

    #[test]
    fn a_session_has_room_for_so_many_requests() {
        let mut sessions = Sessions::default();
        let session = sessions.open(2);
        let first = sessions.begin(session, 1).unwrap();
        assert!(sessions.has_room(session));
        sessions.begin(session, 2).unwrap();
        assert!(!sessions.has_room(session));
        sessions.end(first);
        assert!(sessions.has_room(session));
    }

    #[test]
    fn a_place_that_is_used_again_has_another_name() {
        let mut sessions = Sessions::default();
        let gone = sessions.open(8);
        let request = sessions.begin(gone, 1).unwrap();
        assert_eq!(sessions.close(gone), [request]);
        assert_eq!(sessions.close(gone), []);
        let next = sessions.open(8);
        assert_ne!(gone, next);
        assert_ne!(sessions.begin(next, 1), Some(request));
        assert_eq!(sessions.end(request), None, "an answer to a session that is gone");
        assert_eq!(sessions.begin(gone, 2), None);
        assert_eq!(sessions.in_flight(), 1);
    }
}

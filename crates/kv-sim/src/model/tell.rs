//! A run in words.

use kv_check::CallText;
use kv_core::Operation;
use stateright::Model;

use super::cluster::ClusterModel;
use super::state::{Checked, Flying, State, Step};

impl<E: Checked> ClusterModel<E> {
    /// Steps in words, each as it is in its turn.
    pub(super) fn tell(&self, steps: &[Step]) -> Vec<String> {
        let Some(mut state) = self.init_states().pop() else {
            return Vec::new();
        };
        let told = steps.iter().map(|step| {
            let told = self.tell_one(&state, step);
            self.take(&mut state, step);
            told
        });
        told.collect()
    }

    fn tell_one(&self, state: &State<E>, step: &Step) -> String {
        let message = |hash: &u64| match state.flying.get(hash) {
            Some(Flying { from, to, message, .. }) => format!("{from} to {to}: {message:?}"),
            None => "unknown".to_owned(),
        };
        let number = |place: &usize| self.number(*place);
        match step {
            Step::Call(place) => match self.bounds.calls.get(*place) {
                Some((server, Operation::Batch(batch))) => {
                    format!("client {} asks server {server}:{}", place + 1, CallText(batch))
                }
                Some((server, op)) => format!("client {} asks server {server}: {op:?}", place + 1),
                None => "unknown".to_owned(),
            },
            Step::Arrive(hash) => format!("arrives from {}", message(hash)),
            Step::ArriveAndStay(hash) => {
                format!("arrives for the first time from {}", message(hash))
            }
            Step::Lose(hash) => format!("is lost from {}", message(hash)),
            Step::Persist(place) => format!("server {} has a record on disk", number(place)),
            Step::Timeout(place) => format!("the deadline of server {} comes", number(place)),
            Step::Crash(place) => format!("server {} crashes and starts", number(place)),
            Step::Stop(place) => format!("server {} crashes", number(place)),
            Step::Start(place) => format!("server {} starts", number(place)),
            Step::Cut(one, other) => {
                format!("the connection of {} and {} closes", number(one), number(other))
            }
            Step::Mend(one, other) => {
                format!("the connection of {} and {} opens", number(one), number(other))
            }
        }
    }
}

//! What the clients of a model saw, as the checker of linearizability takes it.

use kv_check::evidence::{Action, Call, End};
use kv_check::{Budget, Event, History, Refusal, Seen, Verdict, linearizability};
use kv_core::{Batch, Command};

/// What is wrong if no order explains what clients saw.
#[must_use]
pub fn linearizable(calls: &[Call]) -> Option<String> {
    match linearizability(&history(calls), Budget::default()) {
        Ok(Verdict::Linearizable) => None,
        Ok(verdict @ (Verdict::NotLinearizable(_) | Verdict::Undecided { .. })) => {
            Some(verdict.to_string().trim_end().to_owned())
        }
        Err(error) => Some(error.to_string()),
    }
}

fn history(calls: &[Call]) -> History {
    let mut events = Vec::new();
    for call in calls {
        let key = call.key.clone();
        let command = match &call.action {
            Action::Get => Command::Get { key },
            Action::Put(value) => Command::Put { key, value: value.clone(), time_to_live: None },
            Action::Delete => Command::Delete { key },
            Action::Change => panic!("the model's clients count nothing"),
        };
        let batch = Batch::new(Vec::new(), vec![command]).unwrap();
        events.push((call.begin, call.session, Event::Invoke(batch)));
        if let Some((at, end)) = &call.end {
            let event = match end {
                End::Read { shown, .. } => {
                    Event::Ok(vec![Seen::Value(shown.as_ref().map(|shown| shown.value.clone()))])
                }
                End::Written { .. } => Event::Ok(vec![Seen::Written]),
                End::NotDone => Event::Fail(Refusal::NeverTried),
                End::Unknown { .. } => Event::Info,
            };
            events.push((*at, call.session, event));
        }
    }
    events.sort_by_key(|(at, session, _)| (*at, *session));
    History { events: events.into_iter().map(|(_, session, event)| (session, event)).collect() }
}

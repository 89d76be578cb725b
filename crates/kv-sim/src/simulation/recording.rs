//! What a run's clients asked and which faults there were, noted as it happens.

use std::time::Duration;

use kv_core::ConsistencyEngine;

use super::Simulation;
use crate::client::ClientAct;
use crate::scenario::acts::Act;

/// What was noted so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recording {
    pub(crate) acts: Vec<Act>,
    /// Cancels while clients made no new calls any more: at which of their looks, and whose.
    pub(crate) late_cancels: Vec<(u64, u64)>,
}

impl<E: ConsistencyEngine> Simulation<E> {
    /// Notes from here on what happens. To be asked at the beginning.
    pub(crate) fn record(&mut self) {
        self.recording = Some(Recording::default());
        self.clients.record = Some(Vec::new());
        self.chaos.record = Some(Vec::new());
    }

    /// What was noted.
    pub(crate) fn recorded(&mut self) -> Recording {
        self.note_faults();
        self.recording.take().unwrap_or_default()
    }

    pub(super) fn note_clients(&mut self) {
        let (Some(recording), Some(record)) = (&mut self.recording, &mut self.clients.record)
        else {
            return;
        };
        for (client, act) in record.drain(..) {
            match act {
                ClientAct::Cancelled => recording.acts.push(Act::Cancel { client }),
                ClientAct::Asked(id) => {
                    if let Some(request) = self.cluster.request(id) {
                        let (op, options) = (request.op.clone(), request.options.clone());
                        let (server, names) = (request.node, Vec::new());
                        recording.acts.push(Act::Ask { client, server, op, options, names });
                    }
                }
            }
        }
    }

    pub(super) fn note_late_cancels(&mut self) {
        let (Some(recording), Some(record)) = (&mut self.recording, &mut self.clients.record)
        else {
            return;
        };
        for (client, act) in record.drain(..) {
            if act == ClientAct::Cancelled {
                recording.late_cancels.push((self.closing_looks, client));
            }
        }
    }

    pub(super) fn note_time(&mut self, time: Duration) {
        self.note_faults();
        if let Some(recording) = &mut self.recording {
            recording.acts.push(Act::Wait { time });
        }
    }

    pub(super) fn note_end_of_faults(&mut self) {
        self.note_faults();
        if let Some(recording) = &mut self.recording {
            recording.acts.push(Act::EndAll);
        }
    }

    fn note_faults(&mut self) {
        if let (Some(recording), Some(record)) = (&mut self.recording, &mut self.chaos.record) {
            recording.acts.append(record);
        }
    }
}

//! Random walks through a model, for what lies too deep to be seen whole.

use std::ops::RangeInclusive;

use kv_core::SeedStream;
use stateright::Model;

use super::cluster::ClusterModel;
use super::search::Wrong;
use super::state::{Checked, State, Step};

/// What many walks came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Walked {
    /// How many walks there were.
    pub walks: u64,
    /// How many steps they had together.
    pub steps: u64,
    /// Walks in which all calls were done.
    pub ended: u64,
    /// Walks in which another epoch was opened, where the engine has any.
    pub changed: u64,
    /// The latest round of an epoch.
    pub round_max: u64,
}

impl<E: Checked> ClusterModel<E> {
    /// Walks at random for each seed. Messages arrive, disks take records and clients call more often
    /// than anything goes wrong.
    ///
    /// # Errors
    /// [`Wrong`] with the first walk that came to something wrong.
    pub fn walk(&self, seeds: RangeInclusive<u64>, steps_max: usize) -> Result<Walked, Box<Wrong>> {
        let begin = self.init_states().remove(0);
        let founder = begin.servers[0].engine.status().positions;
        let founded = (founder.epoch_round, founder.epoch_owner, founder.epoch_incarnation);
        let mut walked = Walked::default();
        for seed in seeds {
            let mut stream = SeedStream::new(seed);
            let (mut state, mut taken) = (begin.clone(), Vec::new());
            while taken.len() < steps_max
                && let Some(step) = choose(self, &state, &mut stream)
            {
                self.take(&mut state, &step);
                taken.push(step);
                if let Some(wrong) = state.wrong.take() {
                    return Err(self.wrong(wrong, taken, Some(seed)));
                }
            }
            walked.walks += 1;
            walked.steps += u64::try_from(taken.len()).unwrap();
            walked.ended += u64::from(state.is_all_done());
            let statuses = state.servers.iter().map(|server| server.engine.status().positions);
            let epochs = statuses.map(|it| (it.epoch_round, it.epoch_owner, it.epoch_incarnation));
            let epoch = epochs.max().unwrap_or_default();
            walked.changed += u64::from(epoch > founded);
            walked.round_max = walked.round_max.max(epoch.0.unwrap_or_default());
        }
        Ok(walked)
    }
}

fn choose<E: Checked>(
    model: &ClusterModel<E>,
    state: &State<E>,
    stream: &mut SeedStream,
) -> Option<Step> {
    let mut steps = Vec::new();
    model.actions(state, &mut steps);
    let (usual, other): (Vec<_>, Vec<_>) = steps
        .into_iter()
        .partition(|step| matches!(step, Step::Call(_) | Step::Arrive(_) | Step::Persist(_)));
    let wants_other = !other.is_empty() && (usual.is_empty() || stream.chance(200));
    let steps = if wants_other { other } else { usual };
    let below = u64::try_from(steps.len()).unwrap();
    let place = usize::try_from(stream.below(below.max(1))).unwrap();
    steps.get(place).cloned()
}

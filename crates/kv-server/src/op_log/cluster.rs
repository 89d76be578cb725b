//! The line that says which cluster's operations follow.

use std::sync::{Arc, Mutex, PoisonError};

use kv_core::ClusterId;

/// The cluster as it was last noted, known to the driver and to the thread that writes.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClusterLine {
    noted: Arc<Mutex<Option<ClusterId>>>,
}

impl ClusterLine {
    /// Notes the cluster; returns the line if it is another one than before.
    pub(crate) fn note(&self, cluster: ClusterId) -> Option<Vec<u8>> {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        (noted.replace(cluster) != Some(cluster)).then(|| text(cluster))
    }

    /// The line of the cluster, if it is known.
    pub(crate) fn line(&self) -> Option<Vec<u8>> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner).map(text)
    }
}

fn text(cluster: ClusterId) -> Vec<u8> {
    format!("# cluster: {:016x}\n", cluster.0).into_bytes()
}

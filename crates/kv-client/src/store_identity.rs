//! The store that a client's session is with.

use kv_core::ClusterId;
use kv_proto::Welcome;

use crate::connection::error::DialError;

/// What tells a store from others that are served at the same addresses.
#[derive(Debug)]
pub(crate) struct StoreIdentity {
    engine: String,
    /// `None` until a server has told it.
    cluster_id: Option<ClusterId>,
}

impl StoreIdentity {
    /// Whether the cluster is known: only then do its sessions mean nothing in another one.
    pub(crate) const fn is_known(&self) -> bool {
        self.cluster_id.is_some()
    }

    /// The server has told which cluster it is in, after its welcome.
    pub(crate) fn learn(&mut self, cluster_id: Option<ClusterId>) {
        self.cluster_id = self.cluster_id.or(cluster_id);
    }

    /// Holds a server to the store that the session began with, which is its own if it is the first.
    ///
    /// # Errors
    /// [`DialError::OtherEngine`] or [`DialError::OtherCluster`].
    pub(crate) fn recognise(known: &mut Option<Self>, welcome: &Welcome) -> Result<(), DialError> {
        let store = known.get_or_insert_with(|| Self {
            engine: welcome.engine.clone(),
            cluster_id: welcome.cluster_id,
        });
        if store.engine != welcome.engine {
            let (ours, theirs) = (store.engine.clone(), welcome.engine.clone());
            return Err(DialError::OtherEngine { ours, theirs });
        }
        match (store.cluster_id, welcome.cluster_id) {
            (Some(ours), Some(theirs)) if ours != theirs => {
                Err(DialError::OtherCluster { ours, theirs })
            }
            (known, told) => {
                store.cluster_id = known.or(told);
                Ok(())
            }
        }
    }
}

//! A look at the server's keys while a line is typed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kv_client::{Client, ClientError};
use kv_core::{Feature, Key, Level, NotDone, Quorum, RequestOptions};
use tokio::runtime::Handle;

/// Asks the server for keys, on the thread of the editor, for a moment at most.
#[derive(Debug)]
pub(crate) struct KeyLookup {
    client: Option<(Client, Handle)>,
    /// The engine has no scan, so that there is nothing to ask for.
    in_vain: AtomicBool,
}

impl KeyLookup {
    pub(crate) const fn at(client: Client, runtime: Handle) -> Self {
        Self { client: Some((client, runtime)), in_vain: AtomicBool::new(false) }
    }

    #[cfg(test)]
    pub(crate) const fn nowhere() -> Self {
        Self { client: None, in_vain: AtomicBool::new(false) }
    }

    /// The first keys that begin with `prefix`; none if that takes long.
    pub(crate) fn keys(&self, prefix: &[u8]) -> Vec<Key> {
        let Some((client, runtime)) = &self.client else {
            return Vec::new();
        };
        if client.server().is_none() || self.in_vain.load(Ordering::Relaxed) {
            return Vec::new();
        }
        // The server that is asked answers by itself: by that level, or in the engine that has none
        // with R = 1.
        let local = [Some(Level::Sequential), None];
        for level in local {
            match runtime.block_on(first_keys(client, prefix, level)) {
                Ok(keys) => return keys,
                Err(ClientError::NotDone(NotDone::NotSupported(Feature::Level))) => {}
                Err(error) => {
                    let in_vain =
                        matches!(error, ClientError::NotDone(NotDone::NotSupported(Feature::Scan)));
                    self.in_vain.store(in_vain, Ordering::Relaxed);
                    return Vec::new();
                }
            }
        }
        Vec::new()
    }
}

async fn first_keys(
    client: &Client,
    prefix: &[u8],
    level: Option<Level>,
) -> Result<Vec<Key>, ClientError> {
    let one = level.is_none().then_some(Quorum::Count(1));
    let options = RequestOptions::default().with_timeout(PATIENCE).with_level(level);
    let options = options.with_read_quorum(one);
    let mut pages = client.scan_pages(prefix, options).with_page_len(KEYS_MAX);
    let Ok(page) = tokio::time::timeout(PATIENCE, pages.next()).await else {
        return Ok(Vec::new());
    };
    Ok(page?.unwrap_or_default().into_iter().map(|(key, _)| key).collect())
}

/// How long a person waits for a completion.
const PATIENCE: Duration = Duration::from_millis(300);

/// A page of keys comes with its values, so it is a small one.
const KEYS_MAX: u32 = 50;

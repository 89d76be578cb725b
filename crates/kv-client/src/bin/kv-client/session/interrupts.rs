//! Ctrl-C at a terminal.

use std::sync::Arc;

#[cfg(unix)]
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

/// Ctrl-C, which is remembered until somebody waits for it.
#[derive(Debug)]
pub(crate) struct Interrupts {
    pressed: Option<Arc<Notify>>,
}

impl Interrupts {
    /// Leaves Ctrl-C to the system, which ends the program.
    pub(crate) const fn ignored() -> Self {
        Self { pressed: None }
    }

    /// Takes Ctrl-C from now on.
    pub(crate) fn taken() -> Self {
        let pressed = Arc::new(Notify::new());
        let press = Arc::clone(&pressed);
        // The handler must stand before an editor begins, which sets back what it found.
        #[cfg(unix)]
        let signals = signal(SignalKind::interrupt());
        #[cfg(unix)]
        tokio::spawn(async move {
            if let Ok(mut signals) = signals {
                while signals.recv().await.is_some() {
                    press.notify_one();
                }
            }
        });
        #[cfg(not(unix))]
        tokio::spawn(async move {
            while tokio::signal::ctrl_c().await.is_ok() {
                press.notify_one();
            }
        });
        Self { pressed: Some(pressed) }
    }

    /// Forgets what was pressed when nobody waited.
    pub(crate) fn forget(&self) {
        if let Some(pressed) = &self.pressed {
            let earlier = pressed.notified();
            tokio::pin!(earlier);
            earlier.as_mut().enable();
        }
    }

    /// Waits for Ctrl-C, for ever where it is not taken.
    pub(crate) async fn next(&self) {
        match &self.pressed {
            Some(pressed) => pressed.notified().await,
            None => std::future::pending().await,
        }
    }
}

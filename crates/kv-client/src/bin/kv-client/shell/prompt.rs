//! What stands before a line that is typed.

use std::sync::{Arc, Mutex, PoisonError};

use kv_core::NodeId;
use kv_proto::Welcome;

/// The prompt as it should be shown at this moment, shared with the thread that shows it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Prompt {
    text: Arc<Mutex<String>>,
}

impl Prompt {
    pub(crate) fn set(&self, text: &str) {
        text.clone_into(&mut self.text.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The text in exactly as many columns as `shown` has, since the cursor has been placed for
    /// those: padded before its mark, or `shown` itself where there is no room.
    pub(crate) fn in_place_of(&self, shown: &str) -> String {
        let text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        let width = shown.chars().count();
        let Some(body) = text.strip_suffix(MARK) else {
            return shown.to_owned();
        };
        let room = width.saturating_sub(MARK.chars().count());
        if body.chars().count() > room {
            return shown.to_owned();
        }
        format!("{body:room$}{MARK}")
    }
}

/// The prompt that names the server alone.
pub(crate) fn short_text(server: Option<NodeId>) -> String {
    match server {
        Some(server) => format!("kv {server}{MARK}"),
        None => format!("kv{MARK}"),
    }
}

/// The prompt with the engine, W and R of the server, if it has said them.
pub(crate) fn full_text(server: Option<NodeId>, welcome: Option<&Welcome>) -> String {
    let Some(server) = server else {
        return format!("kv (no server){MARK}");
    };
    match welcome.filter(|welcome| welcome.node == server) {
        Some(welcome) => format!(
            "kv {server} {} W={} R={}{MARK}",
            crate::commands::words::as_word(welcome.engine.as_bytes()),
            welcome.config.write_quorum(),
            welcome.config.read_quorum()
        ),
        None => short_text(Some(server)),
    }
}

/// The same prompt while a transaction is open.
pub(crate) fn in_transaction(prompt: &str, state: &str) -> String {
    format!("{} ({state}){MARK}", prompt.strip_suffix(MARK).unwrap_or(prompt))
}

const MARK: &str = "> ";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_prompt_takes_as_much_room() {
        let prompt = Prompt::default();
        assert_eq!(prompt.in_place_of("kv 2 x> "), "kv 2 x> ", "none is known");
        prompt.set("kv 3 x> ");
        assert_eq!(prompt.in_place_of("kv 2 x> "), "kv 3 x> ");
        assert_eq!(prompt.in_place_of("kv (no server)> "), "kv 3 x        > ");
        prompt.set("kv 10 x> ");
        assert_eq!(prompt.in_place_of("kv 9 x> "), "kv 9 x> ", "there is no room");
    }
}

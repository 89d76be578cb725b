//! Errors of tools in words.

/// What an error says, and below it what caused it, unless its own words say that already.
pub(crate) fn error_text(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.contains(&cause) {
            continue;
        }
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&cause);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use anyhow::Context;

    use super::*;
    use crate::tools::backup::BackupReader;

    #[test]
    fn nothing_is_said_twice() {
        let read = BackupReader::open(Path::new("/nowhere/b")).context("nothing was restored");
        assert_eq!(
            error_text(&read.unwrap_err()),
            "nothing was restored: cannot read /nowhere/b: No such file or directory (os error 2); \
             check the path"
        );
    }
}

//! A cluster's name as an option takes it.

/// Takes a text for a cluster's name.
///
/// # Errors
/// [`NoName`] for an empty text.
pub fn parse_cluster_name(text: &str) -> Result<String, NoName> {
    if text.is_empty() { Err(NoName) } else { Ok(text.to_owned()) }
}

/// A cluster's name cannot be empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a cluster's name cannot be empty: write one, or leave the option out")]
pub struct NoName;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_but_an_empty_one_is_taken() {
        assert_eq!(parse_cluster_name("blue"), Ok("blue".to_owned()));
        assert_eq!(parse_cluster_name(" "), Ok(" ".to_owned()));
        assert_eq!(parse_cluster_name(""), Err(NoName));
    }
}

//! Quorums in the words that people type.

use std::fmt;
use std::str::FromStr;

use bytes::{Bytes, BytesMut};

use crate::wire::{DecodeError, Wire};

/// How many servers must answer: a number, `majority` or `all`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Quorum {
    /// That many servers, 1 or more.
    Count(u16),
    /// More than half of the servers.
    Majority,
    /// Every server.
    All,
}

impl Quorum {
    /// How many of `nodes` servers these are.
    ///
    /// # Errors
    /// [`QuorumError`] for none, or for more than there are.
    pub fn resolve(self, nodes: u16) -> Result<u16, QuorumError> {
        match self {
            Self::Count(0) => Err(QuorumError::Zero),
            Self::Count(asked) if asked > nodes => Err(QuorumError::TooMany { asked, nodes }),
            Self::Count(asked) => Ok(asked),
            Self::Majority => Ok(nodes / 2 + 1),
            Self::All => Ok(nodes),
        }
    }
}

/// Why a quorum cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum QuorumError {
    /// No server at all is no quorum.
    #[error("a quorum of 0 servers promises nothing: use 1 or more, `majority` or `all`")]
    Zero,
    /// The cluster has fewer servers.
    #[error("a quorum of {asked} servers cannot be had: the cluster has {nodes}")]
    TooMany {
        /// What was asked for.
        asked: u16,
        /// How many servers the cluster has.
        nodes: u16,
    },
    /// The text is none of the words.
    #[error("a quorum is a whole number, `majority` or `all`")]
    Word,
}

impl FromStr for Quorum {
    type Err = QuorumError;

    fn from_str(text: &str) -> Result<Self, QuorumError> {
        match text {
            "majority" => Ok(Self::Majority),
            "all" => Ok(Self::All),
            number => match number.parse() {
                Ok(0) => Err(QuorumError::Zero),
                Ok(count) => Ok(Self::Count(count)),
                Err(_) => Err(QuorumError::Word),
            },
        }
    }
}

impl fmt::Display for Quorum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => count.fmt(f),
            Self::Majority => f.write_str("majority"),
            Self::All => f.write_str("all"),
        }
    }
}

impl Wire for Quorum {
    fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Count(count) => (0u8, *count).encode(out),
            Self::Majority => 1u8.encode(out),
            Self::All => 2u8.encode(out),
        }
    }

    fn decode(input: &mut Bytes) -> Result<Self, DecodeError> {
        match u8::decode(input)? {
            0 => u16::decode(input).map(Self::Count),
            1 => Ok(Self::Majority),
            2 => Ok(Self::All),
            tag => Err(DecodeError::UnknownTag { what: "quorum", tag }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_resolve_against_the_number_of_servers() {
        let cases: [(&str, u16, Result<u16, QuorumError>); 8] = [
            ("1", 1, Ok(1)),
            ("3", 3, Ok(3)),
            ("4", 3, Err(QuorumError::TooMany { asked: 4, nodes: 3 })),
            ("majority", 3, Ok(2)),
            ("majority", 4, Ok(3)),
            ("majority", 1, Ok(1)),
            ("all", 5, Ok(5)),
            ("0", 5, Err(QuorumError::Zero)),
        ];
        for (word, nodes, expected) in cases {
            let resolved = word.parse::<Quorum>().and_then(|quorum| quorum.resolve(nodes));
            assert_eq!(resolved, expected, "{word} of {nodes}");
        }
    }

    #[test]
    fn what_is_printed_parses_again_and_other_words_do_not() {
        for quorum in [Quorum::Count(4), Quorum::Majority, Quorum::All] {
            assert_eq!(quorum.to_string().parse(), Ok(quorum));
            assert_eq!(Quorum::from_bytes(quorum.to_bytes()), Ok(quorum));
        }
        for text in ["", "-1", "most", "70000", "1.5"] {
            assert_eq!(text.parse::<Quorum>(), Err(QuorumError::Word));
        }
    }
}

//! Values that a shell proposes for an option that takes others as well.

use std::ffi::OsStr;

use clap::builder::{PossibleValue, TypedValueParser};
use clap::{Arg, Command};

/// A parser with words that a shell proposes; what it takes and refuses stays the same.
#[derive(Clone, Debug)]
pub struct Proposing<P> {
    parser: P,
    words: &'static [&'static str],
}

/// Has a shell propose these words for what `parser` takes.
pub const fn proposing<P: TypedValueParser>(
    parser: P,
    words: &'static [&'static str],
) -> Proposing<P> {
    Proposing { parser, words }
}

impl<P: TypedValueParser> TypedValueParser for Proposing<P> {
    type Value = P::Value;

    fn parse_ref(
        &self,
        command: &Command,
        argument: Option<&Arg>,
        value: &OsStr,
    ) -> Result<Self::Value, clap::Error> {
        self.parser.parse_ref(command, argument, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(self.words.iter().copied().map(PossibleValue::new)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_values_than_the_proposed_ones_are_taken() {
        let parser = proposing(str::parse::<u8>, &["1", "2"]);
        let argument = Arg::new("n").long("n").value_parser(parser);
        let proposed: Vec<String> =
            argument.get_possible_values().iter().map(|word| word.get_name().to_owned()).collect();
        assert_eq!(proposed, ["1", "2"]);
        let command = Command::new("c").arg(argument);
        let read = |word: &str| {
            let matches = command.clone().try_get_matches_from(["c", "--n", word]);
            matches.map(|matches| matches.get_one::<u8>("n").copied())
        };
        assert_eq!(read("7").unwrap(), Some(7));
        let error = read("x").unwrap_err();
        assert!(error.to_string().contains("invalid digit"), "{error}");
    }
}

//! A rule that a test has code break, to see that its checkers notice.

#[cfg(not(feature = "mutations"))]
use std::marker::PhantomData;

/// The one of some rules that is broken, if one is; `M` names the rules.
///
/// Code that keeps a rule asks [`Broken::is`] where it does. Only with the feature `mutations` is
/// there a way to break one: without it this takes no room, and every answer is a constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken<M>(
    #[cfg(feature = "mutations")] Option<M>,
    #[cfg(not(feature = "mutations"))] PhantomData<M>,
);

impl<M> Broken<M> {
    /// Breaks none.
    pub const NONE: Self = Self(
        #[cfg(feature = "mutations")]
        None,
        #[cfg(not(feature = "mutations"))]
        PhantomData,
    );

    /// Breaks a rule, or none.
    #[cfg(feature = "mutations")]
    #[must_use]
    pub fn by(rule: impl Into<Option<M>>) -> Self {
        Self(rule.into())
    }
}

impl<M: Copy + PartialEq> Broken<M> {
    /// Whether it is this one.
    #[must_use]
    #[inline]
    pub fn is(self, rule: M) -> bool {
        self.rule() == Some(rule)
    }

    /// Whether no rule is broken.
    #[must_use]
    #[inline]
    pub fn is_none(self) -> bool {
        self.rule().is_none()
    }

    #[cfg(feature = "mutations")]
    const fn rule(self) -> Option<M> {
        self.0
    }

    #[cfg(not(feature = "mutations"))]
    #[expect(clippy::unused_self, reason = "the same call with and without the feature")]
    const fn rule(self) -> Option<M> {
        None
    }
}

impl<M> Default for Broken<M> {
    fn default() -> Self {
        Self::NONE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Rule {
        One,
        #[cfg(feature = "mutations")]
        Other,
    }

    #[test]
    fn none_is_broken_unless_a_test_asks_for_it() {
        assert!(Broken::<Rule>::default().is_none());
        assert!(!Broken::NONE.is(Rule::One));
        #[cfg(feature = "mutations")]
        assert_eq!(Broken::by(None), Broken::<Rule>::NONE);
    }

    #[cfg(feature = "mutations")]
    #[test]
    fn one_that_is_broken_is_no_other() {
        let broken = Broken::by(Rule::One);
        assert!(broken.is(Rule::One) && !broken.is(Rule::Other) && !broken.is_none());
    }

    #[cfg(not(feature = "mutations"))]
    #[test]
    fn without_the_feature_it_takes_no_room() {
        assert_eq!(size_of::<Broken<Rule>>(), 0);
    }
}

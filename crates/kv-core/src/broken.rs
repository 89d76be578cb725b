//! A rule that a test has code break, to see that its checkers notice.

#[cfg(not(feature = "mutations"))]
use std::marker::PhantomData;

/// The one of some rules that is broken, if one is; `M` names the rules.
///
/// Code that keeps a rule asks [`Broken::is`] where it does. Only with the feature `mutations` is
/// there a way to break one: without it this takes no room, and every answer is a constant.
///
/// An engine takes [`Broken::present`] when it is recovered, and a test breaks a rule of every engine
/// that is recovered while something runs:
///
/// ```
/// # #[cfg(feature = "mutations")] {
/// use kv_core::Broken;
///
/// #[derive(Clone, Copy, Debug, PartialEq)]
/// enum Rule {
///     AckBeforePersisted,
/// }
///
/// let broken = Broken::during(Rule::AckBeforePersisted, Broken::<Rule>::present);
/// assert!(broken.is(Rule::AckBeforePersisted));
/// assert!(Broken::<Rule>::present().is_none());
/// # }
/// ```
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

impl<M: Copy + 'static> Broken<M> {
    /// What `Broken::during` breaks on this thread; without the feature `mutations` none.
    #[must_use]
    #[inline]
    pub fn present() -> Self {
        #[cfg(feature = "mutations")]
        return present::of();
        #[cfg(not(feature = "mutations"))]
        Self::NONE
    }

    /// Runs something with a rule broken in all that asks for the [present](Self::present) one
    /// meanwhile on this thread.
    #[cfg(feature = "mutations")]
    pub fn during<T>(rule: impl Into<Option<M>>, run: impl FnOnce() -> T) -> T {
        let _former = present::replace(Self::by(rule));
        run()
    }
}

/// What is broken at present, of each kind of rule.
#[cfg(feature = "mutations")]
mod present {
    use std::any::{Any, TypeId};
    use std::cell::RefCell;
    use std::collections::BTreeMap;

    use super::Broken;

    thread_local! {
        static PRESENT: RefCell<BTreeMap<TypeId, Box<dyn Any>>> =
            const { RefCell::new(BTreeMap::new()) };
    }

    pub(super) fn of<M: Copy + 'static>() -> Broken<M> {
        PRESENT.with_borrow(|present| {
            let broken = present.get(&TypeId::of::<M>());
            broken.and_then(|broken| broken.downcast_ref().copied()).unwrap_or_default()
        })
    }

    fn set<M: Copy + 'static>(broken: Broken<M>) {
        PRESENT.with_borrow_mut(|present| present.insert(TypeId::of::<M>(), Box::new(broken)));
    }

    pub(super) fn replace<M: Copy + 'static>(broken: Broken<M>) -> Former<M> {
        let former = Former(of());
        set(broken);
        former
    }

    /// What is to be broken again when this is dropped.
    pub(super) struct Former<M: Copy + 'static>(Broken<M>);

    impl<M: Copy + 'static> Drop for Former<M> {
        fn drop(&mut self) {
            set(self.0);
        }
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

    #[cfg(feature = "mutations")]
    #[test]
    fn a_rule_is_broken_while_something_runs_even_if_that_panics() {
        let present = Broken::<Rule>::present;
        Broken::during(Rule::One, || {
            assert!(present().is(Rule::One));
            assert!(Broken::during(Rule::Other, present).is(Rule::Other));
            let panics = || Broken::during(Rule::Other, || panic!("as an engine may"));
            assert!(std::panic::catch_unwind(panics).is_err());
            assert!(present().is(Rule::One));
        });
        assert!(present().is_none());
    }

    #[cfg(not(feature = "mutations"))]
    #[test]
    fn without_the_feature_it_takes_no_room() {
        assert_eq!(size_of::<Broken<Rule>>(), 0);
    }
}

//! redb checks what it reads by assertions in places. A damaged file must end neither the agent nor a thread of it.

use std::{
    cell::Cell,
    panic::{self, AssertUnwindSafe, catch_unwind},
    sync::Once,
};

use super::StoreError;

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Does this with the database; a panic in it is damage, and says nothing of its own.
pub(super) fn guarded<T>(what: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !GUARDED.get() {
                before(info);
            }
        }));
    });
    let outer = GUARDED.replace(true);
    let done = catch_unwind(AssertUnwindSafe(what));
    GUARDED.set(outer);
    done.unwrap_or_else(|_| Err(StoreError::Corrupt("its pages contradict each other".into())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_a_panic_then_it_is_an_error_and_the_next_one_works() {
        let broken = guarded(|| -> Result<(), _> { panic!("of a page") });
        assert!(matches!(broken, Err(StoreError::Corrupt(_))));
        assert_eq!(guarded(|| Ok(7)).unwrap(), 7);
    }
}

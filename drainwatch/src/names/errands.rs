//! Questions that are asked beside the stream of events that gave rise to them: a few at a time, so that
//! neither the one who is asked is flooded nor the stream has to wait.

use std::{collections::VecDeque, time::Duration};

use tokio::task::JoinSet;

/// How long to wait before the next attempt: longer each time, until something lasted.
#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { next: Self::LEAST }
    }
}

impl Backoff {
    const LEAST: Duration = Duration::from_millis(500);
    const MOST: Duration = Duration::from_mins(1);

    /// After an attempt that lasted so long.
    pub(super) fn after(&mut self, lasted: Duration) -> Duration {
        if lasted > Self::MOST {
            self.next = Self::LEAST;
        }
        let now = self.next;
        self.next = (now * 2).min(Self::MOST);
        now
    }
}

/// At work at the same time.
const AT_ONCE: usize = 8;
/// Most that wait; beyond, the oldest is dropped.
const MOST: usize = 8192;

/// Questions about things that have a name, and their answers in the order in which they come.
#[derive(Debug)]
pub(super) struct Errands<T> {
    waiting: VecDeque<String>,
    running: JoinSet<T>,
}

impl<T: Send + 'static> Errands<T> {
    /// Nothing to ask.
    pub(super) fn new() -> Self {
        Self {
            waiting: VecDeque::new(),
            running: JoinSet::new(),
        }
    }

    /// Another one; one about the same thing that still waits will do.
    pub(super) fn push(&mut self, about: String) {
        if self.waiting.contains(&about) {
            return;
        }
        if self.waiting.len() >= MOST {
            self.waiting.pop_front();
        }
        self.waiting.push_back(about);
    }

    /// The next answer; never, while nothing is asked. Can be dropped and called again.
    pub(super) async fn next<F>(&mut self, ask: impl Fn(String) -> F) -> T
    where
        F: Future<Output = T> + Send + 'static,
    {
        loop {
            while self.running.len() < AT_ONCE
                && let Some(about) = self.waiting.pop_front()
            {
                self.running.spawn(ask(about));
            }
            match self.running.join_next().await {
                Some(Ok(answer)) => return answer,
                // It panicked, which its task has reported: there is no answer.
                Some(Err(_)) => {}
                None => std::future::pending().await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use super::*;

    #[test]
    fn given_failures_then_the_pauses_grow_to_a_minute_and_begin_anew_after_what_lasted() {
        let mut backoff = Backoff::default();
        let pauses: Vec<u128> = (0..9)
            .map(|_| backoff.after(Duration::ZERO).as_millis())
            .collect();
        assert_eq!(
            pauses,
            [500, 1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000]
        );
        assert_eq!(backoff.after(Duration::from_hours(1)), Backoff::LEAST);
    }

    #[tokio::test]
    async fn given_many_questions_then_each_is_asked_once_and_few_at_a_time() {
        let mut errands = Errands::new();
        for number in 0..40 {
            errands.push(number.to_string());
            errands.push(number.to_string());
        }
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let mut answers = vec![];
        for _ in 0..40 {
            let (now, most) = (Arc::clone(&now), Arc::clone(&most));
            let answer = errands
                .next(move |about| {
                    let (now, most) = (Arc::clone(&now), Arc::clone(&most));
                    async move {
                        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        tokio::task::yield_now().await;
                        now.fetch_sub(1, Ordering::SeqCst);
                        about
                    }
                })
                .await;
            answers.push(answer);
        }
        answers.sort_unstable_by_key(|answer| answer.parse::<u32>().ok());
        assert_eq!(
            answers,
            (0..40).map(|number| number.to_string()).collect::<Vec<_>>()
        );
        assert_eq!(most.load(Ordering::SeqCst), AT_ONCE);
    }

    #[tokio::test]
    async fn given_a_question_that_panics_then_the_others_are_answered() {
        let mut errands = Errands::new();
        errands.push("bad".into());
        errands.push("good".into());
        let answer = errands
            .next(|about| async move {
                assert_eq!(about, "good");
                about
            })
            .await;
        assert_eq!(answer, "good");
    }

    #[test]
    fn given_too_many_questions_then_the_oldest_are_dropped() {
        let mut errands = Errands::<()>::new();
        for number in 0..=MOST {
            errands.push(number.to_string());
        }
        assert_eq!(errands.waiting.len(), MOST);
        assert_eq!(errands.waiting.front().map(String::as_str), Some("1"));
    }
}

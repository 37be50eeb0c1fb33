//! The agent killed and stopped at random moments, while servers are stopped whose clients keep account: whatever became of
//! the agent, each shutdown has one report, and it says what the clients saw.
//!
//! `RESTARTS` and `SEED` of the environment say how often, and which moments; `cargo xtask torture` asks for more than the
//! test command does.

mod place;
mod storm;
mod upgrade;

use std::{env, time::Duration};

use nix::sys::signal::Signal;
use testkit::{Agent, runs_here};

use place::{BINARY, Place};
use storm::{Dice, Shop, Tally};

/// Requests in flight of a server that waits for ever to answer, as far as a test goes.
const FOR_EVER: u64 = 3_600_000;

#[test]
fn given_an_agent_that_is_killed_and_stopped_at_random_moments_then_nothing_is_lost_and_nothing_invented() {
    if !runs_here(BINARY) {
        return;
    }
    let restarts = number("RESTARTS").unwrap_or(20);
    let mut dice = Dice::new(number("SEED"));
    let place = Place::new("2s");
    let mut agent = place.start();
    let mut tally = Tally::default();
    for round in 0..restarts {
        let how = if round % 2 == 0 {
            Signal::SIGKILL
        } else {
            Signal::SIGTERM
        };
        let shops = storm::open(&mut dice);
        agent = storm::weather(&mut dice, &place, agent, how, &shops);
        tally.add(shops);
    }
    tally.compare(&agent);
    println!("{restarts} restarts, seed {}: {tally}", dice.seed());
}

#[test]
fn given_an_old_connection_with_a_request_in_flight_when_the_agent_is_replaced_then_it_is_judged_exactly() {
    if !runs_here(BINARY) {
        return;
    }
    let place = Place::new("1s");
    for how in [Signal::SIGKILL, Signal::SIGTERM] {
        let agent = place.start();
        let shop = Shop::open(testkit::demo::Manners::Bad, 3, FOR_EVER);
        place::end(agent, how);
        let agent = place.start();
        shop.stop(Signal::SIGTERM);
        let mut tally = Tally::default();
        tally.add(vec![shop]);
        tally.compare(&agent);
        place::end(agent, Signal::SIGTERM);
    }
}

#[test]
fn given_a_shutdown_that_was_over_before_the_next_agent_came_then_its_report_is_whole_and_counters_go_on() {
    if !runs_here(BINARY) {
        return;
    }
    let place = Place::new("1s");
    let mut tally = Tally::default();
    let agent = place.start();
    let first = Shop::open(testkit::demo::Manners::Bad, 2, FOR_EVER);
    first.stop(Signal::SIGTERM);
    agent.ended_report(first.name()).unwrap();
    let second = Shop::open(testkit::demo::Manners::Bad, 3, FOR_EVER);
    place::end(agent, Signal::SIGKILL);
    second.stop(Signal::SIGTERM);
    tally.add(vec![first, second]);
    let agent = place.start();
    tally.compare(&agent);
    let exposed = agent.get("/metrics").unwrap();
    assert_eq!(tally.counted(&exposed), 5, "counters go on: {exposed}");
}

#[test]
fn given_an_agent_that_is_ended_by_hand_or_uninstalled_then_nothing_stays_in_the_kernel() {
    if !runs_here(BINARY) {
        return;
    }
    let place = Place::new("1s");
    let agent = place.start();
    assert!(!place.pinned().is_empty());
    let refused = place.uninstall();
    assert_eq!(refused.status.code(), Some(69), "{refused:?}");
    place::end(agent, Signal::SIGINT);
    assert!(place.pinned().is_empty(), "{:?}", place.pinned());

    let agent = place.start();
    place::end(agent, Signal::SIGTERM);
    assert!(!place.pinned().is_empty(), "the next one is expected");
    assert!(place.uninstall().status.success());
    assert!(place.pinned().is_empty(), "{:?}", place.pinned());
    assert!(
        place.uninstall().status.success(),
        "it is no error that there is nothing"
    );
}

#[test]
fn given_two_agents_when_one_has_the_directory_then_the_other_runs_without_and_says_so() {
    if !runs_here(BINARY) {
        return;
    }
    let place = Place::new("1s");
    let first = place.start();
    let other = place.start_beside();
    assert_eq!(other.lines("another agent uses").len(), 1, "{}", other.log());
    drop(other);
    first.check_alive().unwrap();
    assert!(!place.pinned().is_empty());
}

#[test]
fn given_connections_that_waited_to_be_accepted_when_the_agent_came_then_their_end_is_not_clean() {
    if !runs_here(BINARY) {
        return;
    }
    let place = Place::new("1s");
    let queue = storm::Queue::open(4);
    let agent = place.start();
    queue.kill();
    let report = agent.ended_report(queue.name()).unwrap();
    assert_eq!(report["severed"]["unaccepted"], 4, "{report}");
    assert_eq!(report["verdict"], "severed", "{report}");
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok()?.parse().ok()
}

/// A moment, at most this long.
fn moment(dice: &mut Dice, most: Duration) {
    std::thread::sleep(dice.up_to(most));
}

fn log_of(agent: &Agent) -> String {
    agent.log()
}

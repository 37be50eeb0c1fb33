//! Which workloads are known, under which names: announcing, waiting for a name, renaming, retiring.
//!
//! A workload whose name is to be told by an origin is announced once it was, and what there is to tell of
//! it waits until then, but for at most [`NAME_WITHIN_NS`]: then its cgroup's name has to do, and it counts as
//! unresolved. A name that comes later is taken over from then on.

use super::{Effect, Episode, SECOND, Scope, Tracker};
use crate::{
    description::{Description, Subject},
    report::Workload,
    workload::of_pod,
};

/// How long what there is to tell waits for the workload's name.
pub(super) const NAME_WITHIN_NS: u64 = 10 * SECOND;

/// Stop signals of one's own that the kernel side is asked to tell of: those that processes use for what their
/// authors like. Not those that the kernel itself sends as a matter of course (SIGCHLD, SIGPIPE, faults):
/// an image may name any.
fn is_own_stop_signal(signal: u32) -> bool {
    matches!(signal, 1 | 6 | 10 | 12 | 28 | 30 | 34..=63)
}

impl Tracker {
    /// A workload is known.
    fn announce(&mut self, cgroup: u64, workload: Workload) {
        if self.names.is_shared(cgroup) {
            self.announcements
                .announce_process(cgroup, workload, &mut self.effects);
            return;
        }
        let settings = self.names.settings(cgroup);
        self.announcements.announce(
            cgroup,
            workload,
            self.names.is_removed(cgroup),
            settings.as_ref(),
            &mut self.effects,
        );
    }

    /// Announces a workload, unless its name is on its way.
    pub(super) fn announce_named(&mut self, cgroup: u64, workload: Workload) {
        if !self.held(cgroup) {
            self.announce(cgroup, workload);
        }
    }

    /// Announces the workload of a shutdown before anything else is said of it.
    pub(super) fn known(&mut self, key: u64) {
        if let Some(episode) = self.episodes.get(key) {
            let (cgroup, workload) = (episode.cgroup(), episode.workload().clone());
            self.announce_named(cgroup, workload);
        }
    }

    /// Says that a removed cgroup's workload is gone, once its shutdown is told.
    pub(super) fn retire(&mut self, cgroup: u64) {
        if self.episodes.any(|e| e.cgroup() == cgroup) {
            return;
        }
        if self.names.is_removed(cgroup) {
            self.announcements.stop_waiting(cgroup);
            self.release(cgroup);
        }
        self.announcements.retire(cgroup, &mut self.effects);
    }

    /// Whether what there is to tell of a workload has to wait for its name. It has until
    /// [`NAME_WITHIN_NS`] from now, when this is the first to tell.
    pub(super) fn held(&mut self, cgroup: u64) -> bool {
        if self.announcements.waits_until(cgroup).is_some() {
            return true;
        }
        if self.announcements.of(cgroup).is_some() || self.names.awaited(cgroup).is_none() {
            return false;
        }
        let until_ns = self.now_ns.saturating_add(NAME_WITHIN_NS);
        let room = self.announcements.wait(cgroup, until_ns);
        if !room {
            self.stop_waiting(cgroup);
        }
        room
    }

    /// Ends the waiting for a name. Without one, the cgroup's has to do.
    pub(super) fn stop_waiting(&mut self, cgroup: u64) {
        self.announcements.stop_waiting(cgroup);
        if self.announcements.of(cgroup).is_some() {
            return;
        }
        let workload = self.names.named(cgroup);
        let Some(origin) = self.names.awaited(cgroup) else {
            return;
        };
        // Of a pod that has only one it is certain which container this is.
        if workload.container.is_none() {
            self.effects.push(Effect::Unresolved { origin });
        }
        self.announce(cgroup, workload);
        self.retire(cgroup);
    }

    /// Stops waiting where the time is over.
    pub(super) fn stop_waiting_when_due(&mut self) {
        for cgroup in self.announcements.waiting_until(self.now_ns) {
            self.stop_waiting(cgroup);
        }
    }

    /// A cgroup is known: so is its workload, if nothing more is needed for that.
    pub(super) fn discover(&mut self, cgroup: u64) {
        if self.names.is_discoverable(cgroup) {
            let workload = self.names.named(cgroup);
            self.announce(cgroup, workload);
        }
        self.ask_for_stop_signal(cgroup);
    }

    /// The workload's own stop signal is to be told of, wherever in it a process gets it.
    fn ask_for_stop_signal(&mut self, cgroup: u64) {
        let settings = self.names.settings(self.names.workload_cgroup(cgroup));
        if let Some(signal) = settings.and_then(|settings| settings.stop_signal)
            && is_own_stop_signal(signal)
            && !self.names.is_removed(cgroup)
        {
            self.effects.push(Effect::WatchStopSignal { cgroup, signal });
        }
    }

    /// A pod, container or unit is known, or changed.
    pub(super) fn described(&mut self, at_ns: u64, description: &Description) {
        let cgroups = self.names.describe(description.clone());
        if let Description::Pod(pod) = description {
            let workloads: Vec<_> = of_pod(pod).collect();
            self.announcements.pod(&pod.uid, &workloads, &mut self.effects);
            if let Some(deleted_ms) = pod.deleted_ms {
                self.deleted(at_ns, &pod.uid, deleted_ms);
            }
        }
        for cgroup in cgroups {
            self.renamed(cgroup);
            for member in self.names.members(cgroup).collect::<Vec<_>>() {
                self.ask_for_stop_signal(member);
            }
        }
    }

    /// A pod, container or unit has left the node.
    pub(super) fn undescribed(&mut self, subject: &Subject) {
        self.names.undescribe(subject);
        if let Subject::Pod(uid) = subject {
            self.announcements.pod_left(uid, &mut self.effects);
        }
    }

    /// Something was said of the workload of this cgroup.
    pub(super) fn renamed(&mut self, cgroup: u64) {
        let workload = self.names.named(cgroup);
        let settings = self.names.settings(cgroup);
        let unlisted = self.names.is_unlisted(cgroup);
        let whole = |e: &Episode| e.cgroup() == cgroup && e.scope() != Scope::Process;
        for episode in self.episodes.iter_mut(whole) {
            episode.describe(workload.clone(), settings.clone(), unlisted);
        }
        let waited = self.names.awaited(cgroup).is_none() && self.announcements.stop_waiting(cgroup);
        let announced = self
            .announcements
            .rename(cgroup, &workload, settings.as_ref(), &mut self.effects);
        if !announced && (waited || self.names.is_discoverable(cgroup)) {
            self.announce(cgroup, workload);
            self.retire(cgroup);
        }
    }
}

//! Which programs run: those that an earlier agent left attached, where they fit, or new ones, which are left to the next.
//!
//! They fit when nothing about them would be different today: the object, the offsets and settings that it was loaded with,
//! and what is attached where. What may change while they run stands in a map ([`drainwatch_ebpf::activity`]).

use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use ::ring::digest;
use aya::{
    Btf, Ebpf, EbpfLoader,
    maps::{Array, MapData, MapError},
};
use drainwatch_ebpf::{activity, offset, setting};
use nix::unistd::getpid;
use tracing::{info, warn};

use super::{
    CaptureMode, KernelError, KernelOptions, ProbeStatus,
    btf::Types,
    counters, direct_map, kfuncs,
    load::{FORBIDDEN, failed, in_first_pid_namespace, not_permitted},
    pins::{PinError, Pins, Set},
    probes::{self, Adopted, Attached, Fresh, explain},
    ring::Ring,
};

const SIGINT: u32 = 2;
const SIGQUIT: u32 = 3;
const SIGTERM: u32 = 15;

/// The object as this kernel needs it.
pub struct Object {
    /// The kernel's types, as this program reads them.
    pub types: Types,
    /// The same, as the loader wants them.
    pub btf: Btf,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Offsets of members.
    pub offsets: [u32; offset::COUNT],
    /// What cannot change.
    pub settings: [u64; setting::COUNT],
}

/// Programs that are attached, and their maps.
pub struct Running {
    /// The object.
    pub ebpf: Ebpf,
    /// What is seen.
    pub probes: Vec<ProbeStatus>,
    /// What is attached.
    pub programs: Vec<Attached>,
    /// The directory that holds them, if one does, and their name in it.
    pub pins: Option<(Pins, String)>,
    /// They were running before.
    pub resumed: bool,
    /// Programs of another kind were running until now.
    pub replaced: bool,
    /// What they had told and no agent has read.
    pub unread: u64,
}

impl Running {
    /// Removes what was pinned before, whose programs are detached by that. The new ones run already, and know the older
    /// connections: so none ends without one of them telling it.
    pub fn replace_others(&mut self) {
        let Some((pins, name)) = &self.pins else { return };
        let rings: Vec<Ring> = pins.others(name).iter().filter_map(ring_of).collect();
        match pins.remove_others(name) {
            Ok(removed) => self.replaced = removed > 0,
            Err(why) => warn!(%why, "programs of an earlier agent could not be removed"),
        }
        // Only now nothing is written to them any more.
        self.unread = rings.into_iter().map(Ring::count).sum();
    }

    /// A required probe that does not work.
    pub fn lacking(&self) -> Option<&ProbeStatus> {
        self.probes
            .iter()
            .find(|probe| probe.required && probe.error.is_some())
    }
}

impl Object {
    pub fn new(object: &[u8], types: Types, settings: [u64; setting::COUNT]) -> Result<Self, KernelError> {
        let offsets = types.offsets();
        let btf =
            Btf::from_sys_fs().map_err(|error| failed("reading the kernel's types", &explain(error)))?;
        Ok(Self {
            bytes: kfuncs::link(object, &types),
            types,
            btf,
            offsets,
            settings,
        })
    }

    /// Programs that run; pinned where there is a directory for that.
    pub fn run(&self, options: &KernelOptions) -> Result<Running, KernelError> {
        let Some(dir) = &options.pin_dir else {
            return self.attach(options);
        };
        match open(dir) {
            Ok(pins) => self.run_pinned(pins, options),
            Err(why) => {
                let running = self.attach(options)?;
                // A refusal is one line.
                if running.lacking().is_none() {
                    if matches!(why, PinError::NoBpffs(_)) {
                        info!(%why, "nothing is recorded while no agent runs");
                    } else {
                        warn!(%why, "nothing is recorded while this agent does not run");
                    }
                }
                Ok(running)
            }
        }
    }

    fn run_pinned(&self, pins: Pins, options: &KernelOptions) -> Result<Running, KernelError> {
        let name = self.name();
        if let Some(set) = pins.find(&name) {
            match self.adopt(&set, options) {
                Ok(running) if running.lacking().is_none() => {
                    return Ok(Running {
                        pins: Some((pins, name)),
                        ..running
                    });
                }
                Ok(_) => warn!("the pinned programs are not complete: they are replaced"),
                Err(why) => warn!(%why, "the pinned programs cannot be used: they are replaced"),
            }
        }
        let running = self.attach(options)?;
        if running.lacking().is_some() {
            return Ok(running);
        }
        match pin(&pins, &name, running) {
            Ok(running) => Ok(Running {
                pins: Some((pins, name)),
                ..running
            }),
            Err(why) => {
                warn!(%why, "programs cannot be pinned: nothing is recorded while no agent runs");
                // What could be pinned of them goes too; new ones, for links go with their failed pins.
                let running = self.attach(options)?;
                if let Err(why) = pins.remove_all() {
                    warn!(%why, "programs of an earlier agent could not be removed");
                }
                Ok(running)
            }
        }
    }

    /// New programs.
    pub fn attach(&self, options: &KernelOptions) -> Result<Running, KernelError> {
        let mut ebpf = self.load(None)?;
        set_what_changes(&mut ebpf, options)
            .map_err(|error| failed("handing over the settings", &explain(error)))?;
        let mut fresh = Fresh {
            ebpf: &mut ebpf,
            btf: &self.btf,
        };
        let (mut probes, programs) = probes::attach_all(&mut fresh, &self.types);
        probes.push(direct_map::find(&mut ebpf, &self.btf, &self.types));
        Ok(Running {
            ebpf,
            probes,
            programs,
            pins: None,
            resumed: false,
            replaced: false,
            unread: 0,
        })
    }

    /// The programs that run, with their maps.
    fn adopt(&self, set: &Set, options: &KernelOptions) -> Result<Running, KernelError> {
        let mut ebpf = self.load(Some(set))?;
        let (mut probes, programs) = probes::attach_all(&mut Adopted(set), &self.types);
        set_what_changes(&mut ebpf, options)
            .map_err(|error| failed("handing over the settings", &explain(error)))?;
        probes.push(direct_map::find(&mut ebpf, &self.btf, &self.types));
        Ok(Running {
            ebpf,
            probes,
            programs,
            pins: None,
            resumed: true,
            replaced: false,
            unread: 0,
        })
    }

    fn load(&self, set: Option<&Set>) -> Result<Ebpf, KernelError> {
        let maps: Vec<_> = set.map(Set::maps).unwrap_or_default();
        let mut loader = EbpfLoader::new();
        loader
            .btf(Some(&self.btf))
            .override_global("OFFSETS", &self.offsets[..], true)
            .override_global("SETTINGS", &self.settings[..], true);
        for (name, path) in &maps {
            loader.map_pin_path(name, path.as_path());
        }
        loader.load(&self.bytes).map_err(|error| {
            if not_permitted(&error) {
                KernelError::Refused(FORBIDDEN.into())
            } else {
                failed("loading the BPF maps", &explain(error))
            }
        })
    }

    /// Of its set of pins: a hash of all that it would differ by.
    fn name(&self) -> String {
        let mut hash = digest::Context::new(&digest::SHA256);
        hash.update(&self.bytes);
        for offset in self.offsets {
            hash.update(&offset.to_le_bytes());
        }
        for setting in self.settings {
            hash.update(&setting.to_le_bytes());
        }
        hash.update(probes::table().as_bytes());
        let hash = hash.finish();
        hash.as_ref()[..8].iter().fold(String::new(), |mut name, byte| {
            use std::fmt::Write as _;
            // Writing to a string cannot fail.
            let _ = write!(name, "{byte:02x}");
            name
        })
    }
}

/// How long the directory may be that of an agent which is on its way out.
const HANDOVER: Duration = Duration::from_secs(2);
/// How often it is tried meanwhile.
const TRY_AGAIN: Duration = Duration::from_millis(50);

fn open(dir: &Path) -> Result<Pins, PinError> {
    let began = Instant::now();
    loop {
        match Pins::open(dir) {
            Err(PinError::InUse(_)) if began.elapsed() < HANDOVER => thread::sleep(TRY_AGAIN),
            opened => return opened,
        }
    }
}

/// Pins all of it.
fn pin(pins: &Pins, name: &str, mut running: Running) -> Result<Running, String> {
    let set = pins.begin().map_err(explain)?;
    // Read-only data is the object's own affair.
    for (name, map) in running.ebpf.maps().filter(|(name, _)| !name.starts_with('.')) {
        map.pin(set.map(name)).map_err(explain)?;
    }
    for attached in &mut running.programs {
        if let Some(program) = running.ebpf.program_mut(attached.name) {
            program.pin(set.program(attached.name)).map_err(explain)?;
        }
        if let Some(link) = attached.link.take() {
            link.pin(set.link(attached.name)).map_err(explain)?;
        }
    }
    pins.remove_set(name).map_err(explain)?;
    pins.finish(name).map_err(explain)?;
    Ok(running)
}

/// The ring of a set of another version.
fn ring_of(set: &Set) -> Option<Ring> {
    let map = MapData::from_pin(set.map("EVENTS"));
    map.ok().and_then(|map| Ring::new(map).ok())
}

/// What holds from now on, whoever loaded the programs.
fn set_what_changes(ebpf: &mut Ebpf, options: &KernelOptions) -> Result<(), MapError> {
    let stop_signals = [SIGINT, SIGQUIT, SIGTERM]
        .iter()
        .chain(&options.stop_signals)
        .filter(|signal| **signal < 64)
        .fold(0, |mask, signal| mask | 1 << signal);
    let agent = if in_first_pid_namespace() {
        u64::from(getpid().as_raw().unsigned_abs())
    } else {
        0
    };
    let missing = || MapError::InvalidName {
        name: "ACTIVITY".into(),
    };
    let mut map = Array::<_, u64>::try_from(ebpf.map_mut("ACTIVITY").ok_or_else(missing)?)?;
    map.set(activity::AGENT_TGID, agent, 0)?;
    map.set(
        activity::CAPTURE,
        u64::from(options.capture == CaptureMode::Heads),
        0,
    )?;
    map.set(activity::STOP_SIGNALS, stop_signals, 0)
}

/// Says, once it is certain that the agent runs here, what became of an earlier agent's programs.
pub fn tell(running: &Running, dir: Option<&Path>) {
    let dir = dir.map(|dir| dir.display().to_string()).unwrap_or_default();
    if running.resumed {
        info!(
            dir,
            "the programs of the last agent went on: nothing that they saw is lost"
        );
    } else if running.replaced {
        let connections = counters::seeded(&running.ebpf);
        info!(
            dir,
            connections,
            unread = running.unread,
            "the programs of the last agent were of another version: they are replaced, of these connections is known only \
             what happens from now on, and what they told unread is lost"
        );
    }
}

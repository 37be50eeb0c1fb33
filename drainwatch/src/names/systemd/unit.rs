//! What the manager says of its units.

use drainwatch_core::{
    description::Unit,
    workload::text::{shown_name, shown_path, unescape},
};
use procfs::process::Process;
use zbus::{
    Connection, DynamicType, ObjectPath, OwnedObjectPath, OwnedVariant,
    fdo::DBusProxy,
    message::Message,
    names::{BusName, OwnedUniqueName},
};

use super::{Failed, MANAGER, MOST, SYSTEMD};

/// The manager's object.
const OBJECT: &str = "/org/freedesktop/systemd1";
/// What all units have in common.
const UNIT: &str = "org.freedesktop.systemd1.Unit";
/// States of units that may have processes.
const STATES: [&str; 4] = ["active", "reloading", "activating", "deactivating"];
/// A unit in a listing: id, description, load, active and sub state, followed unit, object, job's number,
/// type and object.
type Listed = (
    String,
    String,
    String,
    String,
    String,
    String,
    OwnedObjectPath,
    u32,
    String,
    OwnedObjectPath,
);

/// The interface that has a unit's stop settings, of the kinds that run processes.
pub(super) fn interface(name: &str) -> Option<&'static str> {
    match name.rsplit_once('.')?.1 {
        "service" => Some("org.freedesktop.systemd1.Service"),
        "scope" => Some("org.freedesktop.systemd1.Scope"),
        _ => None,
    }
}

/// systemd on a bus.
#[derive(Debug, Clone)]
pub(super) struct Manager {
    connection: Connection,
    owner: OwnedUniqueName,
    /// Of the cgroup that the manager takes for the root, below the unified one.
    root: String,
}

impl Manager {
    /// The one on this bus.
    pub(super) async fn of(connection: Connection) -> Result<Self, Failed> {
        let bus = DBusProxy::new(&connection).await?;
        let owner = match bus.get_name_owner(BusName::try_from(SYSTEMD)?).await {
            Ok(owner) => owner,
            Err(zbus::fdo::Error::NameHasNoOwner(_)) => return Err(Failed::NoSystemd),
            Err(error) => return Err(error.into()),
        };
        let root = root_of(&connection).await;
        Ok(Self {
            connection,
            owner,
            root,
        })
    }

    /// Its connection on the bus: what signals have to come from.
    pub(super) fn owner(&self) -> OwnedUniqueName {
        self.owner.clone()
    }

    async fn call<B>(&self, path: &str, interface: &str, method: &str, body: &B) -> Result<Message, Failed>
    where
        B: serde::Serialize + DynamicType,
    {
        let owner = self.owner.as_str();
        let call = self
            .connection
            .call_method(Some(owner), path, Some(interface), method, body);
        Ok(call.await?)
    }

    /// Asks for its signals.
    pub(super) async fn subscribe(&self) -> Result<(), Failed> {
        self.call(OBJECT, MANAGER, "Subscribe", &()).await.map(|_| ())
    }

    /// Names of the units that run.
    pub(super) async fn units(&self) -> Result<Vec<String>, Failed> {
        let patterns: [&str; 2] = ["*.service", "*.scope"];
        let answer = self
            .call(
                OBJECT,
                MANAGER,
                "ListUnitsByPatterns",
                &(&STATES[..], &patterns[..]),
            )
            .await?;
        let units: Vec<Listed> = answer.body().deserialize()?;
        Ok(units.into_iter().take(MOST).map(|unit| unit.0).collect())
    }

    /// One unit; `None` where it is not loaded, runs nothing, or was unloaded or started again while it was read: the end
    /// of its job is the next time to look.
    pub(super) async fn look(&self, name: &str) -> Result<Option<Unit>, Failed> {
        let Some(interface) = interface(name) else {
            return Ok(None);
        };
        // Not its object's name, which would load it.
        let object = match self.call(OBJECT, MANAGER, "GetUnit", &name).await {
            Ok(answer) => answer.body().deserialize::<OwnedObjectPath>()?,
            Err(Failed::Bus(zbus::Error::MethodError(error, ..)))
                if error.as_str() == "org.freedesktop.systemd1.NoSuchUnit" =>
            {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let object = object.as_ref();
        // At the same time: a unit that lives briefly is read before it is stopped.
        let (cgroup, signal, grace, mode, invocation) = futures_util::try_join!(
            self.property::<String>(&object, interface, "ControlGroup"),
            self.property::<i32>(&object, interface, "KillSignal"),
            self.property::<u64>(&object, interface, "TimeoutStopUSec"),
            self.property::<String>(&object, interface, "KillMode"),
            self.property::<Vec<u8>>(&object, UNIT, "InvocationID"),
        )?;
        // Unloaded meanwhile, its object loads an empty one of the same name, whose settings are the defaults, and which has
        // no run: not now, nor when it was asked for among the others, if it was unloaded in their midst.
        let still: Vec<u8> = self.property(&object, UNIT, "InvocationID").await?;
        let run = hexadecimal(&invocation).filter(|_| still == invocation);
        if cgroup.is_empty() || run.is_none() {
            return Ok(None);
        }
        Ok(Some(Unit {
            cgroup: shown_path(&format!("{}{cgroup}", self.root)),
            name: shown_name(&unescape(name)),
            stop_signal: u32::try_from(signal).ok().filter(|n| (1..=64).contains(n)),
            grace_seconds: seconds(grace),
            kill_mode: Some(shown_name(&mode)),
            invocation: run,
            restarting: false,
        }))
    }

    /// Whether this job, which has just been queued, restarts a unit that runs; `run`: its invocation by then. A unit that
    /// systemd starts again by itself (`Restart=`) is not running then.
    pub(super) async fn restarts(&self, job: &str, name: &str, run: Option<&str>) -> Result<bool, Failed> {
        let job = ObjectPath::try_from(job)?;
        let state = async {
            let unit = self.call(OBJECT, MANAGER, "GetUnit", &name).await?;
            let unit = unit.body().deserialize::<OwnedObjectPath>()?;
            let state = self
                .property::<String>(&unit.as_ref(), UNIT, "ActiveState")
                .await?;
            Ok::<_, Failed>((unit, state))
        };
        // At the same time: what is stopped quickly has another state soon.
        let type_ = self.property::<String>(&job, "org.freedesktop.systemd1.Job", "JobType");
        let (type_, state) = futures_util::future::join(type_, state).await;
        let (unit, state) = state?;
        if let Ok("restart" | "try-restart") = type_.as_deref() {
            return Ok(["active", "reloading", "refreshing", "deactivating"].contains(&state.as_str()));
        }
        if let Ok("stop" | "reload") = type_.as_deref() {
            return Ok(false);
        }
        // Quicker than the question: a restart goes on as a start, and is done then. There is another run, or will be in a
        // moment, which systemd did not begin by itself.
        let starts = type_.is_ok_and(|type_| type_ == "start") && state != "active";
        let unit = unit.as_ref();
        let invocation: Vec<u8> = self.property(&unit, UNIT, "InvocationID").await?;
        let another = hexadecimal(&invocation).is_some_and(|now| run.is_some_and(|run| run != now));
        let by_itself: u32 = self
            .property(&unit, "org.freedesktop.systemd1.Service", "NRestarts")
            .await?;
        Ok((another || starts) && by_itself == 0)
    }

    /// One property by itself: all of them would have systemd read the unit's accounting files.
    async fn property<T>(&self, object: &ObjectPath<'_>, interface: &str, name: &str) -> Result<T, Failed>
    where
        T: TryFrom<OwnedVariant, Error = zbus::Error>,
    {
        let properties = "org.freedesktop.DBus.Properties";
        let answer = self
            .call(object.as_str(), properties, "Get", &(interface, name))
            .await?;
        let value: OwnedVariant = answer.body().deserialize()?;
        Ok(T::try_from(value)?)
    }
}

/// An id as systemd writes it; it has none of a unit that never ran.
fn hexadecimal(id: &[u8]) -> Option<String> {
    let digits = |byte: &u8| format!("{byte:02x}");
    (id.len() == 16 && id.iter().any(|byte| *byte != 0)).then(|| id.iter().map(digits).collect())
}

/// systemd's `USEC_INFINITY` is for ever.
fn seconds(microseconds: u64) -> Option<f64> {
    (microseconds != u64::MAX).then(|| std::time::Duration::from_micros(microseconds).as_secs_f64())
}

/// Where the manager's root is below ours. It is the same, unless systemd is in a container: whoever opened
/// the bus's socket (systemd, or the bus that it started) is in a cgroup of the manager's.
async fn root_of(connection: &Connection) -> String {
    let peer = connection
        .peer_creds()
        .await
        .ok()
        .and_then(|peer| peer.process_id());
    let peer = peer.and_then(|pid| i32::try_from(pid).ok());
    let Some(groups) = peer.and_then(|pid| Process::new(pid).and_then(|process| process.cgroups()).ok())
    else {
        return String::new();
    };
    let unified = groups.into_iter().find(|group| group.hierarchy == 0);
    unified.map_or_else(String::new, |group| above(&group.pathname).to_owned())
}

/// What stands before the manager's own cgroups.
fn above(path: &str) -> &str {
    let own = ["/init.scope", "/system.slice/"];
    let found = own.iter().filter_map(|part| path.rfind(part)).max();
    let root = found.and_then(|at| path.get(..at)).unwrap_or_default();
    // Seen from a foreign cgroup namespace, it cannot be told.
    if root.contains("/../") { "" } else { root }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_where_systemd_lives_then_what_stands_before_it_is_the_root_of_its_cgroups() {
        for (path, root) in [
            ("/init.scope", ""),
            ("/system.slice/dbus.service", ""),
            ("/docker/0a0b/init.scope", "/docker/0a0b"),
            (
                "/system.slice/docker-0a.scope/system.slice/dbus.socket",
                "/system.slice/docker-0a.scope",
            ),
            (
                "/machine.slice/libpod-1.scope/container/init.scope",
                "/machine.slice/libpod-1.scope/container",
            ),
            (
                "/system.slice/docker-0a.scope/init.scope",
                "/system.slice/docker-0a.scope",
            ),
            ("/../../init.scope", ""),
            ("/user.slice", ""),
            ("/", ""),
        ] {
            assert_eq!(above(path), root, "{path}");
        }
    }

    #[test]
    fn given_stop_timeouts_of_systemd_then_its_infinity_is_none() {
        assert_eq!(seconds(u64::MAX), None);
        assert_eq!(seconds(1_500_000), Some(1.5));
        assert_eq!(seconds(0), Some(0.0));
    }

    #[test]
    fn given_an_invocations_id_then_it_is_written_as_systemd_writes_it() {
        let id: Vec<u8> = (0..16).collect();
        assert_eq!(
            hexadecimal(&id).as_deref(),
            Some("000102030405060708090a0b0c0d0e0f")
        );
        assert_eq!(hexadecimal(&[0; 16]), None);
        assert_eq!(hexadecimal(&[]), None);
    }

    #[test]
    fn given_names_of_units_then_only_services_and_scopes_are_looked_at() {
        assert!(interface("a.b.service").is_some() && interface("run-1.scope").is_some());
        for name in ["web.socket", "system.slice", "service", ""] {
            assert_eq!(interface(name), None, "{name}");
        }
    }
}

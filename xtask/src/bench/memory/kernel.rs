//! Memory that the kernel keeps for the agent: maps and programs, and what hangs on sockets.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::fd::{AsFd as _, AsRawFd as _};

use anyhow::{Context, Result};
use aya::maps::MapInfo;
use aya::programs::loaded_programs;

const SLABS: &str = "/proc/slabinfo";

/// What the kernel keeps for programs, as it charges it (`memlock` of `fdinfo`).
#[derive(Clone, Debug, Default)]
pub struct Objects {
    /// Names and bytes of all maps that the programs use, the largest first; without what hangs on sockets.
    pub maps: Vec<(String, u64)>,
    /// Bytes of programs: instructions as loaded, and as compiled for this CPU.
    pub programs: u64,
}

impl Objects {
    /// Of the programs with these ids.
    pub fn of(ids: &[u32]) -> Result<Self> {
        let mut found = Self::default();
        let mut maps = BTreeSet::new();
        for program in loaded_programs().flatten() {
            if ids.contains(&program.id()) {
                let locked = program.memory_locked().context("a program's memory")?;
                found.programs += u64::from(locked) + u64::from(program.size_jitted());
                maps.extend(program.map_ids().context("a program's maps")?.unwrap_or_default());
            }
        }
        for id in maps {
            let map = MapInfo::from_id(id).context("asking for a map")?;
            let open = map.fd().context("opening a map")?;
            let file = format!("/proc/self/fdinfo/{}", open.as_fd().as_raw_fd());
            let text = fs::read_to_string(&file).with_context(|| format!("reading {file}"))?;
            let bytes = locked(&text).with_context(|| format!("no memlock in {file}"))?;
            found
                .maps
                .push((map.name_as_str().unwrap_or("?").to_owned(), bytes));
        }
        found.maps.sort_by_key(|(_, bytes)| Reverse(*bytes));
        Ok(found)
    }

    /// Bytes of all maps.
    pub fn all_maps(&self) -> u64 {
        self.maps.iter().map(|(_, bytes)| bytes).sum()
    }
}

/// Bytes, of a map's `fdinfo`.
fn locked(text: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix("memlock:"))?;
    value.trim().parse().ok()
}

/// Objects of one class of the kernel's general allocator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Class {
    /// Those in use.
    pub objects: i64,
    /// Bytes of each.
    pub size: i64,
}

/// All classes by their names (`kmalloc-cg-1k`).
pub type Classes = BTreeMap<String, Class>;

/// As they are now.
pub fn classes() -> Result<Classes> {
    let text = fs::read_to_string(SLABS).with_context(|| format!("reading {SLABS}"))?;
    Ok(text.lines().filter_map(class).collect())
}

/// How many more objects there are in each class.
pub fn grown(before: &Classes, after: &Classes) -> Classes {
    let more = |(name, class): (&String, &Class)| {
        let was = before.get(name).map_or(0, |class| class.objects);
        let objects = class.objects - was;
        (name.clone(), Class { objects, ..*class })
    };
    after.iter().map(more).collect()
}

fn class(line: &str) -> Option<(String, Class)> {
    let mut words = line.split_whitespace();
    let name = words.next().filter(|name| name.starts_with("kmalloc-"))?;
    let objects = words.next()?.parse().ok()?;
    let size = words.nth(1)?.parse().ok()?;
    Some((name.to_owned(), Class { objects, size }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_a_line_of_slabinfo_when_read_then_only_general_classes_are_found() {
        let line = "kmalloc-cg-1k        410    448   1024   16    4 : tunables    0    0    0 : slabdata     28     28      0";
        let class_1k = Class {
            objects: 410,
            size: 1024,
        };
        assert_eq!(class(line), Some(("kmalloc-cg-1k".to_owned(), class_1k)));
        assert_eq!(class("TCP   410    448   1024   16    4 : tunables"), None);
        assert_eq!(
            class("# name            <active_objs> <num_objs> <objsize>"),
            None
        );
    }

    #[test]
    fn given_classes_before_and_after_when_compared_then_each_has_what_it_grew_by() {
        let of = |objects| Classes::from([("kmalloc-64".to_owned(), Class { objects, size: 64 })]);
        assert_eq!(grown(&of(10), &of(7)), of(-3));
        assert_eq!(grown(&Classes::new(), &of(7)), of(7));
    }

    #[test]
    fn given_a_maps_fdinfo_when_read_then_its_memory_is_found() {
        assert_eq!(locked("map_type:\t2\nmemlock:\t8192\nmap_id:\t7\n"), Some(8192));
        assert_eq!(locked("pos:\t0\n"), None);
    }
}

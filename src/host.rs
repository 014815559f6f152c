//! The machine, or the container, as far as the process can see what it uses of it and may use.
//!
//! Read from Linux's /proc and cgroup files, a few lines each: no more of them is needed than a
//! crate for all of /proc would be long to describe. What can't be found out is an error, or
//! `None` where the system simply has no such limit.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::process::{Resource, getrlimit};

/// Where cgroups of version 2 are, and where those of version 1 keep their limits of memory.
const CGROUPS: &str = "/sys/fs/cgroup";
const CGROUPS_V1: &str = "/sys/fs/cgroup/memory/memory.limit_in_bytes";

/// Memory that the process has in use, in bytes.
pub fn resident_bytes() -> io::Result<u64> {
    let statm = fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = number(statm.split_whitespace().nth(1))?;
    Ok(pages.saturating_mul(rustix::param::page_size() as u64))
}

/// Memory that the process may use, in bytes: the machine's, or the least of what the cgroups that
/// it is in allow.
pub fn memory_bytes() -> io::Result<u64> {
    let meminfo = fs::read_to_string("/proc/meminfo")?;
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib: u64 = number(line.and_then(|line| line.split_whitespace().next()))?;
    let machine = kib.saturating_mul(1024);
    Ok(cgroup_limit().map_or(machine, |limit| limit.min(machine)))
}

fn cgroup_limit() -> Option<u64> {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = own.lines().find_map(|line| line.strip_prefix("0::/"));
    let least = own.and_then(|own| least_limit(Path::new(CGROUPS), own));
    least.or_else(|| limit_in(Path::new(CGROUPS_V1)))
}

/// The least `memory.max` of a cgroup and those that it is in. A container often sees its own
/// cgroup as the root, and so the root counts, too.
fn least_limit(root: &Path, own: &str) -> Option<u64> {
    let mut all: Vec<PathBuf> = Path::new(own).ancestors().map(|part| root.join(part)).collect();
    all.push(root.to_owned());
    all.iter().filter_map(|cgroup| limit_in(&cgroup.join("memory.max"))).min()
}

/// `None` for `max`, and where there is no such file.
fn limit_in(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// Descriptors that the process has open.
pub fn open_descriptors() -> io::Result<u64> {
    // The one that reads the directory is not counted.
    Ok((fs::read_dir("/proc/self/fd")?.count() as u64).saturating_sub(1))
}

/// Descriptors that the process may have open; `None` when there is no limit.
pub fn descriptors_max() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

fn number(text: Option<&str>) -> io::Result<u64> {
    let number = text.and_then(|text| text.parse().ok());
    number
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not the form of Linux's /proc"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_uses_some_of_what_it_may_use() {
        let (used, all) = (resident_bytes().expect("Linux"), memory_bytes().expect("Linux"));
        assert!(used > 500_000 && used < all, "{used} of {all}");
        let (open, most) = (open_descriptors().expect("Linux"), descriptors_max());
        assert!(open >= 3 && most.is_none_or(|most| open <= most), "{open} of {most:?}");
    }

    #[test]
    fn the_tightest_cgroup_is_the_limit() {
        let root = tempfile::tempdir().expect("a directory");
        let put = |name: &str, text: &str| {
            let directory = root.path().join(name);
            fs::create_dir_all(&directory).expect("made");
            fs::write(directory.join("memory.max"), text).expect("written");
        };
        assert_eq!(least_limit(root.path(), "a/b"), None);
        put("", "max\n");
        put("a", "5000\n");
        put("a/b", "max\n");
        assert_eq!(least_limit(root.path(), "a/b"), Some(5000));
        put("a/b", "4000\n");
        assert_eq!(least_limit(root.path(), "a/b"), Some(4000));
        put("", "3000\n");
        assert_eq!(least_limit(root.path(), ""), Some(3000));
    }
}

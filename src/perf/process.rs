//! What a process of this machine has used, with the processes it has started: the broker's, when
//! `--pid` names it.

use std::path::Path;

use super::Failure;

/// Hundredths of a second, in which Linux counts a process's time.
const TICKS_PER_SECOND: f64 = 100.0;

/// Processes that are looked at, so that a wrong number does not walk over the whole machine.
const PROCESSES_MAX: usize = 1000;

/// User and system time so far, in seconds.
pub(super) fn cpu_seconds(pid: u32) -> Result<f64, Failure> {
    sum(pid, |pid| {
        let stat = read(pid, "stat")?;
        // The name in brackets may hold anything.
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        let ticks = fields.skip(11).take(2).filter_map(|field| field.parse::<f64>().ok());
        Ok(ticks.sum::<f64>() / TICKS_PER_SECOND)
    })
}

/// Memory that is in use, in MiB.
pub(super) fn resident_mib(pid: u32) -> Result<f64, Failure> {
    sum(pid, |pid| {
        let status = read(pid, "status")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
        Ok(kib.unwrap_or(0.0) / 1024.0)
    })
}

/// What the files below a directory take, in MiB; one may go while it is looked at.
pub(super) fn disk_mib(directory: &Path) -> f64 {
    let (mut bytes, mut waiting) = (0, vec![directory.to_owned()]);
    while let Some(directory) = waiting.pop() {
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => waiting.push(entry.path()),
                Ok(metadata) => bytes += metadata.len(),
                Err(_) => {}
            }
        }
    }
    bytes as f64 / (1024.0 * 1024.0)
}

/// Over the process and all below it. One of those may end meanwhile; the process itself may not.
fn sum(pid: u32, of: impl Fn(u32) -> Result<f64, Failure>) -> Result<f64, Failure> {
    let mut sum = of(pid)?;
    let mut waiting = children(pid);
    for _ in 0..PROCESSES_MAX {
        let Some(child) = waiting.pop() else { break };
        sum += of(child).unwrap_or(0.0);
        waiting.extend(children(child));
    }
    Ok(sum)
}

fn children(pid: u32) -> Vec<u32> {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let of_thread = |thread: std::io::Result<std::fs::DirEntry>| {
        std::fs::read_to_string(thread.ok()?.path().join("children")).ok()
    };
    let all: Vec<String> = threads.filter_map(of_thread).collect();
    all.iter().flat_map(|pids| pids.split_whitespace()).filter_map(|pid| pid.parse().ok()).collect()
}

fn read(pid: u32, file: &str) -> Result<String, Failure> {
    let path = format!("/proc/{pid}/{file}");
    Ok(std::fs::read_to_string(&path).map_err(|error| format!("--pid {pid}: {path}: {error}"))?)
}

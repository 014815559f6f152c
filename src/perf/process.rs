//! What a process of this machine has used: the broker's, when `--pid` names it.

use super::Failure;

/// Hundredths of a second, in which Linux counts a process's time.
const TICKS_PER_SECOND: f64 = 100.0;

/// User and system time so far, in seconds.
pub(super) fn cpu_seconds(pid: u32) -> Result<f64, Failure> {
    let stat = read(pid, "stat")?;
    // The name in brackets may hold anything.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks = fields.skip(11).take(2).filter_map(|field| field.parse::<f64>().ok());
    Ok(ticks.sum::<f64>() / TICKS_PER_SECOND)
}

/// Memory that is in use, in MiB.
pub(super) fn resident_mib(pid: u32) -> Result<f64, Failure> {
    let status = read(pid, "status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    Ok(kib.unwrap_or(0.0) / 1024.0)
}

fn read(pid: u32, file: &str) -> Result<String, Failure> {
    let path = format!("/proc/{pid}/{file}");
    Ok(std::fs::read_to_string(&path).map_err(|error| format!("--pid {pid}: {path}: {error}"))?)
}

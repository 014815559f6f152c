//! Connections rather than messages: how fast they come and go, and what they cost while idle.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::scope;
use std::time::{Duration, Instant};

use super::Failure;
use super::link::{Link, Target};
use super::process;
use crate::protocol::generated::ConnectionClose;

/// Connects, opens a channel and closes in order, over and over. Answers connections a second.
pub(super) fn churn(target: &Target, threads: usize, seconds: f64) -> Result<f64, Failure> {
    let (begun, count) = (Instant::now(), AtomicU64::new(0));
    let wait = Duration::from_secs_f64(seconds);
    scope(|scope| {
        let run = || -> Result<(), Failure> {
            while begun.elapsed() < wait {
                let mut link = Link::open(target)?;
                link.call(0, ConnectionClose { reply_code: 200, ..ConnectionClose::default() })?;
                count.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        };
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
        running.into_iter().try_for_each(|thread| match thread.join() {
            Ok(result) => result,
            Err(_) => Err("a thread of the load panicked".into()),
        })
    })?;
    Ok(count.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64())
}

/// Opens so many connections with a channel each and keeps them. Answers the KiB that each costs
/// the broker.
pub(super) fn idle(target: &Target, count: usize, pid: u32) -> Result<f64, Failure> {
    let before = process::resident_mib(pid)?;
    let links: Vec<Link> = (0..count).map(|_| Link::open(target)).collect::<Result<_, _>>()?;
    let kib = (process::resident_mib(pid)? - before) * 1024.0 / links.len().max(1) as f64;
    Ok(kib)
}

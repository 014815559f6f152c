//! The broker daemon: reads its settings, starts the server, waits for a signal.
//!
//! Exit codes: 0 in order, 1 it could not do what it was asked to, 2 wrong usage.

use std::error::Error;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use ferrymq::config::{Config, Flags, LogFormat};
use ferrymq::http::health;
use ferrymq::server::Server;
use ferrymq::telemetry;
use tokio::signal::unix::{SignalKind, signal};

/// Messages are made on one thread and freed on another, most of them small: an allocator for that.
/// Its settings are in `.cargo/config.toml`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// A signal so soon after the first is the first once more.
const SAME_SIGNAL: Duration = Duration::from_millis(300);

fn main() -> ExitCode {
    let started = Instant::now();
    let flags = Flags::parse(std::env::args_os()).unwrap_or_else(|usage| usage.exit());
    match run(&flags, started) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ferrymq: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(flags: &Flags, started: Instant) -> Result<(), Box<dyn Error>> {
    let config = Config::load(flags, |name| std::env::var_os(name))?;
    if flags.print_config {
        print!("{}", config.to_toml());
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    if flags.check_health {
        return Ok(runtime.block_on(health::ask(&config.http.listen))?);
    }
    telemetry::begin(&config.log.level, config.log.format == LogFormat::Json)?;
    let served = runtime.block_on(serve(&config, started));
    // A start that a signal broke off may still read the data directory; nothing is lost by that.
    runtime.shutdown_background();
    served
}

async fn serve(config: &Config, started: Instant) -> Result<(), Box<dyn Error>> {
    let mut stop = Box::pin(stop_signal()?);
    let server = tokio::select! {
        server = Server::start(config) => server?,
        () = &mut stop => return Ok(()),
    };
    let amqp: Vec<String> = server.amqp_addresses().iter().map(ToString::to_string).collect();
    tracing::info!(
        amqp = amqp.join(","),
        http = %server.http_address(),
        data_dir = %config.store.data_dir.display(),
        milliseconds = u64::try_from(started.elapsed().as_millis())?,
        "FerryMQ {} is ready",
        env!("CARGO_PKG_VERSION")
    );
    server.run_until(stop).await;
    tracing::info!("stopped");
    Ok(())
}

/// Resolves at the first SIGTERM or SIGINT; a later one ends the process at once.
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    let first = next_signal()?;
    Ok(async move {
        // Not within the log's arguments: those are left out with the line at a higher log level.
        let signal = first.await;
        tracing::info!("{signal}: stopping");
        tokio::spawn(async move {
            // `timeout` and some supervisors send a signal twice: to the process and to its group.
            tokio::time::sleep(SAME_SIGNAL).await;
            let Ok(second) = next_signal() else { return };
            eprintln!("ferrymq: {} again: ended without an orderly stop", second.await);
            std::process::exit(1);
        });
    })
}

/// The name of the next SIGTERM or SIGINT, counted from the call.
fn next_signal() -> std::io::Result<impl Future<Output = &'static str>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    })
}

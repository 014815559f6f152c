//! The broker daemon: reads its settings, starts the server, waits for a signal.

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use ferrymq::config::{Config, Flags, LogFormat};
use ferrymq::server::Server;
use ferrymq::telemetry;
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    let started = Instant::now();
    let flags = Flags::parse();
    match run(&flags, started) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ferrymq: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(flags: &Flags, started: Instant) -> Result<(), Box<dyn std::error::Error>> {
    let config = Config::load(flags)?;
    if flags.print_config {
        print!("{}", config.to_toml());
        return Ok(());
    }
    telemetry::begin(&config.log.level, config.log.format == LogFormat::Json)?;
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let server = Server::start(&config).await?;
        // Before the line that says so: whoever reads it may send a signal at once.
        let stop = stop_signal()?;
        tracing::info!(
            amqp = ?server.amqp_addresses(),
            http = %server.http_address(),
            data_dir = %config.store.data_dir.display(),
            milliseconds = started.elapsed().as_millis(),
            "FerryMQ {} is ready",
            env!("CARGO_PKG_VERSION")
        );
        server.run_until(stop).await;
        Ok(())
    })
}

/// Resolves at the first SIGTERM or SIGINT; the second one ends the process at once.
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => tracing::info!("SIGTERM: stopping"),
            _ = interrupt.recv() => tracing::info!("SIGINT: stopping"),
        }
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            eprintln!("ferrymq: a second signal: ended without an orderly stop");
            std::process::exit(1);
        });
    })
}

//! The broker alone: `broker DATA LISTEN`. Prints one line with its address; ctrl-c or SIGTERM ends it in order.
#![allow(clippy::print_stdout)]

use std::net::SocketAddr;

use atio_broker::{Broker, Config};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(tracing::Level::INFO).init();
    let mut args = std::env::args().skip(1);
    let (Some(data), Some(listen)) = (args.next(), args.next()) else {
        return Err("usage: broker DATA LISTEN".into());
    };
    let broker = Broker::start(Config::new(data, listen.parse::<SocketAddr>()?)).await?;
    println!("{}", broker.addr());
    let mut term = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted?,
        _ = term.recv() => {}
    }
    broker.shutdown().await;
    Ok(())
}

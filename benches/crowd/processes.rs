//! The crowd on several nodes, over a broker.

use std::io::Write;
use std::time::Duration;

use rlimit::Resource;

use crate::broker::{Broker, Via};
use crate::process::{Process, resident};
use crate::support::{self, Result, option};
use crate::{deliveries, publishing};

/// How many connections a process has at most: few enough for the ports from which one address can be
/// connected to, of which there are 28,000.
const MOST: u64 = 17_000;
/// What a process has open beside its connections, with room to spare.
const OTHERS: u64 = 1_000;
const FEWEST_PROCESSES: u64 = 3;
/// All processes share the cores.
const CORES: &str = "0,1";

pub(crate) fn measure(words: &[String]) -> Result {
    let via = Via::named(&option(words, "--broker", "redis".to_owned())?)?;
    if via == Via::Memory {
        return Err("several nodes need a broker".into());
    }
    let connections = option(words, "--connections", 12_000_u64)?;
    let files = rlimit::getrlimit(Resource::NOFILE)?.1;
    let most = MOST.min(files.saturating_sub(OTHERS)).max(1);
    let fewest = connections.div_ceil(most);
    let processes = option(words, "--processes", fewest.max(FEWEST_PROCESSES))?;
    if processes < fewest {
        return Err(format!("a node has {most} connections at most: {fewest} are needed").into());
    }
    let (messages, intervals) = publishing(words)?;
    let wanted = connections * messages;

    let broker = Broker::start(via)?;
    let node = || Process::start(CORES, &["node", via.name(), &broker.url], &[]);
    let mut publisher = node()?;
    publisher.line()?;
    let mut nodes = (0..processes).map(|_| node()).collect::<Result<Vec<_>>>()?;
    let addresses = nodes.iter_mut().map(Process::line).collect::<Result<Vec<_>>>()?;
    let before = memory(&nodes)?;
    let shares: Vec<_> =
        (0..processes).map(|number| share(connections, processes, number)).collect();
    let mut clients = Vec::new();
    for (address, share) in addresses.iter().zip(&shares) {
        clients.push(Process::start(CORES, &["listen", address, &share.to_string()], &[])?);
    }
    let mut slowest = 0_f64;
    for client in &mut clients {
        slowest = slowest.max(client.line()?.parse()?);
    }
    for (node, share) in nodes.iter_mut().zip(&shares) {
        writeln!(node.input, "wait {share}")?;
        node.line()?;
    }
    println!(
        "{connections} connections to {processes} nodes over {}: open after {slowest:.1} s",
        via.name()
    );
    let each = |now: u64| now.saturating_sub(before) * 1024 / connections;
    println!(
        "memory of the nodes, before anything is published: {} bytes each",
        each(memory(&nodes)?)
    );
    for millis in intervals {
        let cpu = cpu_time(&nodes)?;
        writeln!(publisher.input, "{millis} {messages}")?;
        publisher.line()?;
        for (client, share) in clients.iter_mut().zip(&shares) {
            writeln!(client.input, "{}", share * messages)?;
        }
        let deliveries = deliveries(&mut clients, wanted)?;
        let used = (cpu_time(&nodes)? - cpu).as_secs_f64() * 1e6 / wanted as f64;
        println!(
            "a message each {millis} ms, {messages} of them: CPU of the nodes {used:.2} us each delivery"
        );
        println!("  {deliveries}");
        println!("  memory of the nodes: {} bytes each", each(memory(&nodes)?));
    }
    Ok(())
}

/// How many connections are this node's.
const fn share(connections: u64, processes: u64, number: u64) -> u64 {
    connections * (number + 1) / processes - connections * number / processes
}

fn memory(nodes: &[Process]) -> Result<u64> {
    nodes.iter().map(|node| resident(node.id())).sum()
}

fn cpu_time(nodes: &[Process]) -> Result<Duration> {
    nodes.iter().map(|node| support::cpu_time(node.id())).sum()
}

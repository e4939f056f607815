//! A bad line between a client and a server on loopback: slow, late, cut in the middle, or silent.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// What happens to connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Line {
    /// Everything takes so much longer, in each direction.
    Late(Duration),
    /// At most so many bytes a second towards the server, over each connection.
    Slow(u64),
    /// Every n-th connection is cut after that many bytes towards the server.
    Cut { every: u64, after: u64 },
    /// On every n-th connection one bit of a body arrives flipped, some time after that many bytes.
    Flip { every: u64, at: u64 },
    /// Every n-th connection goes silent after that many bytes towards the server, and then closes.
    Stall { every: u64, after: u64, pause: Duration },
}

/// The line; dropping it takes it down.
pub(crate) struct FaultProxy {
    address: SocketAddr,
    down: Arc<AtomicBool>,
    /// How often it misbehaved.
    pub(crate) faults: Arc<AtomicU64>,
}

impl FaultProxy {
    /// A line to the server at `endpoint` (`http://host:port`).
    pub(crate) fn new(endpoint: &str, line: Line) -> Self {
        let server = endpoint.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let (down, faults) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (is_down, counted) = (down.clone(), faults.clone());
        std::thread::spawn(move || {
            for (number, client) in (1..).zip(listener.incoming()) {
                if is_down.load(Ordering::Relaxed) {
                    return;
                }
                let (Ok(client), Ok(server)) = (client, TcpStream::connect(&server)) else { continue };
                let counted = counted.clone();
                std::thread::spawn(move || connect(&client, &server, line, number, &counted));
            }
        });
        Self { address, down, faults }
    }

    /// Where a client finds it.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.down.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address); // so that it looks
    }
}

fn connect(client: &TcpStream, server: &TcpStream, line: Line, number: u64, faults: &Arc<AtomicU64>) {
    for stream in [client, server] {
        let _ = stream.set_nodelay(true);
    }
    let (back_from, back_to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
    let late = if let Line::Late(late) = line { late } else { Duration::ZERO };
    let back = std::thread::spawn(move || {
        pass(&back_from, &back_to, |_, _| {
            std::thread::sleep(late);
            true
        });
    });
    let mut done = false;
    pass(client, server, |bytes, so_far| {
        let end = so_far + bytes.len() as u64;
        match line {
            Line::Late(late) => std::thread::sleep(late),
            Line::Slow(rate) => std::thread::sleep(Duration::from_secs_f64(bytes.len() as f64 / rate as f64)),
            Line::Cut { every, after } if number.is_multiple_of(every) && end > after => {
                faults.fetch_add(1, Ordering::Relaxed);
                return false;
            }
            // In the middle of a large body: a damaged header is refused as a whole, and shows nothing.
            Line::Flip { every, at } if number.is_multiple_of(every) && end > at && !done && bytes.len() > 32 << 10 => {
                done = true;
                faults.fetch_add(1, Ordering::Relaxed);
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
            }
            Line::Stall { every, after, pause } if number.is_multiple_of(every) && end > after => {
                faults.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(pause);
                return false;
            }
            _ => {}
        }
        true
    });
    for stream in [client, server] {
        let _ = stream.shutdown(Shutdown::Both);
    }
    let _ = back.join();
}

/// Passes bytes on until one side closes, or `each` says no.
fn pass(mut from: &TcpStream, mut to: &TcpStream, mut each: impl FnMut(&mut [u8], u64) -> bool) {
    let mut buffer = vec![0; 64 << 10];
    let mut so_far = 0;
    while let Ok(read) = from.read(&mut buffer) {
        if read == 0 || !each(&mut buffer[..read], so_far) || to.write_all(&buffer[..read]).is_err() {
            break;
        }
        so_far += read as u64;
    }
    let _ = to.shutdown(Shutdown::Write);
    let _ = from.shutdown(Shutdown::Read);
}

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
    /// Of the connections that carry more than so many bytes towards the server, the first and each n-th after it is cut.
    Cut { every: u64, after: u64 },
    /// Of the connections that carry more than so many bytes of answers, the first and each n-th after it is cut there.
    CutBack { every: u64, after: u64 },
    /// Of those that carry so much towards the server, on the first and each n-th after it one bit of a body arrives flipped.
    Flip { every: u64, at: u64 },
    /// Of those connections, the first and each n-th after it goes silent, and then closes.
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
        let large = Arc::new(AtomicU64::new(0));
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if is_down.load(Ordering::Relaxed) {
                    return;
                }
                let (Ok(client), Ok(server)) = (client, TcpStream::connect(&server)) else { continue };
                let (counted, large) = (counted.clone(), large.clone());
                std::thread::spawn(move || connect(&client, &server, line, &large, &counted));
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

/// `large` counts connections that carried enough to be misused. By these, not by all, the n-th is taken: how many small
/// ones a client opens beside them depends on timing, and a fault must come in every run.
fn connect(client: &TcpStream, server: &TcpStream, line: Line, large: &Arc<AtomicU64>, faults: &Arc<AtomicU64>) {
    for stream in [client, server] {
        let _ = stream.set_nodelay(true);
    }
    let (back_from, back_to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
    let late = if let Line::Late(late) = line { late } else { Duration::ZERO };
    let (cut_back, answered) = (faults.clone(), large.clone());
    let mut turn_back: Option<bool> = None;
    let back = std::thread::spawn(move || {
        pass(&back_from, &back_to, |bytes, so_far| {
            std::thread::sleep(late);
            match line {
                Line::CutBack { every, after }
                    if so_far + bytes.len() as u64 > after
                        && *turn_back
                            .get_or_insert_with(|| answered.fetch_add(1, Ordering::Relaxed).is_multiple_of(every)) =>
                {
                    cut_back.fetch_add(1, Ordering::Relaxed);
                    // What comes before the cut arrives.
                    let kept = usize::try_from(after.saturating_sub(so_far)).unwrap();
                    let _ = (&back_to).write_all(&bytes[..kept]);
                    let _ = back_to.shutdown(Shutdown::Both);
                    false
                }
                _ => true,
            }
        });
    });
    // Whether it is this connection's turn; unknown until it has carried enough.
    let mut turn: Option<bool> = None;
    let mut takes = |every: u64, is_large: bool| {
        if is_large && turn.is_none() {
            turn = Some(large.fetch_add(1, Ordering::Relaxed).is_multiple_of(every));
        }
        turn.unwrap_or_default()
    };
    let mut is_flipped = false;
    pass(client, server, |bytes, so_far| {
        let end = so_far + bytes.len() as u64;
        match line {
            Line::Late(late) => std::thread::sleep(late),
            Line::Slow(rate) => std::thread::sleep(Duration::from_secs_f64(bytes.len() as f64 / rate as f64)),
            Line::Cut { every, after } if takes(every, end > after) => {
                faults.fetch_add(1, Ordering::Relaxed);
                return false;
            }
            // In the middle of a large body: a damaged header is refused as a whole, and shows nothing.
            Line::Flip { every, at } if takes(every, end > at) && !is_flipped && bytes.len() > 8 << 10 => {
                is_flipped = true;
                faults.fetch_add(1, Ordering::Relaxed);
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
            }
            Line::Stall { every, after, pause } if takes(every, end > after) => {
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
